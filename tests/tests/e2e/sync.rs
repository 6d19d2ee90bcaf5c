//! `engramctl sync` for scripts: verdicts and exit codes (reasons.md).

use engram_tests::processes::{Cloud, Device, TOKEN, ctl, until};

/// LOUD-3: 0 drained, 3 blocked or not enrolled, 4 nobody answers.
#[test]
fn loud_3_exit_codes_of_sync() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::start(&temp.path().join("a"));
    let blocked = a.ctl(&["sync", "--json"]);
    assert_eq!(blocked.code, 3, "{blocked:?}");
    assert_eq!(blocked.json()["reason_code"], "cloud_not_configured");
    assert_eq!(a.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN).code, 0);
    let other = a.ctl(&["sync", "--project", "demo", "--json"]);
    assert_eq!(other.code, 3, "{other:?}");
    assert_eq!(other.json()["error"]["reason_code"], "blocked_unenrolled");
    assert!(other.err.contains("engramctl enroll demo"), "{other:?}");
    assert_eq!(a.ctl(&["enroll", "demo"]).code, 0);
    let _ = a.save("demo", "t", "c");
    let drained = a.json(&["sync", "--project", "demo"]);
    assert_eq!(drained["outcome"], "drained");
    assert_eq!(drained["projects"][0]["remaining"], 0);
    assert_eq!(ctl(&temp.path().join("nobody"), &["sync"], "").code, 4);
    assert_eq!(a.ctl(&["sync", "--push-only", "--pull-only"]).code, 2);
}

/// ISO-1: a row the server refuses is held with its words, its neighbours go on, and `sync` says partial.
#[test]
fn iso_1_a_refused_row_is_held_and_the_rest_goes_on() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    until("it is at rest", || a.report()["sync"]["phase"] == "waiting");
    // As an older program wrote it: an observation without a title, which nobody can fill.
    let store = rusqlite::Connection::open(a.dir.join("engram.db")).expect("the store");
    store.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    store
        .execute_batch(
            "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project)
             VALUES ('cloud', 'observation', 'obs-bad', 'upsert',
                 '{\"sync_id\":\"obs-bad\",\"session_id\":\"s\",\"type\":\"t\",\"title\":\"\",\"content\":\"c\",\"scope\":\"project\"}',
                 'local', '2026-11-23 10:00:00', 'demo')",
        )
        .expect("a row");
    let _ = a.save("demo", "good", "a good neighbour");
    until("the neighbour arrives", || b.titles("neighbour") == ["good"]);
    until("the row is held", || a.ctl(&["held", "list"]).out.contains("obs-bad"));
    let sync = a.ctl(&["sync", "--json"]);
    assert_eq!((sync.code, &sync.json()["outcome"]), (5, &"partial".into()), "{sync:?}");
    assert!(a.finds_reason("row_rejected"));
    let held = a.json(&["held", "list"]);
    let id = held["held"][0]["id"].to_string();
    let shown = a.ctl(&["held", "show", &id]);
    assert!(shown.out.contains("title"), "{shown:?}");
    assert_eq!(a.ctl(&["held", "drop", &id]).code, 2, "without --yes");
    assert_eq!(a.ctl(&["held", "drop", &id, "--yes"]).code, 0);
    until("nothing is wrong any more", || a.ctl(&["status"]).code == 0);
    assert_eq!(a.ctl(&["held", "show", &id]).code, 1);
}

/// ISO-2: a project that is refused blocks itself only; REC-1: what was mended counts at the next `sync`.
#[test]
fn iso_2_one_refused_project_stops_no_other() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start_at(&temp.path().join("cloud"), "0", "open");
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "open");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "open");
    let refused = a.ctl(&["enroll", "closed"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(a.report()["projects"].as_array().is_some_and(|all| all.iter().all(|one| one["project"] != "closed")));
    // Enrolled while nobody could be asked, and refused later.
    let store = rusqlite::Connection::open(a.dir.join("engram.db")).expect("the store");
    store.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    store.execute("INSERT INTO sync_enrolled_projects (project) VALUES ('closed')", []).expect("enrolled");
    let _ = a.save("closed", "secret", "not for everybody");
    let _ = a.save("open", "news", "for everybody");
    until("the open one arrives", || b.titles("everybody") == ["news"]);
    until("the closed one says so", || a.finds_reason("policy_forbidden"));
    let sync = a.ctl(&["sync", "--project", "open"]);
    assert_eq!(sync.code, 0, "{sync:?}");
    assert_eq!(a.ctl(&["sync"]).code, 3);
    assert_eq!(a.ctl(&["unenroll", "closed"]).code, 0);
    until("nothing is wrong any more", || a.ctl(&["status"]).code == 0);
}

/// What the user wants survives a restart.
#[test]
fn a_pause_survives_a_restart() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let mut a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    assert_eq!(a.ctl(&["pause", "--reason", "on a train"]).code, 0);
    let _ = a.save("demo", "held back", "waits for resume");
    a.daemon.kill();
    a.boot();
    until("it says so", || a.report()["sync"]["phase"] == "paused");
    assert!(a.ctl(&["status"]).out.contains("on a train"));
    assert!(b.titles("resume").is_empty());
    assert_eq!(a.ctl(&["sync"]).code, 3);
    assert_eq!(a.ctl(&["resume"]).code, 0);
    until("it goes on", || b.titles("resume") == ["held back"]);
}
