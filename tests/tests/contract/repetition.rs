//! IDEM-1: what was pushed before changes nothing.

use crate::bench::*;
use engram_cloud::clock::Clock;
use engram_cloud::journal::{Fate, Journal, Told};
use engram_proto::http::push::PushEntry;

fn history() -> Vec<PushEntry> {
    vec![
        session("alpha", "s"),
        memory("alpha", "m", "first", 1),
        memory("alpha", "m", "second", 2),
        prompt("alpha", "p", "2026-11-22 11:00:00"),
        entry(
            "alpha",
            "observation",
            "n",
            "delete",
            serde_json::json!({"sync_id": "n", "session_id": "s", "deleted": true, "deleted_at": "2026-11-22 12:00:00"}),
        ),
    ]
}

fn named(entries: Vec<PushEntry>) -> Vec<PushEntry> {
    entries.into_iter().enumerate().map(|(at, entry)| with_id(format!("device:{at}:0123456789abcdef"), entry)).collect()
}

fn told(fate: &Fate) -> Told {
    match fate {
        Fate::Accepted(told) | Fate::Duplicate(told) | Fate::Superseded(told) => *told,
        Fate::Rejected(fault) => panic!("{fault:?}"),
    }
}

/// IDEM-1: the same ids again are answered with the same numbers and times, and append nothing.
pub(crate) async fn idem_1_the_same_push_twice_changes_nothing<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let first = fates(&journal, named(history())).await;
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!(rows.len(), 5);
    let second = fates(&journal, named(history())).await;
    assert!(second.iter().all(|fate| matches!(fate, Fate::Duplicate(_))), "{second:?}");
    assert_eq!(first.iter().map(told).collect::<Vec<_>>(), second.iter().map(told).collect::<Vec<_>>());
    assert_eq!(read_all(&journal, &["alpha"]).await, rows);
    // The same id, although the entity has moved on since.
    accepted(&journal, memory("alpha", "m", "third", 3)).await;
    let third = fates(&journal, named(history())).await;
    assert_eq!(first.iter().map(told).collect::<Vec<_>>(), third.iter().map(told).collect::<Vec<_>>());
    assert_eq!(read_all(&journal, &["alpha"]).await.len(), rows.len() + 1);
}

/// IDEM-1: eight threads push the same batch at once, with ids and without; it is stored once and all are told the same.
pub(crate) async fn idem_1_the_same_push_from_many_at_once_is_stored_once<B: Bench>(bench: B) {
    push_one_batch_from_many(&[bench.open(Clock::system()).await]).await;
}

/// IDEM-1: the same where every other one is at another server of the same data set.
pub(crate) async fn idem_1_the_same_push_at_two_servers_is_stored_once(bench: PostgresBench) {
    push_one_batch_from_many(&[bench.open(Clock::system()).await, bench.open(Clock::system()).await]).await;
}

async fn push_one_batch_from_many<J: Journal>(journals: &[J]) {
    for has_ids in [true, false] {
        let project = if has_ids { "with-ids" } else { "without" };
        let pushers: Vec<_> = (0..8)
            .map(|pusher| {
                let (journal, runtime) = (journals[pusher % journals.len()].clone(), tokio::runtime::Handle::current());
                let entries = (0..20).map(|i| memory(project, &format!("m{i}"), "title", 1)).collect();
                let entries = if has_ids { named(entries) } else { entries };
                std::thread::spawn(move || runtime.block_on(fates(&journal, entries)))
            })
            .collect();
        let answers: Vec<_> = tokio::task::block_in_place(|| {
            pushers.into_iter().map(|pusher| pusher.join().expect("a pusher")).collect()
        });
        let rows = read_all(&journals[0], &[project]).await;
        assert_eq!(rows.len(), 20, "{project}");
        let seqs: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        for fates in &answers {
            assert_eq!(fates.iter().map(|fate| told(fate).seq).collect::<Vec<_>>(), seqs, "{project}");
        }
        let new = answers.iter().flatten().filter(|fate| matches!(fate, Fate::Accepted(_))).count();
        assert_eq!(new, 20, "{project}: every row was new to exactly one");
    }
}

/// IDEM-1: a client without ids that pushes its history again, in this order or another, appends nothing.
pub(crate) async fn idem_1_without_ids_a_replayed_history_appends_nothing<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    fates(&journal, history()).await;
    let rows = read_all(&journal, &["alpha"]).await;
    for _ in 0..2 {
        let replayed = fates(&journal, history()).await;
        assert!(replayed.iter().all(|fate| !matches!(fate, Fate::Accepted(_))), "{replayed:?}");
    }
    let backwards = fates(&journal, history().into_iter().rev().collect()).await;
    assert!(backwards.iter().all(|fate| !matches!(fate, Fate::Accepted(_))), "{backwards:?}");
    assert_eq!(read_all(&journal, &["alpha"]).await, rows);
}

/// SCOPE-2: an id that another project used names nothing here.
pub(crate) async fn a_mutation_id_belongs_to_its_project<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let id = "device:1:0123456789abcdef";
    accepted(&journal, with_id(id, memory("alpha", "m", "title", 1))).await;
    accepted(&journal, with_id(id, memory("beta", "m", "title", 1))).await;
    journal.close().await;
}
