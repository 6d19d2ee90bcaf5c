//! Applying a page in transactions that each move the cursors to their last row (CUR-1).

use super::super::error::StoreError;
use super::super::turn::Turns;
use super::super::{Store, chunks, cursor, desired, lease, served, witness};
use super::{Applying, Outcome, Quiet};
use engram_proto::http::pull::{PullReply, PulledMutation};
use engram_proto::id::ProjectName;
use engramd_core::rows::{Applied, Clocks, Fence};
use rusqlite::Connection;
use std::collections::BTreeMap;

impl Store {
    /// Applies a page, in transactions that each end with the cursors of what they applied.
    ///
    /// Rows of projects that are not enrolled are passed over, and their cursors stay (SCOPE-1). So does a cursor that is
    /// behind the one the page was asked for with (`since`). Where it fails midway, what was committed stays applied,
    /// cursors included, and the rest is pulled again.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn apply_page(
        &mut self,
        fence: &Fence,
        cloud_id: &str,
        since: &BTreeMap<ProjectName, u64>,
        page: &PullReply,
        clocks: impl Into<Clocks>,
    ) -> Result<BTreeMap<ProjectName, Applied>, StoreError> {
        let (mut all, mut done, clocks) = (BTreeMap::<ProjectName, Applied>::new(), 0, clocks.into());
        while let Some(slice) = self.apply_slice(fence, cloud_id, since, page, done, clocks)? {
            for (project, applied) in slice.applied {
                all.entry(project).or_default().add(applied);
            }
            done = slice.done;
        }
        Ok(all)
    }

    /// Applies the next rows of a page in one transaction, behind the first `done` of them; `None` where all are applied.
    ///
    /// # Errors
    /// As [`apply_page`](Self::apply_page).
    pub fn apply_slice(
        &mut self,
        fence: &Fence,
        cloud_id: &str,
        since: &BTreeMap<ProjectName, u64>,
        page: &PullReply,
        done: usize,
        clocks: Clocks,
    ) -> Result<Option<AppliedSlice>, StoreError> {
        let mut rows: Vec<(ProjectName, &PulledMutation)> =
            page.rows().filter_map(|row| Some((ProjectName::parse(&row.project).ok()?, row))).collect();
        // A cursor may only pass what was applied, even if a server forgets its order. What has no number has 0: it comes
        // first.
        rows.sort_by_key(|(_, row)| row.seq);
        let rest = rows.get(done..).unwrap_or_default();
        // A page without rows may move cursors all the same.
        if rest.is_empty() && done > 0 {
            return Ok(None);
        }
        let quiet = Quiet::new(&self.conn, false)?;
        let slice = Slice { fence, cloud_id, since, page, rows: rest, clocks };
        // A savepoint around each row would cost more than the rows, so it is there only where one was refused.
        let (taken, outcome) = match slice.apply(&mut self.turns, &quiet, false) {
            Err(error) if error.is_the_rows_fault() => slice.apply(&mut self.turns, &quiet, true)?,
            result => result?,
        };
        drop(quiet);
        let is_last = taken == rest.len();
        Ok(Some(AppliedSlice { applied: outcome.tell(&mut self.counts), done: (done + taken).max(1), is_last }))
    }
}

/// What one transaction applied of a page.
#[derive(Clone, Debug)]
pub struct AppliedSlice {
    /// By project.
    pub applied: BTreeMap<ProjectName, Applied>,
    /// So many rows of the page are applied now.
    pub done: usize,
    /// Whether these were the last.
    pub is_last: bool,
}

/// The rest of a page.
struct Slice<'a> {
    fence: &'a Fence,
    cloud_id: &'a str,
    since: &'a BTreeMap<ProjectName, u64>,
    page: &'a PullReply,
    rows: &'a [(ProjectName, &'a PulledMutation)],
    clocks: Clocks,
}

impl Slice<'_> {
    /// Returns behind which number a project's rows are judged for conflicts, and behind which one they come for the first
    /// time; `None` where it is not enrolled.
    fn bounds(&self, conn: &Connection, project: &ProjectName) -> Result<Option<(u64, u64)>, StoreError> {
        if !desired::is_enrolled(conn, project)? {
            return Ok(None);
        }
        let judged_from = served::first_head(conn, project, self.cloud_id)?.unwrap_or(u64::MAX);
        Ok(Some((judged_from, cursor::read_to(conn, project, self.cloud_id)?)))
    }

    /// Applies the first rows in one transaction; returns how many.
    fn apply(&self, turns: &mut Turns, quiet: &Quiet<'_>, careful: bool) -> Result<(usize, Outcome), StoreError> {
        Applying::run(turns, quiet, self.clocks.own, |applying| {
            let conn = applying.conn;
            applying.set_cloud_now(self.clocks.cloud)?;
            lease::check(conn, self.fence)?;
            // Of each project that takes part: the head behind which its rows are judged, and what was ever read.
            let mut enrolled = BTreeMap::<&ProjectName, Option<(u64, u64)>>::new();
            let mut last_seqs = BTreeMap::<&ProjectName, u64>::new();
            let mut done = 0;
            for (project, row) in self.rows {
                if !applying.takes() {
                    break;
                }
                done += 1;
                let bounds = match enrolled.get(project) {
                    Some(&bounds) => bounds,
                    None => *enrolled.entry(project).or_insert(self.bounds(conn, project)?),
                };
                if let Some((judged_from, read_to)) = bounds {
                    applying.judged_of = (row.seq > judged_from).then(|| self.cloud_id.to_owned());
                    applying.is_first_time = row.seq > read_to;
                    applying.row(project, row, None, careful)?;
                    last_seqs.insert(project, row.seq);
                }
            }
            if let Some((_, last)) = self.rows[..done].last() {
                witness::told(conn, self.cloud_id, last.seq, &last.occurred_at)?;
            }
            // The page may ask to begin earlier the next time, never later than its last row.
            let earlier = |(project, seq): (_, u64)| {
                (project, self.page.cursors.get(project).map_or(seq, |&asked| asked.min(seq)))
            };
            let mut ends: BTreeMap<&ProjectName, u64> = last_seqs.into_iter().map(earlier).collect();
            if done == self.rows.len() {
                for (project, read) in &self.page.chunks {
                    chunks::of_server::note_read(conn, self.cloud_id, project, read, self.clocks.own)?;
                }
                // Behind the last row, a cursor may pass what is not its project's.
                for (project, &seq) in &self.page.cursors {
                    let is_enrolled = match enrolled.get(project) {
                        Some(bounds) => bounds.is_some(),
                        None => desired::is_enrolled(conn, project)?,
                    };
                    if is_enrolled {
                        ends.insert(project, seq);
                    }
                }
            }
            ends.into_iter().try_for_each(|(project, seq)| self.advance(conn, project, seq))?;
            Ok(done)
        })
    }

    fn advance(&self, conn: &Connection, project: &ProjectName, seq: u64) -> Result<(), StoreError> {
        let since = self.since.get(project).copied().unwrap_or(0);
        cursor::advance(conn, project, self.cloud_id, since, seq)
    }
}
