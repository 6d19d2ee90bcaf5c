//! What is current no more loses its content, and nobody misses it (cloud.md, "Retention").

use crate::bench::*;
use crate::pages::sum;
use crate::peer_rows;
use crate::relations::relation;
use engram_cloud::auth::Grant;
use engram_cloud::clock::{Clock, rfc3339_us};
use engram_cloud::journal::compaction::{Retention, STEP_CONTENTS, STEP_ROWS};
use engram_cloud::journal::postgres::Postgres;
use engram_cloud::journal::{Fate, Journal, Page, PageAsk, Rail as _};
use engram_proto::http::pull::PulledMutation;
use engram_proto::http::push::PushEntry;
use engram_proto::http::witness::Witness;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Nothing stays but what is current.
pub(crate) const NOTHING: Retention = Retention { superseded: Duration::ZERO, deleted: Duration::ZERO };

/// A clock that a case moves.
#[derive(Clone, Default)]
pub(crate) struct Time(Arc<AtomicI64>);

impl Time {
    pub(crate) fn clock(&self) -> Clock {
        let (moved, start_us) = (Arc::clone(&self.0), Clock::system().now_us());
        Clock::new(move || start_us + moved.load(Ordering::SeqCst))
    }

    pub(crate) fn pass(&self, time: Duration) {
        let us = i64::try_from(time.as_micros()).expect("a short time");
        self.0.fetch_add(us, Ordering::SeqCst);
    }
}

/// Compacts until nothing more is due, and returns how many contents went.
async fn compact<J: Journal>(journal: &J, retention: Retention) -> usize {
    let mut contents = 0;
    loop {
        let step = journal.compact(retention).await.expect("the store takes it");
        assert!(!step.has_more || step.contents > 0, "more without progress");
        contents += step.contents;
        if !step.has_more {
            return contents;
        }
    }
}

fn delete(id: &str, minute: u32, is_hard: bool) -> PushEntry {
    let at = format!("2026-11-22 14:{minute:02}:00");
    let payload = json!({"sync_id": id, "session_id": "s", "deleted": true, "deleted_at": at, "hard_delete": is_hard});
    entry("alpha", "observation", id, "delete", payload)
}

fn ended(summary: &str, minute: u32) -> PushEntry {
    let mut ended = session("alpha", "s");
    ended.payload["summary"] = json!(summary);
    ended.payload["ended_at"] = json!(format!("2026-11-22 18:{minute:02}:00"));
    ended
}

fn forget(id: &str) -> PushEntry {
    let payload = json!({"sync_id": id, "session_id": "s", "deleted": true, "deleted_at": "2026-11-22 16:00:00"});
    entry("alpha", "prompt", id, "delete", payload)
}

/// Names each row by its key and what it says.
fn said(rows: &[PulledMutation]) -> Vec<String> {
    let title = |row: &PulledMutation| {
        let text = ["title", "summary", "mood"].into_iter().find_map(|field| row.payload[field].as_str());
        text.filter(|text| !text.is_empty()).map_or_else(|| row.op.clone(), str::to_owned)
    };
    rows.iter().map(|row| format!("{} {}", row.entity_key, title(row))).collect()
}

async fn digest<J: Journal>(journal: &J, project: &str) -> engram_proto::merge::Digest {
    let head = read_all(journal, &[project]).await.last().map_or(0, |row| row.seq);
    page(journal, &[(project, head)], 9).await.digests[&name(project)]
}

/// Older versions of what was deleted for good go after a day, those of anything else after thirty; what is current
/// stays, a delete too, and an unknown entity.
pub(crate) async fn contents_go_when_they_stayed_long_enough<B: Bench>(bench: B) {
    let time = Time::default();
    let journal = bench.open(time.clock()).await;
    let mood = |text: &str| entry("alpha", "mood", "x", "upsert", json!({"mood": text}));
    let history = vec![
        session("alpha", "s"),
        memory("alpha", "m", "one", 1),
        memory("alpha", "m", "two", 2),
        memory("alpha", "gone", "secret", 1),
        memory("alpha", "soft", "hidden", 1),
        prompt("alpha", "p", "2026-11-22 14:00:00"),
        mood("good"),
        delete("gone", 30, true),
        delete("soft", 30, false),
        forget("p"),
        ended("done", 1),
        mood("better"),
        memory("alpha", "m", "three", 3),
    ];
    for (at, entry) in history.into_iter().enumerate() {
        accepted(&journal, with_id(format!("d:{at}"), entry)).await;
    }
    let before = digest(&journal, "alpha").await;
    assert_eq!(compact(&journal, Retention::default()).await, 0, "nothing is old");
    assert_eq!(read_all(&journal, &["alpha"]).await.len(), 13);
    time.pass(DAY + Duration::from_secs(60));
    assert_eq!(compact(&journal, Retention::default()).await, 2);
    let rows = said(&read_all(&journal, &["alpha"]).await);
    let after_a_day = [
        "s upsert",
        "m one",
        "m two",
        "soft hidden",
        "x good",
        "gone delete",
        "soft delete",
        "p delete",
        "s done",
        "x better",
        "m three",
    ];
    assert_eq!(rows, after_a_day);
    time.pass(DAY * 30);
    assert_eq!(compact(&journal, Retention::default()).await, 4);
    let rows = read_all(&journal, &["alpha"]).await;
    let at_last = ["x good", "gone delete", "soft delete", "p delete", "s done", "x better", "m three"];
    assert_eq!(said(&rows), at_last);
    assert_eq!(compact(&journal, Retention::default()).await, 0, "once");
    assert_eq!((digest(&journal, "alpha").await, sum(&rows)), (before, before));
    let by_grant = read_grant(&journal, Grant::Every).await;
    assert_eq!(said(&by_grant), ["gone delete", "soft delete", "p delete", "s done", "m three"]);
    // Across a restart: how far it came is kept.
    journal.close().await;
    let journal = bench.open(time.clock()).await;
    assert_eq!(compact(&journal, Retention::default()).await, 0);
    assert_eq!(read_all(&journal, &["alpha"]).await, rows);
    accepted(&journal, memory("alpha", "m", "four", 4)).await;
    time.pass(DAY * 31);
    assert_eq!(compact(&journal, Retention::default()).await, 1);
    journal.close().await;
}

/// A cursor passes what is gone: every page goes on, and counts what is served alone.
pub(crate) async fn pages_pass_what_is_gone<B: Bench>(bench: B) {
    let time = Time::default();
    let journal = bench.open(time.clock()).await;
    let mut told = Vec::new();
    for minute in 0..30 {
        let id = format!("d:{minute}");
        told.push(accepted(&journal, with_id(id, memory("alpha", "m", &format!("title {minute}"), minute))).await.seq);
    }
    accepted(&journal, memory("alpha", "other", "alone", 1)).await;
    let last = accepted(&journal, memory("alpha", "m", "last", 40)).await.seq;
    time.pass(DAY);
    assert_eq!(compact(&journal, NOTHING).await, 30);
    for cursor in [0, told[3], told[29]] {
        let first = page(&journal, &[("alpha", cursor)], 1).await;
        assert_eq!((said(&first.rows), first.has_more), (vec!["other alone".to_owned()], true));
        assert_eq!((first.heads[&name("alpha")], first.remaining[&name("alpha")]), (last, 1));
        let rest = page(&journal, &[("alpha", first.cursors[&name("alpha")])], 1).await;
        assert_eq!((said(&rest.rows), rest.has_more), (vec!["m last".to_owned()], false));
        assert_eq!(rest.cursors[&name("alpha")], last);
    }
    assert_eq!(page(&journal, &[("alpha", told[7])], 0).await.heads[&name("alpha")], last);
    journal.close().await;
}

/// IDEM-1, CUR-3: what was compacted is known again, by its id, by its number, and by what it said.
pub(crate) async fn idem_1_what_was_compacted_is_known_again<B: Bench>(bench: B) {
    let time = Time::default();
    let journal = bench.open(time.clock()).await;
    let one = with_id("d:1:00", memory("alpha", "m", "one", 1));
    let first = accepted(&journal, one.clone()).await;
    accepted(&journal, with_id("d:2:00", memory("alpha", "m", "two", 2))).await;
    fates(&journal, vec![ended("first", 1), ended("second", 2), memory("alpha", "n", "new", 9)]).await;
    // One that lost, once shown what it lost to.
    let lost = memory("alpha", "n", "old", 3);
    assert!(matches!(fates(&journal, vec![lost.clone()]).await[0], Fate::Superseded(_)));
    time.pass(DAY);
    assert!(compact(&journal, NOTHING).await >= 3);
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!(said(&rows), ["m two", "s second", "n new"]);
    assert_eq!(fates(&journal, vec![one]).await, [Fate::Duplicate(first)]);
    // A Go program queues again what it pulled, with a later time where it reviewed it.
    let mut reviewed = memory("alpha", "m", "one", 1);
    reviewed.payload["updated_at"] = json!("2026-11-22 14:50:00");
    for stale in [memory("alpha", "m", "one", 1), reviewed, ended("first", 1), lost] {
        let fate = fates(&journal, vec![stale.clone()]).await.remove(0);
        assert!(matches!(fate, Fate::Superseded(_)), "{stale:?}: {fate:?}");
        assert_eq!(read_all(&journal, &["alpha"]).await, rows, "{stale:?} is shown to nobody, and nothing again");
    }
    let witness = Witness { seq: first.seq, occurred_at: rfc3339_us(first.occurred_at_us) };
    let asked = PageAsk { witness: Some(witness.clone()), ..ask(&[("alpha", 0)], 9) };
    assert!(journal.page(asked).await.expect("the store answers").is_some());
    let asked = PageAsk { witness: Some(Witness { seq: first.seq + 1, ..witness }), ..ask(&[("alpha", 0)], 9) };
    assert!(journal.page(asked).await.expect("the store answers").is_none());
    journal.close().await;
}

/// A relation that now comes before a memory of it is appended once more behind it; where the memory is deleted, when it
/// comes again.
pub(crate) async fn a_relation_stays_behind_its_memories<B: Bench>(bench: B) {
    let time = Time::default();
    let journal = bench.open(time.clock()).await;
    let history = [memory("alpha", "a", "one", 1), memory("beta", "b", "one", 1), relation("alpha", "r", ["a", "b"])];
    fates(&journal, history.into()).await;
    let keys = async || {
        let mut rows = read_all(&journal, &["alpha", "beta"]).await;
        rows.sort_unstable_by_key(|row| row.seq);
        rows.into_iter().map(|row| row.entity_key).collect::<Vec<_>>()
    };
    // An edit, of an end of another project too.
    for edited in [memory("alpha", "a", "two", 2), memory("beta", "b", "two", 2)] {
        let (key, project) = (edited.entity_key.clone(), name(&edited.project));
        let told = accepted(&journal, edited).await;
        time.pass(DAY);
        assert_eq!(compact(&journal, NOTHING).await, 1);
        let rows = keys().await;
        assert_eq!(rows[rows.len() - 2..], [key.clone(), "r".to_owned()]);
        // Chunks tell it so, too.
        for (upto, stands) in [(told.seq - 1, BTreeSet::new()), (told.seq, BTreeSet::from([key.clone()]))] {
            let found = journal.standing(&project, BTreeSet::from([key.clone()]), upto).await;
            assert_eq!(found.expect("the store answers"), stands);
        }
        time.pass(DAY);
        assert_eq!(compact(&journal, NOTHING).await, 1, "the relation's own older row");
        assert_eq!(keys().await.len(), 3);
        assert_eq!(compact(&journal, NOTHING).await, 0, "it ends");
    }
    accepted(&journal, delete("a", 30, true)).await;
    time.pass(DAY);
    assert_eq!(compact(&journal, NOTHING).await, 1);
    assert_eq!(keys().await, ["b", "r", "a"]);
    accepted(&journal, memory("alpha", "a", "again", 40)).await;
    assert_eq!(keys().await, ["b", "r", "a", "a", "r"]);
    journal.close().await;
}

/// A step is bounded, and one that is cut off goes on where it stopped.
pub(crate) async fn a_long_way_is_gone_in_steps<B: Bench>(bench: B) {
    let time = Time::default();
    let versions = u32::try_from(STEP_ROWS + STEP_CONTENTS + 30).expect("few");
    let journal = bench.open(time.clock()).await;
    let version = |at: u32| {
        let mut version = memory("alpha", if at.is_multiple_of(3) { "often" } else { "m" }, &format!("title {at}"), 0);
        version.payload["revision_count"] = json!(at + 1);
        with_id(format!("d:{at}"), version)
    };
    fates(&journal, (0..versions).map(version).collect()).await;
    time.pass(DAY);
    let first = journal.compact(NOTHING).await.expect("the store takes it");
    assert!(first.has_more && first.contents <= STEP_CONTENTS, "{first:?}");
    journal.close().await;
    let journal = bench.open(time.clock()).await;
    let rest = compact(&journal, NOTHING).await;
    assert_eq!(first.contents + rest, usize::try_from(versions).expect("few") - 2);
    assert_eq!(read_all(&journal, &["alpha"]).await.len(), 2);
    journal.close().await;
}

/// CUR-2: who reads while it goes on is never told of an end that it did not read to.
pub(crate) async fn cur_2_who_reads_beside_it_misses_nothing_that_is_current<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let until_done = |is_done: Arc<AtomicBool>, journal: B::Journal| async move {
        while !is_done.load(Ordering::SeqCst) {
            journal.compact(NOTHING).await.expect("the store takes it");
        }
    };
    let compacting = tokio::spawn(until_done(Arc::clone(&is_done), journal.clone()));
    let pushing = tokio::spawn({
        let (journal, is_done) = (journal.clone(), Arc::clone(&is_done));
        async move {
            for at in 0..300_u32 {
                let mut version = memory("alpha", &format!("m{}", at % 3), &format!("title {at}"), 0);
                version.payload["revision_count"] = json!(at + 1);
                accepted(&journal, with_id(format!("d:{at}"), version)).await;
            }
            is_done.store(true, Ordering::SeqCst);
        }
    });
    let (mut cursor, mut current) = (0, BTreeMap::new());
    let read = async {
        loop {
            let is_last = is_done.load(Ordering::SeqCst);
            let Page { rows, cursors, heads, has_more, .. } = page(&journal, &[("alpha", cursor)], 2).await;
            assert!(!has_more || !rows.is_empty(), "more without progress");
            cursor = cursors.get(&name("alpha")).copied().unwrap_or(cursor);
            assert!(has_more || heads[&name("alpha")] == cursor, "an end that nobody read to");
            current.extend(rows.into_iter().map(|row| (row.entity_key.clone(), row)));
            if is_last && !has_more {
                return;
            }
        }
    };
    in_time(read).await;
    for task in [compacting, pushing] {
        task.await.expect("no panic");
    }
    let titles: BTreeSet<_> = current.values().map(|row| row.payload["title"].as_str().expect("a title")).collect();
    assert_eq!(titles, BTreeSet::from(["title 297", "title 298", "title 299"]));
    journal.close().await;
}

/// peers.md: sessions that a Go server took stay, and of its other rows none goes before it was taken over.
pub(crate) async fn sessions_of_a_peer_stay(bench: PostgresBench) {
    peer_rows::load(&bench.0);
    // Its numbers are small, whenever it gave them.
    bench.0.query("UPDATE cloud_mutations SET occurred_at = now()");
    let count = |what: &str| -> u32 {
        let sql =
            format!("SELECT count(*) FROM cloud_mutations m WHERE to_jsonb(m) ->> 'version_hash' IS NULL AND {what}");
        bench.0.query(&sql).parse().expect("a number")
    };
    let (sessions, deletes) = (count("entity = 'session'"), count("op = 'delete' AND entity <> 'session'"));
    let time = Time::default();
    let opened = async || {
        let journal = bench.open(time.clock()).await;
        peer_rows::taken_over(&bench.0).await;
        journal
    };
    let journal = opened().await;
    assert_eq!(compact(&journal, Retention::default()).await, 0, "it is not old");
    let last = by_entity(read_grant(&journal, Grant::Every).await);
    time.pass(DAY * 31);
    assert!(compact(&journal, Retention::default()).await > 0);
    assert_eq!(count("entity = 'session'"), sessions);
    assert_eq!(count("op = 'delete' AND entity <> 'session'"), deletes);
    assert_eq!(by_entity(read_grant(&journal, Grant::Every).await), last);
    // What it writes then stays until it is taken over: its entity has another current version than its head says.
    accepted(&journal, memory("alpha", "m", "one", 1)).await;
    let newer = memory("alpha", "m", "as the peer has it", 30).payload;
    peer_rows::peer_writes(&bench.0, "observation", "m", "upsert", &newer);
    time.pass(DAY * 31);
    compact(&journal, Retention::default()).await;
    let has_older = async |journal: &Postgres| {
        let rows = read_all(journal, &["alpha"]).await;
        assert_eq!(crate::bench::last(&rows, "m").payload["title"], "as the peer has it");
        rows.iter().any(|row| row.payload["title"] == "one")
    };
    assert!(has_older(&journal).await);
    journal.close().await;
    let journal = opened().await;
    compact(&journal, Retention::default()).await;
    assert!(!has_older(&journal).await);
    journal.close().await;
}

/// What the last row of each entity of each project says.
fn by_entity(rows: Vec<PulledMutation>) -> BTreeMap<String, Value> {
    let name = |row: &PulledMutation| format!("{} {} {}", row.project, row.entity, row.entity_key);
    rows.into_iter().map(|row| (name(&row), row.payload)).collect()
}
