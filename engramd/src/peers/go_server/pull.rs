//! Pulling: pages of the one global order become a page of the projects that were asked for.

use super::page::Page;
use super::witness::{Witness, Witnesses};
use super::{BATCH_ROWS_MAX, GoServer};
use engram_proto::http::pull::{Denial, PullReply, PullRequest, PulledMutation};
use engram_proto::id::ProjectName;
use engramd_core::classify::Failure;
use std::collections::BTreeMap;

/// So many rows are read between two questions for the grants.
const ROWS_ENOUGH: usize = 1_000;
/// Young rows beyond the first [`ROWS_ENOUGH`] are read up to here; a cursor then passes some of them, or memory would
/// have no bound.
const ROWS_MAX: usize = 20_000;

/// What was read of the global order.
struct Reading {
    /// Rows of the projects that were asked for, behind their cursors.
    rows: Vec<PulledMutation>,
    /// The last of each project.
    last: Witnesses,
    /// Rows up to here are all that there will ever be.
    settled: u64,
    /// The last row that was read.
    end: u64,
    more: bool,
}

type Cursors = BTreeMap<ProjectName, u64>;

impl GoServer<'_> {
    /// Serves several projects, each from its own cursor.
    ///
    /// A cursor passes rows only where its project was granted before and after they were read (D8), and never those that
    /// are so young that a smaller number may still appear: they are served again the next time (D3).
    pub(in super::super) async fn pull(&self, request: &PullRequest) -> Result<PullReply, Failure> {
        let mut reply = PullReply::default();
        let before = self.granted(request.cursors.clone(), &mut reply.denied).await?;
        if request.limit == 0 {
            if request.cursors.is_empty() {
                // Nothing to read: it is asked whether the token is known.
                Page::ask(self.transport, 0, 1).await?;
            }
            reply.heads = before;
            return Ok(reply);
        }
        let Some(&first) = before.values().min() else { return Ok(reply) };
        self.check_witness().await?;
        let reading = self.read(&before, first).await?;
        let mut after = before;
        if reading.end > first {
            after = self.granted(after, &mut reply.denied).await?;
        }
        let last = reading.last.into_iter().filter(|(project, _)| after.contains_key(project)).collect();
        self.remember(last).await?;
        for (project, cursor) in after {
            let moved = cursor.max(reading.settled);
            reply.has_more |= reading.more && moved > cursor;
            // Its head is not told: one row behind stands for all.
            let head = if reading.more { moved.max(reading.end) + 1 } else { moved };
            reply.remaining.insert(project.clone(), u64::from(reading.more));
            reply.heads.insert(project.clone(), head);
            reply.cursors.insert(project, moved);
        }
        let served = |row: &PulledMutation| reply.cursors.keys().any(|project| project.as_str() == row.project);
        reply.mutations = reading.rows.into_iter().filter(served).collect();
        Ok(reply)
    }

    /// Asks for each project whether it may be read, and keeps those that may.
    async fn granted(
        &self,
        mut cursors: Cursors,
        denied: &mut BTreeMap<ProjectName, Denial>,
    ) -> Result<Cursors, Failure> {
        for project in cursors.keys().cloned().collect::<Vec<_>>() {
            if let Some(denial) = self.transport.may_read(&project).await? {
                cursors.remove(&project);
                denied.insert(project, denial);
            }
        }
        Ok(cursors)
    }

    async fn read(&self, cursors: &Cursors, first: u64) -> Result<Reading, Failure> {
        let mut reading = Reading { rows: Vec::new(), last: Witnesses::new(), settled: first, end: first, more: true };
        let (mut count, mut young) = (0, false);
        while reading.more && (count < ROWS_ENOUGH || young && count < ROWS_MAX) {
            let page = Page::ask(self.transport, reading.end, BATCH_ROWS_MAX).await?;
            reading.more = page.has_more;
            for row in &page.rows {
                young |= page.is_young(row);
                if !young {
                    reading.settled = row.seq;
                }
                reading.end = row.seq;
                count += 1;
                let asked = cursors.iter().find(|(project, _)| project.as_str() == row.project);
                if let Some((project, &cursor)) = asked {
                    reading.last.insert(project.clone(), Witness::of_pulled(row));
                    if row.seq > cursor {
                        reading.rows.push(row.clone());
                    }
                }
            }
        }
        if reading.more && young {
            reading.settled = reading.end;
        }
        Ok(reading)
    }
}
