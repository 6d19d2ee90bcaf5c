//! The store as memory and daemon meet it: opening, one transaction per write, the thread.
#![expect(clippy::unwrap_used, reason = "tests")]

use engram_proto::canonical::Object;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engram_proto::time::RowTime;
use engramd::store::{Store, StoreError, StoreHandle, journal, normalized_hash, versions};
use std::os::unix::fs::PermissionsExt as _;

fn now() -> RowTime {
    RowTime::parse("2026-11-22 14:00:00").unwrap()
}

#[test]
fn a_store_is_created_for_its_owner_only_and_opened_again_as_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let first = Store::open(&path, now()).unwrap();
    let device = first.device_id().to_owned();
    drop(first);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Store::open(&path, now()).unwrap();
    assert_eq!(again.device_id(), device);
    assert_eq!(again.commits(), 0, "nothing is written at open");
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut store = Store::open(&path, now()).unwrap();
    store.set_meta("schema", Some("1.99")).unwrap();
    Store::open(&path, now()).expect("a newer minor only adds");
    store.set_meta("schema", Some("2.0")).unwrap();
    let refused = Store::open(&path, now()).unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 2, known: 1 }), "{refused:?}");
    assert!(refused.reason().is_some());
}

#[test]
fn dur_1_a_write_that_failed_leaves_nothing_behind() {
    let mut store = Store::open_in_memory(now()).unwrap();
    let project = ProjectName::parse("alpha").unwrap();
    let mut payload = Object::new();
    payload.insert("id".to_owned(), "s1".into());
    payload.insert("directory".to_owned(), "/d".into());
    let append = |tx: &engramd::store::Transaction<'_>| {
        tx.execute(
            "INSERT INTO sessions (id, project, directory, started_at) VALUES ('s1', 'alpha', '/d', ?1)",
            [now().to_string()],
        )?;
        let (entity, op) = (Entity::Session, Op::Upsert);
        let write =
            journal::LocalWrite { project: &project, entity, key: "s1", op, payload: &payload, base: None, at: now() };
        journal::append(tx, &write)
    };
    let failed = store.write(|tx| {
        append(tx)?;
        Err::<(), _>(StoreError::Invalid("no".to_owned()))
    });
    assert!(failed.is_err());
    let version = |store: &Store| store.read(|c| versions::local(c, &project, Entity::Session, "s1")).unwrap();
    assert_eq!(version(&store), None);
    let seq = store.write(append).unwrap();
    assert!(seq > 0);
    let Some(Version::Session(session)) = version(&store) else { panic!("a session") };
    assert_eq!(session.directory(), "/d");
}

#[test]
fn duplicates_are_found_whatever_their_case_and_spacing() {
    assert_eq!(normalized_hash("  Fix\tthe\n\nBUG "), normalized_hash("fix the bug"));
    assert_ne!(normalized_hash("fix the bug"), normalized_hash("fixthe bug"));
    assert_eq!(normalized_hash("").len(), 64);
}

#[test]
fn another_connections_commit_is_noticed_and_ones_own_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut store = Store::open(&path, now()).unwrap();
    store.set_meta("a", Some("1")).unwrap();
    assert!(!store.data_changed_elsewhere().unwrap());
    Store::open(&path, now()).unwrap().set_meta("b", Some("2")).unwrap();
    assert!(store.data_changed_elsewhere().unwrap());
    assert!(!store.data_changed_elsewhere().unwrap());
}

#[tokio::test]
async fn the_thread_answers_reads_beside_a_long_write_and_survives_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let (handle, thread) = StoreHandle::spawn(Store::open(&path, now()).unwrap(), Some(&path)).unwrap();
    let (started, wait) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let writer = handle.clone();
    let work = move |store: &mut Store| {
        store.write(|_| {
            started.send(()).unwrap();
            released.recv().unwrap();
            Ok(())
        })
    };
    let long = tokio::spawn(async move { writer.call(work).await });
    tokio::task::spawn_blocking(move || wait.recv().unwrap()).await.unwrap();
    let device: String = handle
        .read(|c| Ok(c.query_row("SELECT value FROM engramd_meta WHERE key = 'device_id'", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(device.len(), 36);
    release.send(()).unwrap();
    long.await.unwrap().unwrap().unwrap();

    let panicked = handle.call(|store| store.write(|_| -> Result<(), StoreError> { panic!("on purpose") })).await;
    assert!(panicked.is_err());
    handle.call(|store| store.set_meta("still", Some("here"))).await.unwrap().unwrap();
    drop(handle);
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    assert_eq!(Store::open(&path, now()).unwrap().meta("still").unwrap().as_deref(), Some("here"));
}
