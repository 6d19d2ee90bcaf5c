//! Order: cursors never pass a row, numbers never go back.

use crate::bench::*;
use engram_cloud::auth::Grant;
use engram_cloud::clock::Clock;
use engram_cloud::journal::{Fate, GrantAsk, Journal, PageAsk, Pushed};
use engram_proto::id::ProjectName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const PUSHERS: usize = 8;
const BATCHES: usize = 40;
const BATCH: usize = 5;
const ROWS: usize = PUSHERS * BATCHES * BATCH;
const PROJECTS: [&str; 3] = ["alpha", "beta", "gamma"];

/// A reader that hears nothing for so long has missed rows; it says which ones before the case hangs.
const SILENCE: Duration = DEADLINE.checked_div(2).expect("a half");

/// CUR-2: while eight threads push into three projects, a reader that follows its cursors, and one that follows the
/// order of the whole grant, see every row once and in the order of its number.
pub(crate) async fn cur_2_a_tailing_reader_misses_nothing_of_concurrent_pushers<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    tail_concurrent_pushers(std::slice::from_ref(&journal)).await;
    journal.close().await;
}

/// CUR-2: the same where every other pusher, and the two readers, are at another server of the same data set.
pub(crate) async fn cur_2_two_servers_of_one_database_show_one_order(bench: PostgresBench) {
    let journals = [bench.open(Clock::system()).await, bench.open(Clock::system()).await];
    assert_eq!(journals[0].cloud_id(), journals[1].cloud_id());
    tail_concurrent_pushers(&journals).await;
}

async fn tail_concurrent_pushers<J: Journal>(journals: &[J]) {
    let at = |place: usize| journals[place % journals.len()].clone();
    let by_project = tokio::spawn(tail_projects(at(0)));
    let by_grant = tokio::spawn(tail_grant(at(1)));
    let pushers: Vec<_> = (0..PUSHERS)
        .map(|pusher| {
            let (journal, runtime) = (at(pusher), tokio::runtime::Handle::current());
            std::thread::spawn(move || runtime.block_on(push_all(journal, pusher)))
        })
        .collect();
    let mut told = BTreeSet::new();
    for pusher in pushers {
        told.extend(tokio::task::block_in_place(|| pusher.join()).expect("a pusher"));
    }
    assert_eq!(told.len(), ROWS, "every row has a number of its own");
    assert_eq!(in_time(by_project).await.expect("the reader"), told, "lost by cursors per project");
    assert_eq!(in_time(by_grant).await.expect("the reader"), told, "lost by the order of the grant");
}

async fn push_all<J: Journal>(journal: J, pusher: usize) -> Vec<u64> {
    let mut told = Vec::new();
    for batch in 0..BATCHES {
        let project = PROJECTS[(pusher + batch) % PROJECTS.len()];
        let entries = (0..BATCH).map(|row| memory(project, &format!("{pusher}-{batch}-{row}"), "title", 0));
        for fate in fates(&journal, entries.collect()).await {
            match fate {
                Fate::Accepted(row) => told.push(row.seq),
                other => panic!("{other:?}"),
            }
        }
    }
    told
}

async fn tail_projects<J: Journal>(journal: J) -> BTreeSet<u64> {
    let mut cursors: BTreeMap<ProjectName, u64> = PROJECTS.iter().map(|project| (name(project), 0)).collect();
    let mut seen = BTreeSet::new();
    while seen.len() < ROWS {
        let listener = journal.listen(cursors.keys().cloned().collect());
        let ask = PageAsk { cursors: cursors.clone(), rows_max: 64, bytes_max: 4 << 20, witness: None };
        let page = journal.page(ask).await.expect("an answer").expect("a page");
        let mut before = 0;
        for row in &page.rows {
            assert!(row.seq > cursors[&name(&row.project)] && row.seq > before, "a row behind its cursor");
            before = row.seq;
            assert!(seen.insert(row.seq), "a row twice");
        }
        // A device stores what it was told, the head of a page without rows included.
        let told = if page.has_more { page.cursors } else { page.heads };
        cursors.extend(told);
        let is_silent = page.rows.is_empty();
        if is_silent && tokio::time::timeout(SILENCE, listener.rung()).await.is_err() {
            break;
        }
    }
    seen
}

async fn tail_grant<J: Journal>(journal: J) -> BTreeSet<u64> {
    let mut seen = BTreeSet::new();
    let mut since_seq = 0;
    while seen.len() < ROWS {
        let listener = journal.listen(PROJECTS.iter().map(|project| name(project)).collect());
        let ask = GrantAsk { grant: Grant::Every, since_seq, rows_max: 50, bytes_max: 4 << 20 };
        let page = journal.grant_page(ask).await.expect("a page");
        for row in &page.rows {
            assert!(row.seq > since_seq, "a row behind the cursor");
            since_seq = row.seq;
            assert!(seen.insert(row.seq), "a row twice");
        }
        if page.rows.is_empty() && tokio::time::timeout(SILENCE, listener.rung()).await.is_err() {
            break;
        }
    }
    seen
}

/// CUR-2: once a head was told, whatever comes later is above it, in its own project and in every other.
pub(crate) async fn cur_2_a_head_that_was_told_stays_the_end_of_what_came_before<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    for round in 0..20 {
        let head = page(&journal, &[("alpha", 0), ("beta", 0)], 0).await.heads.into_values().max().unwrap_or(0);
        for project in ["beta", "alpha"] {
            let row = accepted(&journal, memory(project, &format!("m{round}"), "title", 0)).await;
            assert!(row.seq > head, "{project} got {} behind {head}", row.seq);
        }
    }
}

/// CUR-3: a data set opened again is the same one; its numbers go on, also when its clock was set back.
pub(crate) async fn cur_3_a_data_set_keeps_its_identity_and_its_numbers<B: Bench>(bench: B) {
    let journal = bench.open(Clock::new(|| 1_795_000_000_000_000)).await;
    let id = journal.cloud_id().to_owned();
    assert!(!id.is_empty());
    let first = accepted(&journal, session("alpha", "s")).await;
    journal.close().await;
    drop(journal);
    let journal = bench.open(Clock::new(|| 1_700_000_000_000_000)).await;
    assert_eq!(journal.cloud_id(), id);
    let second = accepted(&journal, session("alpha", "t")).await;
    assert_eq!(second.seq, first.seq + 8);
}

/// peers.md, "Numbers": multiples of eight, above the last one, not below the clock's microseconds times four.
pub(crate) async fn numbers_are_multiples_of_eight_and_follow_the_clock<B: Bench>(bench: B) {
    let now_us = Arc::new(AtomicI64::new(1_795_000_000_000_003));
    let hands = Arc::clone(&now_us);
    let journal = bench.open(Clock::new(move || hands.load(Ordering::SeqCst))).await;
    let mut last = 0;
    for step in 0..10_i64 {
        let entries = (0..3).map(|i| memory("alpha", &format!("m{step}-{i}"), "title", 0)).collect();
        for fate in fates(&journal, entries).await {
            let Fate::Accepted(row) = fate else { panic!("{fate:?}") };
            let clock = now_us.load(Ordering::SeqCst);
            assert_eq!(row.seq % 8, 0);
            assert!(row.seq > last && row.seq >= clock.unsigned_abs() * 4 && row.seq < 1 << 53, "{}", row.seq);
            assert_eq!(row.occurred_at_us, clock);
            last = row.seq;
        }
        now_us.fetch_add(step * 1_000_000, Ordering::SeqCst);
    }
}

/// DUR-1: what was answered is there after the store was closed and opened again.
pub(crate) async fn dur_1_what_was_answered_is_there_after_reopening<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let pushed = fates(&journal, vec![session("alpha", "s"), memory("alpha", "m", "title", 1)]).await;
    let before = read_all(&journal, &["alpha"]).await;
    journal.close().await;
    let batch = engram_cloud::journal::Batch::new("late", Vec::new());
    assert!(journal.push(batch).await.is_err(), "a closed store takes nothing");
    drop(journal);
    let journal = bench.open(Clock::system()).await;
    assert_eq!(read_all(&journal, &["alpha"]).await, before);
    let again = push(&journal, vec![session("alpha", "s"), memory("alpha", "m", "title", 1)]).await;
    let told = pushed.iter().map(|fate| match fate {
        Fate::Accepted(row) => Fate::Duplicate(*row),
        other => panic!("{other:?}"),
    });
    assert_eq!(again, Pushed::Done(told.collect()));
}
