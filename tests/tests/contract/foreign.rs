//! Entities of programs newer than this one.

use crate::bench::*;
use engram_cloud::auth::Grant;
use engram_cloud::clock::Clock;
use engram_cloud::journal::{Fate, Journal};
use serde_json::json;

/// cloud-http.md: stored, counted, served as it came by the `POST` form only.
pub(crate) async fn an_unknown_entity_is_stored_and_served_by_one_form_only<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let mood = json!({"sync_id": "x", "value": {"deep": [1, null, ""]}, "project": "alpha"});
    let entries = vec![
        session("alpha", "s"),
        entry("alpha", "mood", "x", "tint", json!(mood.to_string())),
        memory("alpha", "m", "title", 1),
    ];
    let fates = fates(&journal, entries).await;
    assert!(fates.iter().all(|fate| matches!(fate, Fate::Accepted(_))), "{fates:?}");
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[1].op.as_str(), &rows[1].payload), ("tint", &mood), "an object, however it came");
    for grant in [Grant::Every, grant(&["alpha"])] {
        let seen: Vec<_> = read_grant(&journal, grant).await.into_iter().map(|row| row.entity).collect();
        assert_eq!(seen, ["session", "observation"]);
    }
}

/// IDEM-1 holds for them too; with ids, going back to an earlier content is a change.
pub(crate) async fn idem_1_an_unknown_entity_is_stored_once<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let mood = |value: u32| entry("alpha", "mood", "x", "upsert", json!({"value": value}));
    let first = accepted(&journal, mood(1)).await;
    accepted(&journal, mood(2)).await;
    assert_eq!(fates(&journal, vec![mood(1)]).await, [Fate::Duplicate(first)]);
    let back = accepted(&journal, with_id("d:1:00", mood(1))).await;
    assert_eq!(fates(&journal, vec![with_id("d:1:00", mood(1))]).await, [Fate::Duplicate(back)]);
    assert_eq!(fates(&journal, vec![with_id("d:2:00", mood(1))]).await, [Fate::Duplicate(back)]);
    assert_eq!(read_all(&journal, &["alpha"]).await.len(), 3);
    journal.close().await;
}
