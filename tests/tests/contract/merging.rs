//! Merging on arrival: the last row of an entity is the join of all its versions.

use crate::bench::*;
use engram_cloud::clock::Clock;
use engram_cloud::journal::{Fate, Journal};
use engram_proto::http::push::PushEntry;
use serde_json::json;

fn delete(key: &str, at: &str) -> PushEntry {
    let payload = json!({"sync_id": key, "session_id": "s", "deleted": true, "deleted_at": at, "hard_delete": true});
    entry("alpha", "observation", key, "delete", payload)
}

fn session_with(change: serde_json::Value) -> PushEntry {
    let mut session = session("alpha", "s");
    if let (Some(payload), serde_json::Value::Object(change)) = (session.payload.as_object_mut(), change) {
        payload.extend(change);
    }
    session
}

/// CONV-1: a version that lost is answered with the row it lost to and is served to nobody.
pub(crate) async fn conv_1_a_stale_version_is_superseded_and_not_served<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let current = accepted(&journal, memory("alpha", "m", "new", 9)).await;
    let stale = with_id("device:1:0123456789abcdef", memory("alpha", "m", "old", 2));
    for _ in 0..2 {
        assert_eq!(fates(&journal, vec![stale.clone()]).await, [Fate::Superseded(current)]);
    }
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(last(&rows, "m").payload["title"], "new");
    // Its id goes on naming the row it was told, whatever comes later.
    accepted(&journal, memory("alpha", "m", "newer", 10)).await;
    assert_eq!(fates(&journal, vec![stale]).await, [Fate::Superseded(current)]);
}

/// CONV-1: where each adds something, the join is a row of its own.
pub(crate) async fn conv_1_two_halves_are_mixed_and_the_join_is_appended<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    accepted(&journal, memory("alpha", "m", "new", 9)).await;
    let mut folded = memory("alpha", "m", "old", 2);
    folded.payload["duplicate_count"] = json!(5);
    accepted(&journal, folded.clone()).await;
    let rows = read_all(&journal, &["alpha"]).await;
    let join = last(&rows, "m");
    assert_eq!((&join.payload["title"], &join.payload["duplicate_count"]), (&json!("new"), &json!(5)));
    assert!(matches!(fates(&journal, vec![folded]).await.as_slice(), [Fate::Superseded(_)]));
    assert_eq!(read_all(&journal, &["alpha"]).await, rows);
}

/// CONV-1, CONV-2: two stores that got the same versions in opposite orders serve the same last versions.
pub(crate) async fn conv_1_any_order_of_arrival_ends_in_the_same_versions<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let versions = |project: &str| {
        let mut all: Vec<_> = (0..6).map(|minute| memory(project, "m", &format!("title {minute}"), minute)).collect();
        all[1].payload["last_seen_at"] = json!("2026-11-22 20:00:00");
        all[4].payload["created_at"] = json!("2026-11-22 09:00:00");
        let mut ended = session(project, "s");
        ended.payload["summary"] = json!("done");
        ended.payload["ended_at"] = json!("2026-11-22 18:00:00");
        all.extend([session(project, "s"), ended, prompt(project, "p", "2026-11-22 11:00:00")]);
        all
    };
    for entry in versions("forth") {
        fates(&journal, vec![entry]).await;
    }
    for entry in versions("back").into_iter().rev() {
        fates(&journal, vec![entry]).await;
    }
    let (forth, back) = (read_all(&journal, &["forth"]).await, read_all(&journal, &["back"]).await);
    for key in ["m", "s", "p"] {
        let mut mirrored = last(&back, key).payload.clone();
        mirrored["project"] = json!("forth");
        assert_eq!(last(&forth, key).payload, mirrored, "{key}");
    }
}

/// CONV-5: a delete wins over what was written before it, and a later writing makes the memory again.
pub(crate) async fn conv_5_a_deleted_memory_stays_deleted_until_it_is_made_again<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    accepted(&journal, memory("alpha", "m", "text", 1)).await;
    accepted(&journal, delete("m", "2026-11-22 14:30:00")).await;
    let late = fates(&journal, vec![memory("alpha", "m", "edited before the delete", 20)]).await;
    assert!(matches!(late.as_slice(), [Fate::Superseded(_)]), "{late:?}");
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!((last(&rows, "m").op.as_str(), &last(&rows, "m").payload["content"]), ("delete", &json!("")));
    accepted(&journal, memory("alpha", "m", "again", 40)).await;
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!(last(&rows, "m").payload["title"], "again");
}

/// merging.md, "A session's": whichever of session and prompt came first, the prompt's delete is appended.
pub(crate) async fn a_deleted_session_takes_its_earlier_prompts_along<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let before = vec![session("alpha", "s"), prompt("alpha", "early", "2026-11-22 11:00:00")];
    fates(&journal, before).await;
    fates(&journal, vec![prompt("alpha", "later", "2026-11-22 13:00:00")]).await;
    let deleted = json!({"id": "s", "deleted": true, "deleted_at": "2026-11-22 12:00:00"});
    accepted(&journal, entry("alpha", "session", "s", "delete", deleted)).await;
    accepted(&journal, prompt("alpha", "late-arrival", "2026-11-22 11:30:00")).await;
    let rows = read_all(&journal, &["alpha"]).await;
    for key in ["early", "late-arrival"] {
        let row = last(&rows, key);
        assert_eq!((row.op.as_str(), &row.payload["deleted_at"]), ("delete", &json!("2026-11-22 12:00:00")), "{key}");
    }
    assert_eq!(last(&rows, "later").op, "upsert");
    let again = fates(&journal, vec![prompt("alpha", "early", "2026-11-22 11:00:00")]).await;
    assert!(matches!(again.as_slice(), [Fate::Superseded(_)]), "{again:?}");
    assert_eq!(read_all(&journal, &["alpha"]).await.len(), rows.len());
}

/// cloud-http.md, "Versions": a peer's delete of a session is `deleted_at` beside what is known of it.
pub(crate) async fn a_session_is_served_as_an_upsert_with_all_its_fields<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    accepted(&journal, session_with(json!({"summary": "done", "ended_at": "2026-11-22 11:00:00"}))).await;
    let deleted = json!({"id": "s", "deleted": true, "deleted_at": "2026-11-22 12:00:00"});
    accepted(&journal, entry("alpha", "session", "s", "delete", deleted)).await;
    let rows = read_all(&journal, &["alpha"]).await;
    let expected = json!({
        "id": "s", "project": "alpha", "directory": "/src", "started_at": "2026-11-22 10:00:00",
        "ended_at": "2026-11-22 11:00:00", "summary": "done", "deleted_at": "2026-11-22 12:00:00",
    });
    assert_eq!((last(&rows, "s").op.as_str(), &last(&rows, "s").payload), ("upsert", &expected));
    journal.close().await;
}
