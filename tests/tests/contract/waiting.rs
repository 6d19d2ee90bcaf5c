//! Waiting for rows.

use crate::bench::*;
use engram_cloud::clock::Clock;
use engram_cloud::journal::{Fate, Journal};
use std::time::Duration;

/// The long poll's promise: whoever listens, then looks, then waits, misses no row, whenever it is pushed.
pub(crate) async fn who_listens_before_it_looks_is_woken<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    for round in 0..50 {
        let listener = journal.listen(vec![name("alpha"), name("beta")]);
        let before = page(&journal, &[("beta", 0)], 0).await.heads[&name("beta")];
        let pusher = {
            let journal = journal.clone();
            tokio::spawn(async move { accepted(&journal, memory("beta", &format!("m{round}"), "title", 1)).await })
        };
        in_time(listener.rung()).await;
        let after = page(&journal, &[("beta", before)], 10).await;
        assert_eq!(after.rows.len(), 1, "the row is visible to who was woken for it");
        pusher.await.expect("the pusher");
    }
}

/// A row of another project, a repetition and a version that lost wake nobody.
pub(crate) async fn nobody_is_woken_by_another_project_or_by_nothing_new<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    accepted(&journal, memory("alpha", "m", "title", 5)).await;
    let listener = journal.listen(vec![name("alpha")]);
    accepted(&journal, memory("beta", "m", "title", 5)).await;
    let nothing = fates(
        &journal,
        vec![with_id("d:0:00", memory("alpha", "m", "title", 5)), with_id("d:1:00", memory("alpha", "m", "older", 1))],
    )
    .await;
    assert!(matches!(nothing.as_slice(), [Fate::Duplicate(_), Fate::Superseded(_)]));
    // The answers above came after their commits, and wakings come with commits: none is under way any more.
    journal.ping().await.expect("the store answers");
    assert!(tokio::time::timeout(Duration::ZERO, listener.rung()).await.is_err());
    accepted(&journal, memory("alpha", "n", "title", 5)).await;
    in_time(listener.rung()).await;
}
