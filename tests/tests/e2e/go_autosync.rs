//! The Go program's autosync works on a device's store while its daemon is stopped (peers.md, "Go processes on our
//! store"): the daemon reads again what it moved, and nothing is lost or doubled.

use engram_proto::time::RowTime;
use engram_tests::go::{GoClient, Remote};
use engram_tests::processes::{Cloud, Device, TOKEN, until};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::path::Path;

/// The time by the clock that the daemons have too.
fn now() -> RowTime {
    let memory = Connection::open_in_memory().expect("a store");
    let text: String = memory.query_row("SELECT datetime('now')", [], |row| row.get(0)).expect("a time");
    RowTime::parse(&text).expect("a time")
}

fn titles(device: &Device) -> Vec<String> {
    let mut titles = device.titles("shared");
    titles.sort();
    titles
}

fn synced(device: &Device) {
    let sync = device.ctl(&["sync", "--json"]);
    assert_eq!(sync.code, 0, "{sync:?}");
}

fn edit(device: &Device, id: &str, title: &str) {
    let answer = device.ctl(&["update", id, "--title", title]);
    assert_eq!(answer.code, 0, "{answer:?}");
}

#[test]
fn ack_2_nothing_is_lost_or_doubled_where_autosync_ran_while_the_daemon_was_stopped() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let mut a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    let first = a.save("demo", "first", "shared one");
    let second = a.save("demo", "second", "shared two");
    until("b has both", || titles(&b).len() == 2);
    let store = a.dir.join("engram.db");
    let remote = Remote::new(&cloud.url, TOKEN);

    // As long as the daemon runs, the lease is its own.
    let mut go = GoClient::open(&store, now());
    assert!(!runtime.block_on(go.autosync(&remote)).expect("no fault"), "one of the two syncs");
    // Two changes of ours wait when the daemon ends.
    assert_eq!(a.ctl(&["pause"]).code, 0);
    edit(&a, &second, "second, edited by us");
    let _third = a.save("demo", "third", "shared three");
    assert_eq!(a.daemon.terminate(), Some(0));
    edit(&b, &first, "first, edited on b");
    synced(&b);

    // Autosync pushes what waits and what its user wrote, and pulls all there ever was over the rows, in its order.
    let mut go = GoClient::open(&store, now());
    go.start_session("s-go", "demo", "/go");
    let _fourth = go.save("demo", "s-go", "fourth", "shared four", None);
    assert!(runtime.block_on(go.autosync(&remote)).expect("it goes through"));
    assert_eq!(go.pending_count(), 0, "all is pushed");
    // A last edit comes after it, over what it pulled.
    go.now = now();
    go.edit(&first, "first, edited by a Go process", "shared one");
    drop(go);

    a.boot();
    until("its last edit waits", || a.report()["projects"][0]["pending"] == 1);
    assert_eq!(a.ctl(&["resume"]).code, 0);
    let expected = ["first, edited by a Go process", "fourth", "second, edited by us", "third"];
    until("both show the same", || titles(&a) == expected && titles(&b) == expected);
    synced(&a);
    synced(&b);
    assert_eq!(a.report()["totals"]["pending"], 0);
    assert_eq!(a.json(&["held", "list"])["held"].as_array().map(Vec::len), Some(0));
    // Of a's edit nobody knows what it was made over, so what it replaced is listed there; b wrote that, and saw no rival.
    assert_eq!(b.json(&["conflicts", "list"])["conflicts"].as_array().map(Vec::len), Some(0));

    let events = a.ctl(&["events"]).out;
    let at = |kind: &str| events.find(kind).unwrap_or_else(|| panic!("no {kind}: {events}"));
    assert!(at("read_again") < at("pulled"), "{events}");
    // Its echo may acknowledge the last edit before the reply does.
    assert!(events.find("  pushed ").is_none_or(|pushed| at("pulled") < pushed), "{events}");
    let store = Connection::open(&store).expect("the store");
    let one = |sql: &str| store.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number");
    assert_eq!(one("SELECT count(*) FROM observations"), 4, "no row twice");
    assert_eq!(one("SELECT count(*) FROM sync_mutations WHERE acked_at IS NULL"), 0);
    assert_eq!(one("SELECT count(*) FROM engramd_reread"), 0);
}

/// A machine that the Go program synced for months changes to a cloud of its own, which is empty: all of its history goes there.
#[test]
fn a_history_that_another_cloud_was_told_of_goes_to_an_empty_one() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let (a, b) = (temp.path().join("a"), temp.path().join("b"));
    std::fs::create_dir(&a).expect("a directory");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/store/v2026-07-synced.db");
    std::fs::copy(fixture, a.join("engram.db")).expect("copied");
    let a = Device::enrolled(&a, &cloud, "alpha");
    let b = Device::enrolled(&b, &cloud, "alpha");
    let all = |device: &Device| {
        let listed = device.json(&["list", "--project", "alpha", "--limit", "1000"]);
        let titles = listed["observations"].as_array().expect("a list").iter();
        titles.map(|one| one["title"].to_string()).collect::<BTreeSet<_>>()
    };
    let had = all(&a);
    assert!(had.len() > 10, "{had:?}");
    until("the other device has them all", || all(&b) == had);
    synced(&a);
    assert_eq!(a.report()["totals"]["pending"], 0);
}
