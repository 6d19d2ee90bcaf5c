//! Entries without a mutation id, as Go programs send them (peers.md, "The door").

use crate::bench::*;
use engram_cloud::clock::Clock;
use engram_cloud::journal::{Fate, Journal};
use engram_proto::http::push::PushEntry;
use serde_json::json;
use std::sync::atomic::{AtomicI64, Ordering};

fn delete(id: &str, at: &str, is_hard: bool) -> PushEntry {
    let payload = json!({"sync_id": id, "session_id": "s", "deleted": true, "deleted_at": at, "hard_delete": is_hard});
    entry("alpha", "observation", id, "delete", payload)
}

fn at(mut entry: PushEntry, field: &str, time: &str) -> PushEntry {
    entry.payload[field] = json!(time);
    entry
}

/// A stale version is answered with a new copy of what it lost to, once: the same one again appends nothing.
pub(crate) async fn what_it_lost_to_is_shown_once_more<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let current = accepted(&journal, memory("alpha", "m", "new", 9)).await;
    let stale = memory("alpha", "m", "old", 2);
    let Fate::Superseded(copy) = fates(&journal, vec![stale.clone()]).await[0].clone() else { panic!("superseded") };
    assert!(copy.seq > current.seq);
    for _ in 0..2 {
        assert_eq!(fates(&journal, vec![stale.clone()]).await, [Fate::Superseded(copy)]);
    }
    let rows = read_all(&journal, &["alpha"]).await;
    let titles: Vec<_> = rows.iter().map(|row| &row.payload["title"]).collect();
    assert_eq!(titles, ["new", "new"]);
    // A version that was served once is known to everybody.
    accepted(&journal, memory("alpha", "m", "newer", 10)).await;
    let Fate::Superseded(to) = fates(&journal, vec![memory("alpha", "m", "new", 9)]).await[0].clone() else {
        panic!("superseded")
    };
    assert_eq!((read_all(&journal, &["alpha"]).await.len(), to.seq > copy.seq), (3, true));
    // A delete took the memory from its sender's store: it is shown again however often that comes.
    for count in [4, 5] {
        fates(&journal, vec![delete("m", "2026-11-22 14:05:00", false)]).await;
        let rows = read_all(&journal, &["alpha"]).await;
        assert_eq!((rows.len(), &last(&rows, "m").payload["title"]), (count, &json!("newer")));
    }
    // Within one batch as well.
    let twice = vec![memory("alpha", "m", "older", 1), memory("alpha", "m", "older", 1)];
    fates(&journal, twice).await;
    assert_eq!(read_all(&journal, &["alpha"]).await.len(), 6);
}

/// A fold, a review, a row queued again: the fields of a version that was held come with its time, if that is less.
pub(crate) async fn a_version_that_was_held_keeps_its_time<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    accepted(&journal, memory("alpha", "m", "first", 1)).await;
    accepted(&journal, delete("m", "2026-11-22 14:30:00", true)).await;
    let reviewed = at(memory("alpha", "m", "first", 1), "updated_at", "2026-11-22 14:50:00");
    assert!(matches!(fates(&journal, vec![reviewed]).await[0], Fate::Superseded(_)), "it does not come back");
    accepted(&journal, memory("alpha", "n", "first", 1)).await;
    let folded = at(memory("alpha", "n", "first", 1), "updated_at", "2026-11-22 14:50:00");
    let mut folded = at(folded, "last_seen_at", "2026-11-22 14:50:00");
    folded.payload["duplicate_count"] = json!(2);
    accepted(&journal, folded).await;
    let rows = read_all(&journal, &["alpha"]).await;
    let payload = &last(&rows, "n").payload;
    assert_eq!((&payload["updated_at"], &payload["duplicate_count"]), (&json!("2026-11-22 14:01:00"), &json!(2)));
}

/// More than a day ahead of our clock: the time of receipt, and the same version again is that same one, whenever it
/// comes.
pub(crate) async fn a_time_of_the_far_future_is_the_time_of_receipt<B: Bench>(bench: B) {
    // An hour passes between two requests.
    let hours = AtomicI64::new(0);
    let start_us = Clock::system().now_us();
    let clock = Clock::new(move || start_us + hours.fetch_add(1, Ordering::Relaxed) * 3_600_000_000);
    let journal = bench.open(clock).await;
    let ahead = |entry: PushEntry, field: &str| at(entry, field, "2199-01-01 00:00:00");
    let begun = ahead(session("alpha", "s"), "started_at");
    let mut ended = ahead(session("alpha", "t"), "ended_at");
    ended.payload["summary"] = json!("done");
    let gone = json!({"id": "u", "deleted": true, "deleted_at": "2199-01-01 00:00:00"});
    let history = vec![
        begun,
        ended,
        session("alpha", "u"),
        entry("alpha", "session", "u", "delete", gone),
        ahead(memory("alpha", "m", "title", 1), "updated_at"),
        ahead(prompt("alpha", "p", ""), "created_at"),
        ahead(memory("alpha", "gone", "title", 1), "updated_at"),
        ahead(delete("gone", "", true), "deleted_at"),
    ];
    fates(&journal, history.clone()).await;
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|row| !row.payload.to_string().contains("2199")), "{rows:?}");
    let again = fates(&journal, history).await;
    assert!(!again.iter().any(|fate| matches!(fate, Fate::Accepted(_))), "{again:?}");
    // With an id nobody's time is altered: that would break the join.
    let named = with_id("d:1:00", ahead(memory("alpha", "n", "title", 1), "updated_at"));
    accepted(&journal, named).await;
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!(last(&rows, "n").payload["updated_at"], "2199-01-01 00:00:00");
}

/// A session's end that lost is shown again; prompts that its delete spared are, with the session.
pub(crate) async fn sessions_are_shown_again_for_their_end_and_their_prompts<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let ended = |summary: &str, time: &str| {
        let mut ended = at(session("alpha", "s"), "ended_at", time);
        ended.payload["summary"] = json!(summary);
        ended
    };
    accepted(&journal, ended("late", "2026-11-22 18:00:00")).await;
    fates(&journal, vec![ended("early", "2026-11-22 17:00:00")]).await;
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!((rows.len(), &rows[1].payload["summary"]), (2, &json!("late")));
    // What lost without another end is not: the session that its sender has is put right by the next child.
    let mut unknown = ended("late", "2026-11-22 18:00:00");
    unknown.payload["directory"] = json!("(recovered-missing-session)");
    assert!(matches!(fates(&journal, vec![unknown]).await[0], Fate::Superseded(_)));
    assert_eq!(read_all(&journal, &["alpha"]).await.len(), 2);
    accepted(&journal, prompt("alpha", "spared", "2026-11-22 19:00:00")).await;
    let gone = json!({"id": "s", "deleted": true, "deleted_at": "2026-11-22 12:00:00"});
    fates(&journal, vec![entry("alpha", "session", "s", "delete", gone)]).await;
    let rows = read_all(&journal, &["alpha"]).await;
    let tail: Vec<_> = rows[3..].iter().map(|row| row.entity_key.as_str()).collect();
    assert_eq!(tail, ["s", "s", "spared"]);
    journal.close().await;
}
