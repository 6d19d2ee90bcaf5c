//! Real daemons on a server that answers as the Go program's does (peers.md, "Our devices on a Go server").

use engram_tests::go::server::{Fault, GoServer};
use engram_tests::processes::{DEADLINE, Device, TOKEN, until};
use serde_json::{Value, json};
use std::path::Path;

/// Pulls and pushes all there is.
pub(crate) fn sync(device: &Device) {
    let sync = device.ctl(&["sync", "--json"]);
    assert_eq!(sync.code, 0, "{sync:?}");
}

pub(crate) fn session(id: &str, project: &str) -> Value {
    json!({"id": id, "project": project, "directory": "/d", "started_at": "2026-11-22 10:00:00"})
}

pub(crate) fn memory(sync_id: &str, session: &str, title: &str) -> Value {
    json!({"sync_id": sync_id, "session_id": session, "type": "note", "title": title, "content": "a text",
        "scope": "project", "revision_count": 1, "duplicate_count": 1,
        "created_at": "2026-11-22 10:00:01", "updated_at": "2026-11-22 10:00:01"})
}

/// Writes a row into the device's journal, as a Go process beside it does.
pub(crate) fn journal(device: &Device, entity: &str, op: &str, key: &str, payload: &Value) {
    let store = rusqlite::Connection::open(device.dir.join("engram.db")).expect("the store");
    store.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    store
        .execute(
            "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project)
             VALUES ('cloud', ?1, ?2, ?3, ?4, 'local', '2026-11-23 10:00:00', 'demo')",
            [entity, key, op, &payload.to_string()],
        )
        .expect("a row");
}

/// What stands in for it here answers what was recorded of it, word by word.
#[test]
fn the_stand_in_answers_as_was_recorded() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cloud/exchanges.json");
    let text = std::fs::read_to_string(path).expect("what was recorded");
    let recorded: Vec<Value> = serde_json::from_str(&text).expect("a list");
    let server = GoServer::start();
    server.inside().allowed = Some(["alpha", "beta", "my-project_x"].map(str::to_owned).into());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(DEADLINE).build().expect("a client");
    let mut compared = 0;
    // The first 33 but the chunk routes, which no device of ours calls.
    for (at, exchange) in recorded.iter().enumerate().take(33).filter(|(at, _)| !(21..28).contains(at) && *at != 29) {
        let asked = &exchange["request"];
        if at == 28 {
            server.inside().paused = ["beta".to_owned()].into();
        }
        let url = format!("{}{}", server.url, asked["path"].as_str().expect("a path"));
        let mut request = client.request(asked["method"].as_str().expect("a method").parse().expect("one"), url);
        if let Some(token) = asked["headers"]["Authorization"].as_str() {
            request = request.header("Authorization", token.replace("<token>", TOKEN));
        }
        request = match (&asked["body"], asked["body_text"].as_str()) {
            (_, Some(text)) => request.body(text.to_owned()),
            (Value::Null, None) => request,
            (body, None) => request.body(body.to_string()),
        };
        let (status, text) = runtime.block_on(async {
            let response = request.send().await.expect("an answer");
            (response.status().as_u16(), response.text().await.expect("a text"))
        });
        let expected = &exchange["response"];
        assert_eq!(Value::from(status), expected["status"], "{}: {text}", at + 1);
        match expected["body_text"].as_str() {
            Some(words) => assert_eq!(text, words, "{}", at + 1),
            None => {
                let body: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(timeless(body), timeless(expected["body"].clone()), "{}", at + 1);
            }
        }
        compared += 1;
    }
    assert_eq!(compared, 25);
}

fn timeless(mut body: Value) -> Value {
    for row in body["mutations"].as_array_mut().into_iter().flatten() {
        row["occurred_at"] = Value::Null;
    }
    body
}

/// CONV-1, SCOPE-1: two devices share through it; what is of other projects is not even stored.
#[test]
fn scope_1_devices_share_through_a_go_server_what_is_enrolled() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let _ = server.append("secret", "session", "upsert", session("s9", "secret"));
    let _ = server.append("secret", "observation", "upsert", memory("obs-9", "s9", "hidden"));
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    let b = Device::enrolled_at(&temp.path().join("b"), &server.url, "demo");
    let id = a.save("demo", "first", "a text");
    sync(&a);
    sync(&b);
    assert_eq!(b.titles("text"), ["first"]);
    assert_eq!(b.ctl(&["update", &id, "--title", "second"]).code, 0);
    sync(&b);
    sync(&a);
    assert_eq!(a.titles("text"), ["second"]);
    assert_eq!(a.ctl(&["delete", &id]).code, 0);
    sync(&a);
    sync(&b);
    assert!(b.titles("text").is_empty());
    let status = b.report();
    assert_eq!(status["cloud"]["capabilities"], json!([]), "{status}");
    for device in [&a, &b] {
        let store = rusqlite::Connection::open(device.dir.join("engram.db")).expect("the store");
        let others: i64 = store
            .query_row(
                "SELECT (SELECT count(*) FROM observations WHERE project <> 'demo')
                + (SELECT count(*) FROM sessions WHERE project <> 'demo')
                + (SELECT count(*) FROM engramd_version WHERE project <> 'demo')",
                [],
                |row| row.get(0),
            )
            .expect("a count");
        assert_eq!(others, 0);
    }
}

/// ACK-1: what was committed and not acknowledged is found by the pull, and not sent twice; what an answer does not name
/// was not taken, whatever its status.
#[test]
fn ack_1_lost_and_short_answers_lose_nothing_and_double_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    sync(&a);
    for fault in [Fault::LoseAnswer, Fault::AnswerShort, Fault::AnswerHtml, Fault::AnswerNothing] {
        server.inside().faults = vec![fault];
        let id = a.save("demo", "kept", &format!("a text {fault:?}"));
        until("it is acknowledged", || {
            let _ = a.ctl(&["sync"]);
            a.report()["projects"][0]["pending"] == 0
        });
        assert!(server.inside().faults.is_empty(), "{fault:?} was met");
        assert_eq!(server.rows_of(&id), 1, "{fault:?}");
    }
    assert_eq!(a.json(&["held", "list"])["held"], json!([]));
}

/// ACK-1: while no page shows whether a row arrived, it is not sent again.
#[test]
fn ack_1_what_may_have_arrived_is_read_before_it_is_sent_again() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    let _ = a.save("demo", "first", "a text");
    sync(&a);
    {
        let mut inside = server.inside();
        (inside.faults, inside.pages_refused) = (vec![Fault::LoseAnswer], Some(503));
    }
    let id = a.save("demo", "kept", "another text");
    until("it arrived", || server.rows_of(&id) == 1);
    for _ in 0..5 {
        until("it is said", || a.ctl(&["sync"]).code == 3);
        assert_eq!(server.rows_of(&id), 1, "sent once");
    }
    server.inside().pages_refused = None;
    sync(&a);
    assert_eq!((server.rows_of(&id), &a.report()["projects"][0]["pending"]), (1, &json!(0)));
}

/// ISO-1: one row that it answers 500 for, in plain text, is found and held; its neighbours go on.
#[test]
fn iso_1_a_row_behind_an_opaque_500_is_found() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::start(&temp.path().join("a"));
    for n in 0..19 {
        if n == 7 {
            // As the Go program writes it, and Postgres never takes it (D11).
            journal(&a, "observation", "upsert", "obs-nul", &memory("obs-nul", "s", "a\u{0}b"));
        }
        let _ = a.save("demo", &format!("n{n}"), &format!("a text {n}"));
    }
    assert_eq!(a.ctl_with(&["cloud", "login", "--server", &server.url, "--token-stdin"], TOKEN).code, 0);
    assert_eq!(a.ctl(&["enroll", "demo"]).code, 0);
    until("all but one are there", || {
        server.inside().rows.iter().filter(|row| row.entry["entity"] == "observation").count() == 19
    });
    until("the row is held", || a.json(&["held", "list"])["held"].as_array().map(Vec::len) == Some(1));
}

/// ISO-1, REC-1: while it is down, or takes nothing though it serves, nothing is held, and afterwards everything goes.
#[test]
fn iso_1_an_outage_holds_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    sync(&a);
    // Everything is down; pushes meet a proxy without its server; the server has lost its database.
    for (status, rounds) in [(None, 1), (Some(503), 6), (Some(500), 2)] {
        {
            let mut inside = server.inside();
            (inside.down, inside.pushes_refused) = (status.is_none(), status);
        }
        let ids = ["t", "u", "v"].map(|title| a.save("demo", title, &format!("a text of {title} {status:?}")));
        for _ in 0..rounds {
            until("it is said", || {
                let sync = a.ctl(&["sync", "--json"]);
                sync.code == 3 && sync.json()["reason_code"] == "transport_failed"
            });
        }
        assert_eq!(a.json(&["held", "list"])["held"], json!([]), "{status:?}");
        {
            let mut inside = server.inside();
            (inside.down, inside.pushes_refused) = (false, None);
        }
        until("all went", || {
            let _ = a.ctl(&["sync"]);
            ids.iter().all(|id| server.rows_of(id) == 1)
        });
        sync(&a);
        assert!(ids.iter().all(|id| server.rows_of(id) == 1), "{status:?}");
    }
}

/// CUR-2: a row that becomes visible behind later ones (D3) is read all the same.
#[test]
fn cur_2_a_row_that_commits_late_is_read() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let _ = server.append("demo", "session", "upsert", session("s", "demo"));
    let late = server.append("demo", "observation", "upsert", memory("obs-late", "s", "late"));
    let _ = server.append("demo", "observation", "upsert", memory("obs-early", "s", "early"));
    let hide = |hidden| {
        for row in &mut server.inside().rows {
            row.hidden = hidden && row.seq == late;
        }
    };
    hide(true);
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    sync(&a);
    assert_eq!(a.titles("text"), ["early"]);
    hide(false);
    sync(&a);
    assert_eq!(a.titles("text").len(), 2);
}

/// CUR-3: a project that is granted, or enrolled, later brings its whole history (D8).
#[test]
fn cur_3_a_later_grant_hides_no_history() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    server.inside().allowed = Some(["demo", "other"].map(str::to_owned).into());
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    assert_eq!(a.ctl(&["enroll", "other"]).code, 0);
    sync(&a);
    server.inside().allowed = Some(["demo"].map(str::to_owned).into());
    let _ = server.append("other", "session", "upsert", session("s1", "other"));
    let _ = server.append("other", "observation", "upsert", memory("obs-1", "s1", "unseen"));
    let _ = server.append("demo", "session", "upsert", session("s2", "demo"));
    let _ = server.append("demo", "observation", "upsert", memory("obs-2", "s2", "seen"));
    server.pass_hour();
    assert_eq!(a.ctl(&["sync"]).code, 3, "one project is refused");
    assert!(a.finds_reason("policy_forbidden"));
    assert_eq!(a.titles("text"), ["seen"]);
    let refused = a.ctl(&["enroll", "third"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    server.inside().allowed = None;
    sync(&a);
    assert_eq!(a.titles("text").len(), 2);
}

/// CUR-3: a grant that is taken while a page is read: the cursor of that project does not pass what was not in it (D8).
#[test]
fn cur_3_a_grant_taken_while_a_page_is_read_hides_no_history() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    server.inside().allowed = Some(["demo", "other"].map(str::to_owned).into());
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    assert_eq!(a.ctl(&["enroll", "other"]).code, 0);
    sync(&a);
    let _ = server.append("other", "session", "upsert", session("s1", "other"));
    let _ = server.append("other", "observation", "upsert", memory("obs-1", "s1", "unseen"));
    let _ = server.append("demo", "session", "upsert", session("s2", "demo"));
    let _ = server.append("demo", "observation", "upsert", memory("obs-2", "s2", "seen"));
    server.pass_hour();
    server.inside().revoked_meanwhile = Some("other".to_owned());
    let _ = a.ctl(&["sync"]);
    assert!(server.inside().revoked_meanwhile.is_none(), "it was taken");
    assert_eq!(a.titles("text"), ["seen"]);
    server.inside().allowed = None;
    sync(&a);
    assert_eq!(a.titles("text").len(), 2);
}

/// CUR-3: a server that was restored from a backup is found out, and nothing is pushed to it.
#[test]
fn cur_3_a_restored_server_is_found_out() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    sync(&a);
    let backup = server.inside().rows.clone();
    let _ = a.save("demo", "t", "a text");
    sync(&a);
    server.inside().rows.clone_from(&backup);
    let _ = a.save("demo", "u", "another text");
    until("it is said", || a.ctl(&["sync"]).code == 3 && a.finds_reason("cloud_replaced"));
    assert_eq!(server.inside().rows.len(), backup.len(), "nothing was pushed");
}

/// CONV-5: sessions go as upserts always, a deletion among their fields; it arrives all the same.
#[test]
fn conv_5_a_session_s_deletion_travels_as_an_upsert() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    let b = Device::enrolled_at(&temp.path().join("b"), &server.url, "demo");
    let _ = server.append("demo", "session", "upsert", session("s", "demo"));
    sync(&a);
    sync(&b);
    let deleted_at = "2026-11-23 10:00:00";
    let payload = json!({"id": "s", "project": "demo", "deleted": true, "deleted_at": deleted_at, "hard_delete": true});
    journal(&a, "session", "delete", "s", &payload);
    sync(&a);
    let last = server.inside().rows.last().cloned().expect("a row");
    assert_eq!((&last.entry["op"], &last.entry["entity"]), (&json!("upsert"), &json!("session")));
    assert_eq!(last.entry["payload"]["directory"], "/d");
    assert!(
        last.entry["payload"].get("deleted_at").is_none() && last.entry["payload"]["engramd_deleted_at"].is_string()
    );
    sync(&b);
    let store = rusqlite::Connection::open(b.dir.join("engram.db")).expect("the store");
    let left: i64 = store.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0)).expect("a count");
    assert_eq!(left, 0);
}

/// ISO-3: a child whose session its project was never told of goes under a stand-in, and arrives as itself.
#[test]
fn iso_3_no_child_goes_without_its_session() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    let b = Device::enrolled_at(&temp.path().join("b"), &server.url, "demo");
    sync(&a);
    journal(&a, "observation", "upsert", "obs-1", &memory("obs-1", "s-of-another-project", "child"));
    until("it was sent", || server.rows_of("obs-1") == 1);
    let rows = server.inside().rows.clone();
    let [.., parent, child] = &rows[..] else { panic!("two rows: {rows:?}") };
    assert_eq!(parent.entry["entity_key"], "recovered-missing-session/demo/s-of-another-project");
    assert_eq!(child.entry["payload"]["session_id"], parent.entry["entity_key"]);
    sync(&b);
    let store = rusqlite::Connection::open(b.dir.join("engram.db")).expect("the store");
    let session: String =
        store.query_row("SELECT session_id FROM observations", [], |row| row.get(0)).expect("the child");
    assert_eq!(session, "s-of-another-project");
}
