//! Another cloud, or one that lost rows (CUR-3; scenario 18): it is found out, said, and mended; nothing here is deleted.

use engram_tests::gateway::Gateway;
use engram_tests::go::server::GoServer;
use engram_tests::processes::{Cloud, Device, TOKEN, until};
use serde_json::{Value, json};
use std::path::Path;

/// Follows a sync to its end.
pub(crate) fn sync(device: &Device) {
    let sync = device.ctl(&["sync", "--json"]);
    assert_eq!(sync.code, 0, "{sync:?}");
}

/// Everything that a device lists of a project, without what is its own.
pub(crate) fn memories(device: &Device, project: &str) -> Value {
    let listed = device.json(&["list", "--project", project, "--limit", "1000"]);
    let mut all = listed["observations"].as_array().cloned().expect("a list");
    for one in &mut all {
        one.as_object_mut().expect("an object").remove("id");
    }
    all.sort_by_key(|one| one["sync_id"].to_string());
    all.into()
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).expect("a directory");
    for file in std::fs::read_dir(from).expect("a directory").map(|file| file.expect("a file")) {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

/// Replaces what a server holds while it is down.
fn swap(mut cloud: Cloud, change: impl FnOnce()) -> Cloud {
    cloud.process.kill();
    change();
    cloud.restart()
}

fn store_of(dir: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(dir.join("engram-cloud.db")).expect("the server's store")
}

/// IDEM-1: no version of any entity stands in the server's journal twice.
fn nothing_is_stored_twice(dir: &Path) {
    let twice: i64 = store_of(dir)
        .query_row(
            "SELECT count(*) FROM (SELECT 1 FROM cloud_mutations
             GROUP BY project, entity, entity_key, version_hash HAVING count(*) > 1)",
            [],
            |row| row.get(0),
        )
        .expect("a count");
    assert_eq!(twice, 0);
}

fn told(device: &Device, kind: &str) -> bool {
    let events = device.ctl(&["events", "--json"]);
    events.out.contains(&format!("\"kind\":\"{kind}\""))
}

/// Writes what a project has beside memories: a session with its end, a prompt, a relation.
fn everything_else(device: &Device, when: &str, memory: &str) {
    let session = format!("session {when}");
    let other = device.save("demo", &format!("related {when}"), &format!("another text {when}"));
    for command in [
        &["session", "start", "--id", &session, "--project", "demo"][..],
        &["session", "end", &session, "--summary", &format!("summary {when}")],
        &["prompt", "--project", "demo", &format!("question {when}")],
        &["relate", &other, "related", memory, "--reason", &format!("reason {when}")],
    ] {
        let done = device.ctl(command);
        assert_eq!(done.code, 0, "{command:?}: {done:?}");
    }
}

/// A dump holds it.
fn has_everything(dump: &str, times: &[&str]) {
    for when in times {
        for what in ["session", "summary", "related", "question", "reason"] {
            assert!(dump.contains(&format!("{what} {when}")), "{what} {when}: {dump}");
        }
    }
}

/// CUR-3: restored from yesterday's copy, the server is told again what its devices have, by themselves.
#[test]
fn cur_3_a_restored_server_gets_everything_back() {
    let temp = tempfile::tempdir().expect("a directory");
    let (data, backup) = (temp.path().join("cloud"), temp.path().join("backup"));
    let cloud = Cloud::start(&data);
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    let gone = a.save("demo", "deleted later", "a text");
    let edited = a.save("demo", "before", "a text to edit");
    everything_else(&a, "of yesterday", &edited);
    sync(&a);
    sync(&b);
    let cloud = swap(cloud, || copy(&data, &backup));
    assert_eq!(a.ctl(&["delete", &gone]).code, 0);
    assert_eq!(b.ctl(&["update", &edited, "--title", "after"]).code, 0);
    let today = b.save("demo", "of today", "a text of b");
    everything_else(&b, "of today", &today);
    assert_eq!(a.ctl(&["enroll", "left"]).code, 0);
    let _ = a.save("left", "of a project that is not enrolled any more", "a text");
    sync(&b);
    sync(&a);
    assert_eq!(a.ctl(&["unenroll", "left"]).code, 0);
    let before = a.dump("demo");
    has_everything(&before, &["of yesterday", "of today"]);
    let _cloud = swap(cloud, || copy(&backup, &data));
    // Nobody tells anybody anything: each finds out with its next request.
    for device in [&a, &b] {
        until("it finds out", || told(device, "restored"));
        until("all is queued", || told(device, "remirrored"));
        sync(device);
    }
    sync(&a);
    assert_eq!(a.dump("demo"), before);
    assert_eq!(b.dump("demo"), before);
    assert!(!a.finds_reason("cloud_replaced") && !b.finds_reason("cloud_replaced"));
    let c = Device::enrolled_at(&temp.path().join("c"), &_cloud.url, "demo");
    sync(&c);
    assert_eq!(c.dump("demo"), before);
    assert_eq!(a.ctl(&["enroll", "left"]).code, 0);
    sync(&a);
    assert_eq!(c.ctl(&["enroll", "left"]).code, 0);
    sync(&c);
    assert_eq!(c.dump("left"), a.dump("left"), "what was not enrolled is told again when it is");
    nothing_is_stored_twice(&data);
}

/// CUR-3: an emptied server of the same identity is filled again.
#[test]
fn cur_3_an_emptied_server_is_filled_again() {
    let temp = tempfile::tempdir().expect("a directory");
    let data = temp.path().join("cloud");
    let cloud = Cloud::start(&data);
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    for n in 0..250 {
        if n % 50 == 0 {
            let _ = a.save("demo", &format!("n{n}"), &format!("text {n}"));
        }
    }
    let last = a.save("demo", "last", "a text");
    everything_else(&a, "of then", &last);
    sync(&a);
    let before = memories(&a, "demo");
    let cloud = swap(cloud, || {
        let tables = ["mutations", "heads", "mutation_ids", "superseded", "conflicts"];
        let sql: String = tables.iter().map(|table| format!("DELETE FROM cloud_{table};")).collect();
        store_of(&data).execute_batch(&sql).expect("emptied");
    });
    let _ = a.save("demo", "new", "text");
    until("it finds out", || told(&a, "remirrored"));
    sync(&a);
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    sync(&b);
    has_everything(&a.dump("demo"), &["of then"]);
    assert_eq!(b.dump("demo"), a.dump("demo"));
    assert_eq!(memories(&b, "demo").as_array().map(Vec::len), before.as_array().map(|all| all.len() + 1));
    nothing_is_stored_twice(&data);
}

/// Returns the finding `cloud_replaced` of a project.
fn finding(device: &Device, project: &str) -> Option<Value> {
    let report = device.report();
    let all = report["findings"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["code"] == "cloud_replaced" && one["project"] == project)
}

/// LOUD-1: runs the command that a finding hints at.
pub(crate) fn follow(device: &Device, finding: &Value) {
    let hint = finding["hint"].as_str().expect("a hint");
    let words: Vec<&str> = hint.split(' ').skip(1).collect();
    let answer = device.ctl(&words);
    assert_eq!(answer.code, 0, "{hint}: {answer:?}");
}

/// CUR-3, LOUD-1: another cloud at the same address gets nothing of a project, and gives it nothing, until it is told.
#[test]
fn cur_3_another_cloud_gets_what_it_is_told_to() {
    let temp = tempfile::tempdir().expect("a directory");
    let (data, other, first) = (temp.path().join("cloud"), temp.path().join("other"), temp.path().join("first"));
    let cloud = Cloud::start(&data);
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    assert_eq!(a.ctl(&["enroll", "private"]).code, 0);
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    let _ = a.save("demo", "shared", "a text");
    let _ = a.save("private", "secret", "a text");
    sync(&a);
    sync(&b);
    let before = memories(&a, "demo");
    drop(Cloud::start(&other));
    let cloud = swap(cloud, || {
        copy(&data, &first);
        copy(&other, &data);
    });
    let _ = a.save("demo", "meanwhile", "a text");
    for device in [&a, &b] {
        until("it is said", || finding(device, "demo").is_some());
        let sync = device.ctl(&["sync", "--project", "demo", "--json"]);
        assert_eq!((sync.code, &sync.json()["reason_code"]), (3, &json!("cloud_replaced")), "{sync:?}");
    }
    assert_eq!(a.report()["projects"][0]["state"], "degraded");
    assert_eq!(rows_of(&data), 0, "nothing was pushed");
    follow(&a, &finding(&a, "demo").expect("it is said"));
    until("its project is mirrored", || finding(&a, "demo").is_none());
    assert_eq!(a.ctl(&["sync", "--project", "demo"]).code, 0);
    assert!(finding(&a, "private").is_some(), "each project waits for its own word");
    follow(&b, &finding(&b, "demo").expect("it is said"));
    until("it is mirrored there too", || finding(&b, "demo").is_none());
    sync(&b);
    assert_eq!(memories(&a, "demo"), memories(&b, "demo"));
    assert_eq!(memories(&b, "demo").as_array().map(Vec::len), before.as_array().map(|all| all.len() + 1));
    let c = Device::enrolled(&temp.path().join("c"), &cloud, "demo");
    sync(&c);
    assert_eq!(memories(&c, "demo"), memories(&a, "demo"));
    nothing_is_stored_twice(&data);
    // The former server comes back: what belongs there goes on by itself, what was moved does not follow.
    let _cloud = swap(cloud, || copy(&first, &data));
    until("the moved one stands still", || finding(&a, "demo").is_some() && finding(&a, "private").is_none());
    assert_eq!(a.ctl(&["sync", "--project", "private"]).code, 0);
}

/// CUR-3: logging in to another cloud keeps it, says which projects stand still, and can be taken back.
#[test]
fn cur_3_a_login_elsewhere_says_what_stands_still() {
    let temp = tempfile::tempdir().expect("a directory");
    let (first, second) = (Cloud::start(&temp.path().join("c1")), Cloud::start(&temp.path().join("c2")));
    let a = Device::enrolled(&temp.path().join("a"), &first, "demo");
    let _ = a.save("demo", "shared", "a text");
    sync(&a);
    let login =
        |cloud: &Cloud| a.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin", "--json"], TOKEN);
    let answer = login(&second);
    assert_eq!((answer.code, &answer.json()["elsewhere"]), (5, &json!(["demo"])), "{answer:?}");
    until("it is said", || finding(&a, "demo").is_some());
    let answer = login(&first);
    assert_eq!((answer.code, &answer.json()["elsewhere"]), (0, &json!([])), "{answer:?}");
    sync(&a);
    assert_eq!(login(&second).code, 5);
    until("it is said again", || finding(&a, "demo").is_some());
    follow(&a, &finding(&a, "demo").expect("it is said"));
    until("it is mirrored", || finding(&a, "demo").is_none());
    sync(&a);
    let b = Device::enrolled(&temp.path().join("b"), &second, "demo");
    sync(&b);
    assert_eq!(b.titles("text"), ["shared"]);
    let refused = a.ctl(&["cloud", "remirror", "nobody"]);
    assert_eq!(refused.code, 3, "{refused:?}");
}

/// CUR-3, SCOPE-1: a device that was told no row yet finds out with its next request, without an outage, that another cloud
/// answers: nothing goes there.
#[test]
fn cur_3_who_was_told_no_row_finds_another_cloud_out_with_the_next_request() {
    let temp = tempfile::tempdir().expect("a directory");
    let other = temp.path().join("c2");
    let (first, second) = (Cloud::start(&temp.path().join("c1")), Cloud::start(&other));
    let gateway = Gateway::start(&first.url);
    let a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    sync(&a);
    gateway.inside().behind = Some(second.url.clone());
    let _ = a.save("demo", "of the first", "a text");
    until("it is said", || finding(&a, "demo").is_some());
    assert_eq!(rows_of(&other), 0, "nothing was sent");
}

fn rows_of(dir: &Path) -> i64 {
    store_of(dir).query_row("SELECT count(*) FROM cloud_mutations", [], |row| row.get(0)).expect("a count")
}

/// CUR-3, SCOPE-1, LOUD-1: what was said for a server that is away does not happen at the one that is logged in to next; that
/// the project stands still is said, with the command that mirrors it there.
#[test]
fn cur_3_a_mirroring_that_was_said_for_another_server_does_not_happen() {
    let temp = tempfile::tempdir().expect("a directory");
    let other = temp.path().join("c2");
    let (mut first, second) = (Cloud::start(&temp.path().join("c1")), Cloud::start(&other));
    let a = Device::enrolled(&temp.path().join("a"), &first, "demo");
    let _ = a.save("demo", "of the first", "a text");
    sync(&a);
    first.process.kill();
    assert_eq!(a.ctl(&["cloud", "remirror", "demo"]).code, 0);
    let login = ["cloud", "login", "--server", &second.url, "--token-stdin", "--json"];
    let answer = a.ctl_with(&login, TOKEN);
    assert_eq!((answer.code, &answer.json()["elsewhere"]), (5, &json!(["demo"])), "{answer:?}");
    until("it is said", || finding(&a, "demo").is_some());
    let sync = a.ctl(&["sync", "--json"]);
    assert_eq!((sync.code, &sync.json()["reason_code"]), (3, &json!("cloud_replaced")), "{sync:?}");
    assert_eq!(rows_of(&other), 0, "nothing was sent");
    follow(&a, &finding(&a, "demo").expect("it is said"));
    until("it is mirrored", || finding(&a, "demo").is_none());
}

/// CUR-3, LOUD-1: a Go server that lost rows is said, and gets them back when it is told to.
#[test]
fn cur_3_a_restored_go_server_gets_everything_back_when_told() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    let _ = a.save("demo", "kept", "a text");
    sync(&a);
    let backup = server.inside().rows.clone();
    let lost = a.save("demo", "lost", "another text");
    sync(&a);
    server.inside().rows.clone_from(&backup);
    let late = a.save("demo", "late", "a third text");
    until("it is said", || a.ctl(&["sync"]).code == 3 && finding(&a, "demo").is_some());
    assert_eq!(server.inside().rows.len(), backup.len(), "nothing was pushed");
    follow(&a, &finding(&a, "demo").expect("it is said"));
    until("it is mirrored", || finding(&a, "demo").is_none());
    sync(&a);
    assert_eq!((server.rows_of(&lost), server.rows_of(&late)), (1, 1));
    let b = Device::enrolled_at(&temp.path().join("b"), &server.url, "demo");
    sync(&b);
    assert_eq!(memories(&b, "demo"), memories(&a, "demo"));
}

/// CUR-3: a project that is granted late, or left and joined again, misses nothing and doubles nothing.
#[test]
fn cur_3_late_grants_and_coming_back_leave_no_gap() {
    let temp = tempfile::tempdir().expect("a directory");
    let data = temp.path().join("cloud");
    let cloud = Cloud::start_at(&data, "0", "demo");
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    let _ = a.save("demo", "before", "a text");
    let _ = a.save("later", "of a project without a grant", "a text");
    assert_eq!(a.ctl(&["enroll", "later"]).code, 3, "no grant");
    sync(&a);
    sync(&b);
    assert_eq!(b.ctl(&["unenroll", "demo"]).code, 0);
    let _ = b.save("demo", "while away", "a text");
    let _ = a.save("demo", "meanwhile", "a text");
    sync(&a);
    let _cloud = cloud.restart();
    assert_eq!(a.ctl(&["enroll", "later"]).code, 0);
    assert_eq!(b.ctl(&["enroll", "demo", "later"]).code, 0);
    for device in [&a, &b, &a] {
        sync(device);
    }
    for project in ["demo", "later"] {
        assert_eq!(memories(&b, project), memories(&a, project), "{project}");
    }
    assert_eq!(
        (memories(&a, "demo").as_array().map(Vec::len), memories(&a, "later").as_array().map(Vec::len)),
        (Some(3), Some(1))
    );
    nothing_is_stored_twice(&data);
}
