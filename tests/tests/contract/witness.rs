//! The row by which a device knows its data set again (CUR-3).

use crate::bench::*;
use engram_cloud::clock::{Clock, rfc3339_us};
use engram_cloud::journal::{Batch, Entry, Journal, PageAsk, Pushed};
use engram_proto::http::witness::Witness;

/// CUR-3: only a store that holds exactly that row answers a page or takes a push.
pub(crate) async fn cur_3_a_store_without_the_row_of_the_witness_does_nothing<B: Bench>(bench: B) {
    let journal = bench.open(Clock::system()).await;
    let told = accepted(&journal, session("alpha", "s")).await;
    let good = Witness { seq: told.seq, occurred_at: rfc3339_us(told.occurred_at_us) };
    let of_another_time = Witness { occurred_at: rfc3339_us(told.occurred_at_us + 1), ..good.clone() };
    let of_another_number = Witness { seq: told.seq + 8, ..good.clone() };
    for (witness, is_here) in [(&good, true), (&of_another_time, false), (&of_another_number, false)] {
        for projects in [&[("alpha", 0)][..], &[("alpha", 0), ("beta", 0)], &[]] {
            let ask = PageAsk { witness: Some(witness.clone()), ..ask(projects, 10) };
            let page = journal.page(ask).await.expect("an answer");
            assert_eq!(page.is_some(), is_here, "{witness:?} {projects:?}");
            assert_eq!(page.map_or(0, |page| page.heads.len()), if is_here { projects.len() } else { 0 });
        }
        let entry = memory("alpha", &format!("m{}", witness.occurred_at), "title", 1);
        let batch = Batch::new("somebody", vec![Entry::read(name("alpha"), entry)]);
        let pushed = journal.push(batch.with_witness(Some(witness.clone()))).await.expect("an answer");
        assert_eq!(matches!(pushed, Pushed::Done(_)), is_here, "{pushed:?}");
        assert_eq!(pushed == Pushed::Replaced, !is_here);
    }
    assert_eq!(read_all(&journal, &["alpha"]).await.len(), 2, "nothing else was stored");
}
