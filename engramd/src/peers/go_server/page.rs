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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cur_2_a_row_is_young_for_a_minute_by_the_servers_clock_whichever_way_that_is_set() {
        let at = RowTime::from_unix_s(1_790_000_000).expect("a time");
        let row = PulledMutation {
            seq: 7,
            project: "alpha".to_owned(),
            entity: "prompt".to_owned(),
            entity_key: "prompt-1".to_owned(),
            op: "upsert".to_owned(),
            payload: serde_json::Value::Null,
            occurred_at: at.rfc3339(),
        };
        let is_young = |after_s: i64| {
            let page = Page { rows: Vec::new(), has_more: false, date_s: at.unix_s() + after_s };
            page.is_young(&row)
        };
        assert!(is_young(0) && is_young(YOUNG_S - 1) && is_young(1 - YOUNG_S), "it may take so long to commit");
        assert!(!is_young(YOUNG_S) && !is_young(-YOUNG_S) && !is_young(-315_360_000), "the clock was set back");
    }
}
