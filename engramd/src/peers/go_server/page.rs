//! One page of the global order, checked before anything of it counts.

use super::BATCH_ROWS_MAX;
use crate::clock;
use crate::transport::{Dated, Transport};
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::time::{MS_PER_S, RowTime};
use engramd_core::classify::Failure;

/// A row that is younger may be followed by one with a smaller number, whose transaction took so long (D3).
const YOUNG_S: i64 = 60;

/// A page, its projects in normal form.
pub(super) struct Page {
    pub(super) rows: Vec<PulledMutation>,
    pub(super) has_more: bool,
    /// Unix seconds by the server's clock when it answered.
    date_s: i64,
}

impl Page {
    /// Asks for the rows behind a number.
    ///
    /// Out of order, from before that number, or "more" without any: such a page is the server's fault.
    pub(super) async fn ask(transport: &Transport, since_seq: u64, limit: usize) -> Result<Self, Failure> {
        let limit = u32::try_from(limit.min(BATCH_ROWS_MAX)).unwrap_or(1);
        let Dated { value: page, date_s } = transport.pull_part1(since_seq, limit).await?;
        let mut last = since_seq;
        for row in &page.mutations {
            if row.seq <= last {
                return Err(transport.impossible(&format!("it sends row {} behind row {last}", row.seq)));
            }
            last = row.seq;
        }
        if page.has_more && page.mutations.is_empty() {
            return Err(transport.impossible("it says that there is more, and sends an empty page"));
        }
        let mut rows = page.mutations;
        for row in &mut rows {
            if let Ok(project) = ProjectName::parse(&row.project) {
                row.project = project.to_string();
            }
        }
        let date_s = date_s.unwrap_or_else(|| clock::now().wall_ms / MS_PER_S);
        Ok(Self { rows, has_more: page.has_more, date_s })
    }

    /// Tells whether rows with smaller numbers than this one may still appear. One from further ahead was numbered before
    /// the server's clock was set back, and would be young until the clock is there again, for years.
    pub(super) fn is_young(&self, row: &PulledMutation) -> bool {
        RowTime::parse(&row.occurred_at).is_some_and(|at| (at.unix_s() - self.date_s).abs() < YOUNG_S)
    }
}
