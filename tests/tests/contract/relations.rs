//! A relation that comes before its ends (peers.md, "Go clients on our server", last sentence).

use crate::bench::*;
use engram_cloud::clock::Clock;
use engram_cloud::journal::{Fate, Journal};
use engram_proto::http::push::PushEntry;
use serde_json::json;

pub(crate) fn relation(project: &str, id: &str, ends: [&str; 2]) -> PushEntry {
    let payload = json!({
        "sync_id": id, "source_id": ends[0], "target_id": ends[1], "relation": "related", "judgment_status": "judged",
        "marked_by_actor": "somebody", "marked_by_kind": "agent", "created_at": "2026-11-22 14:00:00",
        "updated_at": "2026-11-22 14:00:00",
    });
    entry(project, "relation", id, "upsert", payload)
}

async fn keys<J: Journal>(journal: &J, projects: &[&str]) -> Vec<String> {
    let mut rows = read_all(journal, projects).await;
    rows.sort_unstable_by_key(|row| row.seq);
    rows.into_iter().map(|row| row.entity_key).collect()
}

/// Each end that was missing shows the relation once more, and nothing else does.
pub(crate) async fn a_relation_is_shown_again_when_a_missing_end_arrives<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    accepted(&journal, with_id("d:1:00", relation("alpha", "r", ["a", "b"]))).await;
    accepted(&journal, with_id("d:2:00", memory("alpha", "a", "title", 1))).await;
    assert_eq!(keys(&journal, &["alpha"]).await, ["r", "a", "r"]);
    // IDEM-1: what is there already arrives no more, an edit included, and neither does what nobody waits for.
    for again in [memory("alpha", "a", "title", 1), relation("alpha", "r", ["a", "b"])] {
        assert!(matches!(fates(&journal, vec![again]).await[0], Fate::Duplicate(_)));
    }
    accepted(&journal, memory("alpha", "a", "edited", 2)).await;
    accepted(&journal, memory("alpha", "other", "title", 1)).await;
    assert_eq!(keys(&journal, &["alpha"]).await, ["r", "a", "r", "a", "other"]);
    // Across a restart, because it is stored.
    journal.close().await;
    let journal = bench.open(Clock::system()).await;
    accepted(&journal, memory("alpha", "b", "title", 1)).await;
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!(rows.len(), 7);
    assert_eq!((rows[6].entity_key.as_str(), &rows[6].payload), ("r", &rows[0].payload));
    // With both ends there a judgment is shown once.
    accepted(&journal, relation("alpha", "second", ["b", "a"])).await;
    assert_eq!(keys(&journal, &["alpha"]).await.len(), 8);
}

/// The order within one request is any order, and a deleted end is a missing one.
pub(crate) async fn an_end_in_the_same_request_or_of_another_project_counts<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let both = vec![relation("alpha", "r", ["a", "elsewhere"]), memory("alpha", "a", "title", 1)];
    fates(&journal, both).await;
    assert_eq!(keys(&journal, &["alpha"]).await, ["r", "a", "r"]);
    accepted(&journal, memory("beta", "elsewhere", "title", 1)).await;
    assert_eq!(keys(&journal, &["alpha", "beta"]).await, ["r", "a", "r", "elsewhere", "r"]);
    let gone = json!({"sync_id": "a", "session_id": "s", "deleted": true, "deleted_at": "2026-11-22 14:30:00"});
    accepted(&journal, entry("alpha", "observation", "a", "delete", gone)).await;
    accepted(&journal, relation("alpha", "late", ["a", "a"])).await;
    accepted(&journal, memory("alpha", "a", "again", 40)).await;
    assert_eq!(keys(&journal, &["alpha"]).await[4..], ["a", "late", "a", "late"]);
    // No observation has such an id, and no index of Postgres takes it.
    accepted(&journal, relation("alpha", "long", [&"x".repeat(5_000), "a"])).await;
    journal.close().await;
}
