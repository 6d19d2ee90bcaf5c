//! A store of an earlier release, which kept no digests and no chunks, is brought forward with the rows that it has.

use crate::bench::*;
use engram_cloud::clock::Clock;
use engram_cloud::journal::Journal;
use engram_proto::merge::Digest;
use engram_proto::mutation::Entity;
use engram_tests::postgres::Database;
use serde_json::json;
use std::path::Path;

/// Takes an embedded store back to its version 4.
fn embedded_back(dir: &Path) {
    let conn = rusqlite::Connection::open(dir.join("cloud/engram-cloud.db")).expect("the store");
    conn.execute_batch(
        "DROP TABLE cloud_compacted; DROP INDEX cloud_superseded_with_text; ALTER TABLE cloud_superseded DROP version;
         DROP INDEX cloud_relations_by_source; DROP INDEX cloud_relations_by_target;
         DROP TABLE cloud_auth_audit_log; DROP TRIGGER cloud_audit_first_control; DROP TRIGGER cloud_audit_control;
         DROP TABLE cloud_rails; DROP TABLE cloud_chunks; DROP TABLE cloud_digests; PRAGMA user_version = 4",
    )
    .expect("taken back");
}

/// Takes a database back to version 3.
fn postgres_back(database: &Database) {
    database.query(
        "DROP TABLE engram_compacted; DROP INDEX engram_superseded_with_text; ALTER TABLE engram_superseded DROP version;
         DROP INDEX engram_relations_by_source; DROP INDEX engram_relations_by_target;
         DROP TABLE engram_rails; DROP TABLE engram_digests; DROP TABLE cloud_chunks; DROP TABLE cloud_project_sessions;
         DELETE FROM engram_meta WHERE name = 'peer_told_to'; DELETE FROM engram_migrations WHERE version > 3",
    );
}

async fn digests<J: Journal>(journal: &J) -> Vec<Digest> {
    let mut all = Vec::new();
    for project in ["alpha", "beta"] {
        let rows = read_all(journal, &[project]).await;
        let head = rows.last().map_or(0, |row| row.seq);
        all.push(page(journal, &[(project, head)], 10).await.digests[&name(project)]);
    }
    all
}

async fn write<J: Journal>(journal: &J) {
    let gone = json!({"sync_id": "m1", "session_id": "s", "deleted_at": "2026-11-22 16:00:00", "deleted": true});
    let relation = json!({"sync_id": "r", "source_id": "m2", "target_id": "m3", "relation": "related",
        "judgment_status": "judged", "marked_by_actor": "a", "marked_by_kind": "agent",
        "created_at": "2026-11-22 14:00:00", "updated_at": "2026-11-22 14:00:00"});
    for (at, entry) in [
        session("alpha", "s"),
        memory("alpha", "m1", "first", 1),
        memory("alpha", "m2", "second", 5),
        memory("alpha", "m2", "third", 9),
        memory("alpha", "m3", "other", 1),
        entry("alpha", "observation", "m1", "delete", gone),
        entry("alpha", "relation", "r", "upsert", relation),
        prompt("alpha", "p", "2026-11-22 14:00:00"),
        entry("alpha", "mood", "x", "upsert", json!({"a": 1})),
        memory("beta", "m1", "first", 1),
    ]
    .into_iter()
    .enumerate()
    {
        fates(journal, vec![with_id(format!("d:{at}:0"), entry)]).await;
    }
}

/// Writes, takes the store back, and looks at it again; then writes on, beside one that was never taken back.
async fn brought_forward<B: Bench>(bench: B, other: B, back: impl Fn(&B)) {
    let (journal, never) = (bench.open(Clock::system()).await, other.open(Clock::system()).await);
    write(&journal).await;
    write(&never).await;
    let before = digests(&journal).await;
    assert!(before.iter().all(|digest| *digest != Digest::default()));
    assert_eq!(before, digests(&never).await);
    journal.close().await;
    drop(journal);
    back(&bench);
    let journal = bench.open(Clock::system()).await;
    assert_eq!(digests(&journal).await, before);
    for journal in [&journal, &never] {
        fates(journal, vec![with_id("d:99:0", memory("alpha", "m2", "fourth", 20))]).await;
    }
    assert_eq!(digests(&journal).await, digests(&never).await, "it goes on from there");
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!(last(&rows, "m2").payload["title"], "fourth");
    assert!(rows.iter().any(|row| Entity::parse(&row.entity).is_none()), "what nobody knows is in no digest");
    journal.close().await;
    drop(journal);
    let journal = bench.open(Clock::system()).await;
    assert_eq!(digests(&journal).await, digests(&never).await, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_embedded_store_gets_its_digests_once() {
    brought_forward(EmbeddedBench::new(), EmbeddedBench::new(), |bench| embedded_back(bench.dir())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_gets_its_digests_once() {
    // Missing where Postgres is not installed; that was said.
    let (Some(bench), Some(other)) = (PostgresBench::new(), PostgresBench::new()) else { return };
    brought_forward(bench, other, |bench| postgres_back(&bench.0)).await;
}
