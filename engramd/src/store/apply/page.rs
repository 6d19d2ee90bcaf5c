//! Applying a page in transactions that each move the cursors to their last row (CUR-1).

use super::super::error::StoreError;
use super::super::{Store, cursor, desired, lease, meta};
use super::{Applying, Outcome, Quiet};
use engram_proto::http::pull::{PullReply, PulledMutation};
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engramd_core::rows::{Applied, Fence};
use std::collections::BTreeMap;

/// Rows of one transaction at most.
const SLICE_ROWS_MAX: usize = 1_000;
/// Rows of one transaction at least, however slow they are (one commit per 100 rows).
const SLICE_ROWS_MIN: usize = 100;
/// How long a transaction takes rows; writing the index and the commit come on top, and all is to end in 40 ms (OWN-3).
const SLICE_MS_MAX: u64 = 20;

impl Store {
    /// Applies a page, in transactions that each end with the cursors of what they applied.
    ///
    /// Rows of projects that are not enrolled are passed over, and their cursors stay (SCOPE-1). Where it fails midway,
    /// what was committed stays applied, cursors included, and the rest is pulled again.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn apply_page(
        &mut self,
        fence: &Fence,
        cloud_id: &str,
        page: &PullReply,
        now: RowTime,
    ) -> Result<BTreeMap<ProjectName, Applied>, StoreError> {
        let mut rows: Vec<(ProjectName, &PulledMutation)> = page
            .unnumbered
            .iter()
            .chain(&page.mutations)
            .filter_map(|row| Some((ProjectName::parse(&row.project).ok()?, row)))
            .collect();
        // A cursor may only pass what was applied, even if a server forgets its order. What has no number has 0: it comes
        // first.
        rows.sort_by_key(|(_, row)| row.seq);
        let mut all = BTreeMap::<ProjectName, Applied>::new();
        let quiet = Quiet::new(&self.conn, false)?;
        let mut rest = rows.as_slice();
        loop {
            let slice = Slice { fence, cloud_id, page, rows: rest, now, stopwatch: self.stopwatch };
            // A savepoint around each row would cost more than the rows, so it is there only where one was refused.
            let (done, outcome) = match slice.apply(&quiet, false) {
                Err(error) if error.is_the_rows_fault() => slice.apply(&quiet, true)?,
                result => result?,
            };
            self.commits += 1;
            for (project, applied) in outcome.tell(&mut self.counts) {
                all.entry(project).or_default().add(applied);
            }
            rest = rest.get(done..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
        }
        drop(quiet);
        Ok(all)
    }
}

/// The rest of a page.
struct Slice<'a> {
    fence: &'a Fence,
    cloud_id: &'a str,
    page: &'a PullReply,
    rows: &'a [(ProjectName, &'a PulledMutation)],
    now: RowTime,
    stopwatch: fn() -> u64,
}

impl Slice<'_> {
    /// Applies the first rows in one transaction; returns how many.
    fn apply(&self, quiet: &Quiet<'_>, careful: bool) -> Result<(usize, Outcome), StoreError> {
        Applying::run(quiet, self.now, |applying| {
            let conn = applying.conn;
            lease::check(conn, self.fence)?;
            let began_ms = (self.stopwatch)();
            let mut enrolled = BTreeMap::<&ProjectName, bool>::new();
            let mut last_seqs = BTreeMap::<&ProjectName, u64>::new();
            let mut done = 0;
            for (project, row) in self.rows.iter().take(SLICE_ROWS_MAX) {
                if done >= SLICE_ROWS_MIN && (self.stopwatch)().saturating_sub(began_ms) > SLICE_MS_MAX {
                    break;
                }
                done += 1;
                let takes_part = match enrolled.get(project) {
                    Some(&takes_part) => takes_part,
                    None => *enrolled.entry(project).or_insert(desired::is_enrolled(conn, project)?),
                };
                if takes_part {
                    applying.row(project, row, careful)?;
                    last_seqs.insert(project, row.seq);
                }
            }
            for (project, seq) in last_seqs {
                // The page may ask to begin earlier the next time, never later than its last row.
                let seq = self.page.cursors.get(project).map_or(seq, |&asked| asked.min(seq));
                cursor::advance(conn, project, self.cloud_id, seq)?;
            }
            if done == self.rows.len() {
                for (key, note) in &self.page.notes {
                    meta::set(conn, key, Some(note))?;
                }
                // Behind the last row, a cursor may pass what is not its project's.
                for (project, &seq) in &self.page.cursors {
                    if desired::is_enrolled(conn, project)? {
                        cursor::advance(conn, project, self.cloud_id, seq)?;
                    }
                }
            }
            Ok(done)
        })
    }
}
