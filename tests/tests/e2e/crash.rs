//! Kills and second starts.

use engram_tests::processes::{Answer, Cloud, Device, daemon, until};

/// OWN-1: a second daemon ends with a message that names the first by its pid; a kill leaves nothing in the way.
#[test]
fn own_1_one_daemon_and_a_clean_start_after_a_kill() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut device = Device::start(&temp.path().join("a"));
    let second = Answer::of(&daemon(&device.dir).output().expect("it ends"));
    assert_eq!(second.code, 1);
    assert!(second.err.contains(&device.daemon.pid().to_string()), "{second:?}");
    assert_eq!(second.err.trim().lines().count(), 1, "{second:?}");
    device.daemon.kill();
    let gone = device.ctl(&["status"]);
    assert_eq!(gone.code, 4, "{gone:?}");
    device.boot();
    assert_eq!(device.daemon.terminate(), Some(0));
    assert!(!device.dir.join("engramd.sock").exists(), "the socket goes with the daemon");
}

/// DUR-1, ACK-1, CUR-1: what was answered as saved survives kill -9 of both daemons and of the server, and arrives once.
#[test]
fn dur_1_what_was_saved_survives_kills_and_arrives_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut cloud = Cloud::start(&temp.path().join("cloud"));
    let mut a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let mut b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    for round in 0..6 {
        for n in 0..5 {
            let _ = a.save("demo", &format!("r{round} n{n}"), &format!("survivor {round} {n}"));
        }
        a.daemon.kill();
        b.daemon.kill();
        if round % 2 == 0 {
            cloud = cloud.restart();
        }
        a.boot();
        b.boot();
    }
    until("all arrive", || b.titles("survivor").len() == 30);
    assert_eq!(a.titles("survivor").len(), 30);
    until("both are healthy", || [&a, &b].iter().all(|device| device.ctl(&["status"]).code == 0));
}

/// ctl.md: SIGTERM gives the lease back and ends with 0 within two seconds, also while a pull waits.
#[test]
fn own_2_the_lease_is_given_back_at_the_end() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let mut a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    until("it listens", || a.report()["sync"]["phase"] == "waiting");
    assert_eq!(a.report()["sync"]["lease"]["held"], true);
    assert_eq!(a.daemon.terminate(), Some(0));
    let store = rusqlite::Connection::open(a.dir.join("engram.db")).expect("the store");
    let owner: Option<String> = store
        .query_row("SELECT lease_owner FROM sync_state WHERE target_key = 'cloud'", [], |row| row.get(0))
        .expect("a row");
    assert_eq!(owner.unwrap_or_default(), "");
}
