//! Another process writes to the same file, as the Go program does (local-store.md, "Living beside the peer").

use engram_tests::processes::{Cloud, Device, until};

#[test]
fn a_write_by_another_process_is_on_its_way_by_itself() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    until("it is at rest", || a.report()["sync"]["phase"] == "waiting");
    let store = rusqlite::Connection::open(a.dir.join("engram.db")).expect("the store");
    store.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    store
        .execute_batch(
            r#"BEGIN IMMEDIATE;
            INSERT INTO sessions (id, project, directory, started_at) VALUES ('s-go', 'demo', '/go', '2026-11-23 10:00:00');
            INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, created_at, updated_at)
                VALUES ('obs-go', 's-go', 'note', 'from beside', 'written by another process', 'demo', 'project',
                    '2026-11-23 10:00:00', '2026-11-23 10:00:00');
            INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project) VALUES
                ('cloud', 'session', 's-go', 'upsert',
                 '{"id":"s-go","project":"demo","directory":"/go","started_at":"2026-11-23 10:00:00"}',
                 'local', '2026-11-23 10:00:00', 'demo'),
                ('cloud', 'observation', 'obs-go', 'upsert',
                 '{"sync_id":"obs-go","session_id":"s-go","type":"note","title":"from beside","content":"written by another process","project":"demo","scope":"project","revision_count":1,"duplicate_count":1,"created_at":"2026-11-23 10:00:00","updated_at":"2026-11-23 10:00:00"}',
                 'local', '2026-11-23 10:00:00', 'demo');
            COMMIT;"#,
        )
        .expect("written");
    until("it arrives, and nobody asked for a sync", || b.titles("another process") == ["from beside"]);
    // Enrolling by another process counts too.
    store.execute("INSERT INTO sync_enrolled_projects (project) VALUES ('more')", []).expect("enrolled");
    let listed = |report: serde_json::Value| {
        report["projects"].as_array().is_some_and(|all| all.iter().any(|one| one["project"] == "more"))
    };
    until("it takes part", || listed(a.report()));
}

/// OWN-3: while the daemon waits for the network, another process gets the write lock, every time.
#[test]
fn own_3_no_transaction_is_open_while_the_network_is_waited_for() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let store = rusqlite::Connection::open(a.dir.join("engram.db")).expect("the store");
    // The daemon's own short writes may be in the way for a moment; a transaction over a request would be for seconds.
    store.busy_timeout(std::time::Duration::from_millis(500)).expect("a timeout");
    let locked_at_once = || store.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
    until("a pull waits at the server", || a.report()["sync"]["phase"] == "waiting");
    assert!((0..100).all(|_| locked_at_once()), "while a pull waits");
    // A server that takes a connection and says nothing: the push waits for its answer.
    cloud.process.kill();
    let address = cloud.url.trim_start_matches("http://").to_owned();
    let mut silent = None;
    until("the port is free", || {
        silent = std::net::TcpListener::bind(&address).ok();
        silent.is_some()
    });
    let _ = a.save("demo", "t", "c");
    let (_answered_by_nobody, _) = silent.as_ref().expect("bound").accept().expect("the daemon comes");
    assert!((0..100).all(|_| locked_at_once()), "while the server says nothing");
}
