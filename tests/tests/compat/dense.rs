//! Go clients on a database that a Go server filled: its numbers are dense, and nothing can be put in between them.

use crate::server::*;
use engram_tests::postgres::Database;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

fn projects_of(database: &Database) -> Vec<String> {
    let sql = "SELECT DISTINCT project FROM cloud_mutations ORDER BY project";
    database.query(sql).lines().map(str::to_owned).collect()
}

fn peer_writes(database: &Database, entry: &Value) {
    let text = |field: &str| entry[field].as_str().expect("a text");
    let (project, entity, key, op) = (text("project"), text("entity"), text("entity_key"), text("op"));
    database.query(&format!(
        "INSERT INTO cloud_mutations (project, entity, entity_key, op, payload)
         VALUES ('{project}', '{entity}', '{key}', '{op}', '{}')",
        entry["payload"]
    ));
}

async fn taken_over(database: &Database) {
    let sql = "SELECT coalesce((SELECT value::bigint FROM engram_meta WHERE name = 'taken_over_to'), 0)
               >= (SELECT max(seq) FROM cloud_mutations WHERE version_hash IS NULL)";
    let done = async {
        while database.query(sql) != "t" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(engram_tests::processes::DEADLINE, done).await.expect("it is taken over in time");
}

/// Whatever a client was granted first, a project that is granted late halts it nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_grant_over_dense_rows_halts_nobody() {
    let Some(database) = Database::new() else { return };
    database.load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cloud/cloud-v2026-07.sql"));
    // As concurrent pushers leave it (D3): children before their session, and one whose session never came.
    for entry in [
        memory("alpha", "late-session", "early", "came before its session", 1),
        memory("beta", "nowhere", "orphan", "has no session", 1),
        session("alpha", "late-session", "/src"),
        memory("alpha", "late-session", "in-time", "came after it", 2),
    ] {
        peer_writes(&database, &entry);
    }
    let all = projects_of(&database);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut server = Server::start_on(Some(database.clone()), &all).await;
    let mut fresh = server.go("fresh", 60);
    // Before the background is done as well.
    fresh.pull(&server.remote).await.expect("no halt");
    taken_over(&database).await;
    for first in &all {
        server = server.regrant(&[first]).await;
        let mut client = server.go(&format!("first-{first}"), 60);
        client.pull(&server.remote).await.expect("no halt");
        server = server.regrant(&all).await;
        client.pull(&server.remote).await.unwrap_or_else(|halt| panic!("first {first}: {halt:?}"));
    }
    fresh.pull(&server.remote).await.expect("no halt");
    let kept = "SELECT group_concat(sync_id, ' ') FROM (SELECT sync_id FROM observations
                WHERE sync_id IN ('early', 'orphan', 'in-time') ORDER BY sync_id)";
    let kept: String = fresh.db.query_row(kept, [], |row| row.get(0)).expect("memories");
    assert_eq!(kept, "early in-time orphan");
}
