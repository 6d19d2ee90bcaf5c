//! Situation 7: Status tells the truth of what ends by itself: another process that syncs, a server that asks to wait, a
//! lock, a fault of ours, a parent that is missing, a history that is still to come. In each state the command that status
//! names is run.

use crate::errors::Place;
use crate::queue;
use engram_tests::go::server::GoServer;
use engram_tests::processes::{Device, until, until_in};
use serde_json::{Value, json};

/// The owner of the lease of a Go process.
const AUTOSYNC: &str = "autosync-1795356000000000000";

/// Lets another process have the lease for so many seconds.
fn lease_for(place: &Place, seconds: u32) {
    let sql = "UPDATE sync_state SET lease_owner = ?1, lease_until = strftime('%Y-%m-%dT%H:%M:%SZ', 'now', ?2)
        WHERE target_key = 'cloud'";
    let values = [AUTOSYNC, &format!("+{seconds} seconds")];
    assert_eq!(queue::store(&place.device).execute(sql, values).expect("a lease"), 1);
}

/// LOUD-1, OWN-2: a Go process has the lease: it is named, with its end, and once that came all goes on by itself.
#[test]
fn scenario_7_loud_1_a_lease_held_elsewhere_is_said_until_it_ends() {
    let mut place = Place::new();
    assert_eq!(place.device.daemon.terminate(), Some(0));
    lease_for(&place, 3_600);
    place.device.boot();
    let _ = place.device.save("demo", "t", "waits for the other process");
    let finding = place.root("lease_held_elsewhere");
    let words = finding["message"].as_str().expect("words");
    assert!(words.contains(AUTOSYNC) && words.contains('Z'), "who, and until when: {finding}");
    let report = place.device.report();
    assert_eq!((&report["sync"]["phase"], &report["sync"]["lease"]["held"]), (&json!("blocked"), &json!(false)));
    assert_eq!(report["sync"]["lease"]["owner"], AUTOSYNC, "{report}");
    assert_eq!(report["totals"]["pending"], 2, "the memory and its session wait: {report}");
    assert_eq!(place.run(&finding).code, 3, "it says the same");
    lease_for(&place, 2);
    until("it ends by itself", || place.device.ctl(&["status"]).code == 0);
    until("what waited is sent", || place.device.report()["totals"]["pending"] == 0);
    place.healthy();
}

/// LOUD-1: a server that asks to wait is no outage; it is waited for and said.
#[test]
fn scenario_7_loud_1_a_server_that_asks_to_wait_is_said() {
    let place = Place::new();
    place.answer("/sync", 429, &json!({"error": "slow down", "error_class": "policy", "error_code": "rate_limited"}));
    let _ = place.device.save("demo", "t", "waits");
    let finding = place.root("rate_limited");
    assert!(finding["message"].as_str().is_some_and(|words| words.contains("127.0.0.1")), "the host: {finding}");
    assert_eq!(place.run(&finding).code, 3);
    place.clear();
    assert_eq!(place.run(&finding).code, 0);
    place.healthy();
}

/// LOUD-1: what arrives cannot be written while another process keeps the store locked.
#[test]
fn scenario_7_loud_1_a_store_that_others_keep_locked_is_said() {
    let place = Place::new();
    let b = Device::enrolled_at(&place.temp.path().join("b"), &place.gateway.url, "demo");
    let other = queue::store(&place.device);
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let _ = b.save("demo", "t", "from another device");
    until_in(3, "it is said", || place.device.finds_reason("store_busy"));
    let finding = place.root("store_busy");
    let still = place.run(&finding);
    assert_eq!(still.code, 3, "{still:?}");
    other.execute_batch("ROLLBACK").expect("given back");
    until_in(2, "it arrives by itself", || place.device.titles("another").len() == 1);
    place.healthy();
}

/// LOUD-1: an error that nobody thought of has a name and is tried again; here another program refuses what we write.
#[test]
fn scenario_7_loud_1_a_fault_that_nobody_foresaw_is_said_and_tried_again() {
    let place = Place::new();
    let b = Device::enrolled_at(&place.temp.path().join("b"), &place.gateway.url, "demo");
    queue::store(&place.device)
        .execute_batch("ALTER TABLE engramd_version RENAME TO engramd_version_away")
        .expect("away");
    let _ = b.save("demo", "t", "from another device");
    let finding = place.root("internal_error");
    assert!(finding["message"].as_str().is_some_and(|words| words.contains("engramd_version")), "{finding}");
    assert_eq!(place.run(&finding).code, 3);
    queue::store(&place.device)
        .execute_batch("ALTER TABLE engramd_version_away RENAME TO engramd_version")
        .expect("back");
    assert_eq!(place.run(&finding).code, 0);
    until("it arrived", || place.device.titles("another").len() == 1);
    place.healthy();
}

fn relation(id: &str, source: &str, target: &str) -> Value {
    json!({"sync_id": id, "source_id": source, "target_id": target, "relation": "related", "judgment_status": "judged",
        "marked_by_actor": "ana", "marked_by_kind": "human", "created_at": "2026-11-22 10:00:02",
        "updated_at": "2026-11-22 10:00:02", "project": "demo"})
}

/// LOUD-1, ISO-3: a row whose parent has not come is information, listed by the command that is named, until it comes.
#[test]
fn scenario_7_loud_1_iso_3_what_waits_for_a_parent_is_said_until_that_comes() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let put = |entity: &str, payload: Value| server.append("demo", entity, "upsert", payload);
    put("session", queue::session("demo", "s"));
    put("observation", queue::memory("demo", "o-1", "s"));
    put("relation", relation("r-early", "o-1", "o-2"));
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    until("it is said", || a.finds_reason("deferred_waiting"));
    let report = a.report();
    let finding = report["findings"].as_array().and_then(|all| all.first()).cloned().expect("a finding");
    assert_eq!((&finding["severity"], &finding["project"]), (&json!("info"), &json!("demo")), "{report}");
    assert!(finding["message"].as_str().is_some_and(|words| words.starts_with("1 row of project demo")), "{finding}");
    let status = a.ctl(&["status"]);
    assert_eq!(status.code, 0, "no fault: {status:?}");
    assert!(status.out.contains("engramctl held list"), "{status:?}");
    let listed = a.ctl(&["held", "list"]);
    assert!(listed.code == 0 && listed.out.contains("r-early"), "{listed:?}");
    put("observation", queue::memory("demo", "o-2", "s"));
    until("its parent ends it", || {
        let _ = a.ctl(&["sync"]);
        !a.finds_reason("deferred_waiting")
    });
    assert_eq!(queue::number(&a, "SELECT count(*) FROM memory_relations WHERE sync_id = 'r-early'"), 1);
}

/// LOUD-1: a device that read a part of the history says how much is still to come while the server does not answer.
#[test]
fn scenario_7_loud_1_what_is_still_to_come_is_counted_while_the_server_is_away() {
    let place = Place::new();
    let rows = (0..1_200).map(|n| queue::Row::memory("demo", &format!("o-{n}"), "s"));
    let rows: Vec<_> = std::iter::once(queue::Row::session("demo", "s")).chain(rows).collect();
    queue::add(&place.device, &rows);
    place.healthy();
    // How a device reads it that begins: the second page is asked for with the place where the first one ended.
    let dir = place.temp.path().to_owned();
    let b = Device::enrolled_at(&dir.join("b"), &place.gateway.url, "demo");
    until("the other device has it", || b.report()["projects"][0]["state"] == "healthy");
    let asked = |seen: &engram_tests::gateway::Seen| {
        let body: Value = serde_json::from_str(&seen.body).ok()?;
        let cursor = body["cursors"]["demo"].as_u64().filter(|&cursor| cursor > 0)?;
        (seen.line.starts_with("POST /sync/mutations/pull") && body["cursors"].as_object()?.len() == 1)
            .then_some(cursor)
    };
    let second = place.gateway.inside().seen.iter().filter_map(asked).min().expect("a second page");
    place.gateway.inside().instead = vec![engram_tests::gateway::Instead {
        path: "/sync/mutations/pull",
        holding: format!("\"demo\":{second}").leak(),
        status: 502,
        body: "{}".to_owned(),
    }];
    let c = Device::enrolled_at(&dir.join("c"), &place.gateway.url, "demo");
    until("it is said", || c.finds_reason("transport_failed"));
    let report = c.report();
    let project = &report["projects"][0];
    let behind = project["behind"].as_u64().expect("a count");
    assert!(behind > 0 && behind < 1_201, "{project}");
    assert_eq!((project["cursor"].as_u64(), &project["state"]), (Some(second), &json!("degraded")), "{project}");
    let status = c.ctl(&["status"]);
    assert!(
        status.code == 3 && status.out.contains("TO RECEIVE") && status.out.contains(&behind.to_string()),
        "{status:?}"
    );
    let hint = report["findings"][0]["hint"].as_str().expect("a command").to_owned();
    let words: Vec<_> = hint.split(' ').skip(1).collect();
    assert_eq!(c.ctl(&words).code, 3, "{hint}");
    place.clear();
    assert_eq!(c.ctl(&words).code, 0, "{hint}");
    assert_eq!(
        (&c.report()["projects"][0]["behind"], &c.report()["projects"][0]["state"]),
        (&json!(0), &json!("healthy"))
    );
}
