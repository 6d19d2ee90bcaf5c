//! Real daemons on a Go server that served other than it should: they push once more what is known, and then rest
//! (peers.md, "Our devices on a Go server").

use crate::go_server::{journal, memory, session, sync};
use engram_tests::go::server::{Fault, GoServer, Late};
use engram_tests::processes::{Device, until};
use serde_json::json;

/// How often read repair pushed something on these devices.
fn repaired(devices: &[&Device]) -> u64 {
    devices.iter().map(|device| device.report()["projects"][0]["repaired"].as_u64().expect("a count")).sum()
}

/// Syncs until a condition holds.
fn sync_until(what: &str, devices: &[&Device], mut condition: impl FnMut() -> bool) {
    until(what, || {
        devices.iter().for_each(|device| sync(device));
        condition()
    });
}

/// ACK-1: a number that the server gave, and whose row the cursor passed unseen: it was committed so late that it stands
/// behind everybody's cursor, or it is gone.
#[test]
fn ack_1_a_row_that_was_accepted_and_never_served_is_pushed_again() {
    for late in [Late::Commits, Late::Vanishes] {
        let temp = tempfile::tempdir().expect("a directory");
        let server = GoServer::start();
        let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
        let b = Device::enrolled_at(&temp.path().join("b"), &server.url, "demo");
        let first = a.save("demo", "first", "a text");
        sync(&a);
        server.inside().faults = vec![Fault::CommitLate];
        let id = a.save("demo", "late", "a text");
        until("it is numbered", || server.rows_of(&id) == 1);
        let _ = server.append("demo", "session", "upsert", session("s", "demo"));
        let other = server.append("demo", "observation", "upsert", memory("obs-1", "s", "early"));
        server.pass_hour();
        until("every cursor has passed it", || {
            let passed = |device: &Device| {
                let _ = device.ctl(&["sync", "--pull-only"]);
                device.report()["projects"][0]["cursor"] == other
            };
            passed(&a) && passed(&b)
        });
        assert_eq!(b.titles("text").len(), 2, "{first} and the early one");
        server.inside().late = late;
        let left = usize::from(late == Late::Commits);
        sync_until("it goes again", &[&a], || server.rows_of(&id) == left + 1);
        sync(&b);
        assert_eq!(b.titles("text").len(), 3, "{late:?}");
        assert_eq!(repaired(&[&a, &b]), 1, "{late:?}");
        sync(&a);
        assert_eq!(server.rows_of(&id), left + 1, "once is enough: {late:?}");
    }
}

/// CONV-1: what a client would show that took the last row is set right, by one device, once; and it is said.
#[test]
fn conv_1_what_a_go_client_would_show_is_set_right_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    let b = Device::enrolled_at(&temp.path().join("b"), &server.url, "demo");
    let _ = server.append("demo", "session", "upsert", session("s", "demo"));
    let _ = server.append("demo", "observation", "upsert", memory("obs-1", "s", "one"));
    sync(&a);
    assert_eq!(a.ctl(&["update", "obs-1", "--title", "two"]).code, 0);
    sync(&a);
    sync(&b);
    // A store that was opened queues again what it pulled (D1), and a shared session loses its directory (D23).
    let _ = server.append("demo", "observation", "upsert", memory("obs-1", "s", "one"));
    let mut bare = session("s", "demo");
    bare["directory"] = "(recovered-missing-session)".into();
    let _ = server.append("demo", "session", "upsert", bare);
    let last = |key: &str| {
        let inside = server.inside();
        inside.rows.iter().rfind(|row| row.entry["entity_key"] == key).map(|row| row.entry["payload"].clone())
    };
    sync_until("both are set right", &[&a, &b], || {
        last("obs-1").is_some_and(|row| row["title"] == "two") && last("s").is_some_and(|row| row["directory"] == "/d")
    });
    sync(&a);
    sync(&b);
    let rows = server.inside().rows.len();
    for _ in 0..3 {
        sync(&a);
        sync(&b);
    }
    assert_eq!(server.inside().rows.len(), rows, "it ends");
    let count = repaired(&[&a, &b]);
    assert!((2..=4).contains(&count), "two rows, or four where both devices drew the same moment: {count}");
    let said = |device: &Device| device.ctl(&["events", "--json"]).out.contains("\"repaired\"");
    assert!(said(&a) || said(&b));
    assert_eq!([a.titles("text"), b.titles("text")], [["two"], ["two"]]);
    let lost = a.json(&["conflicts", "list"])["conflicts"].clone();
    let of_memory = lost.as_array().expect("a list").iter().filter(|lost| lost["entity"] == "observation");
    assert_eq!(of_memory.count(), 0, "what was held before is no conflict: {lost}");
}

/// CONV-6: the server keeps no conflicts, so a device records what it reads behind the head that it read first.
#[test]
fn conv_6_what_go_clients_overwrite_unseen_is_listed() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    let edit = |title: &str, revision: u64, second: u64| {
        let mut payload = memory("obs-1", "s", title);
        payload["revision_count"] = revision.into();
        payload["updated_at"] = format!("2026-11-22 11:00:{second:02}").into();
        let _ = server.append("demo", "observation", "upsert", payload);
    };
    let _ = server.append("demo", "session", "upsert", session("s", "demo"));
    edit("one", 1, 1);
    sync(&a);
    edit("mine", 2, 2);
    edit("theirs", 2, 3);
    sync(&a);
    let listed = a.json(&["conflicts", "list"])["conflicts"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["title"], "mine");
    assert_eq!(a.titles("text"), ["theirs"]);
}

/// ISO-3: a Go client that took a session's `delete` has none, and would halt at a child: the session goes before it.
#[test]
fn iso_3_a_session_that_a_delete_took_goes_before_its_child() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    let _ = server.append("demo", "session", "upsert", session("s", "demo"));
    let delete = json!({"id": "s", "project": "demo", "deleted": true, "deleted_at": "2026-11-23 10:00:00"});
    let _ = server.append("demo", "session", "delete", delete);
    sync(&a);
    journal(&a, "observation", "upsert", "obs-1", &memory("obs-1", "s", "child"));
    until("it was sent", || server.rows_of("obs-1") == 1);
    let rows = server.inside().rows.clone();
    let [.., parent, child] = &rows[..] else { panic!("two rows: {rows:?}") };
    assert_eq!((&parent.entry["entity_key"], &parent.entry["op"]), (&json!("s"), &json!("upsert")));
    assert_eq!(parent.entry["payload"]["directory"], "/d");
    assert_eq!((&child.entry["entity_key"], &child.entry["payload"]["session_id"]), (&json!("obs-1"), &json!("s")));
}
