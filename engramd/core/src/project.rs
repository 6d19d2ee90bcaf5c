//! What the machine knows of one enrolled project.

use crate::backoff::{Retry, Trouble};
use crate::event::Now;
use crate::read_repair::ReadRepair;
use crate::rows::{Applied, ProjectCounts};
use engram_proto::reason::ReasonCode;

/// One enrolled project. Everything here is its own: no trouble of it stops another (ISO-2).
#[derive(Clone, Debug, Default)]
pub(crate) struct Project {
    /// The user's pause: why, and since when in Unix milliseconds.
    pub paused: Option<(Option<String>, i64)>,
    /// Whether its history is still being queued.
    pub queueing: bool,
    /// Whether the store said to which cloud it belongs, since it is enrolled and since places were forgotten.
    pub placed: bool,
    /// Why it stands still: it belongs to another cloud.
    pub elsewhere: Option<Trouble>,
    /// Whether its current versions are still being queued anew.
    pub mirroring: bool,
    /// As last counted.
    pub counts: ProjectCounts,
    /// As last read or moved; unknown until it was read for this cloud.
    pub cursor: Option<u64>,
    /// As last told.
    pub head: u64,
    /// Rows behind the head, as last told.
    pub behind: u64,
    /// The newest wish to be up to date that was fulfilled.
    pub drained_generation: u64,
    /// Rows of this store may be at the server without our knowing, until a pull of this generation has drained.
    pub in_doubt: u64,
    /// 403: neither way.
    pub access: Retry,
    /// 409, or nothing gets through: only out.
    pub push: Retry,
    /// Why its rows or versions are not the cloud's, though both are drained.
    pub diverged: Option<Trouble>,
    /// Rounds since nothing got through, in which pulls from the same server worked.
    pub outage_rounds: u32,
    /// Pages that had come when the last such round ended.
    pub pages_at_outage: u64,
    /// Whether the last push met an outage, so that the next sends its ends alone.
    pub outage: bool,
    /// Whether deferred children are still to be looked at once the head is reached.
    pub stand_in_due: bool,
    /// Whether what the server's last rows show is looked at.
    pub repair: ReadRepair,
    /// Since when there are rows of each held kind.
    pub held_since: Option<Now>,
    /// Since when there are deferred rows.
    pub deferred_since: Option<Now>,
    /// Unix milliseconds.
    pub last_push_ms: Option<i64>,
    /// Unix milliseconds.
    pub last_pull_ms: Option<i64>,
    /// Sums since the machine began, for followers of a sync.
    pub totals: ProjectTotals,
}

/// Sums since the machine began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProjectTotals {
    pub pushed: u64,
    pub pulled: u64,
}

impl Project {
    /// Takes a new count and remembers since when it says something.
    pub(crate) fn count(&mut self, counts: ProjectCounts, now: Now) {
        let held = counts.quarantined + counts.dead > 0;
        self.held_since = held.then(|| self.held_since.unwrap_or(now));
        self.deferred_since = (counts.deferred > 0).then(|| self.deferred_since.unwrap_or(now));
        // What failed was shown by a pull to have arrived, or was taken back: nothing waits any more (LOUD-2).
        if counts.pending == 0 {
            self.push.succeed();
            (self.outage, self.outage_rounds) = (false, 0);
        }
        self.counts = counts;
    }

    /// Records what applying a page did.
    pub(crate) fn applied(&mut self, applied: Applied, now: Now) {
        // What came back of what went out from here is no news.
        self.totals.pulled += applied.changed + applied.deferred + applied.dead;
        self.stand_in_due |= applied.deferred > 0 || applied.unfinished;
        self.last_pull_ms = Some(now.wall_ms);
    }

    /// Forgets how far it was read: it is read from where the store says, and nothing that was told before counts.
    pub(crate) fn forget_place(&mut self) {
        (self.cursor, self.head, self.behind, self.drained_generation) = (None, 0, 0, 0);
    }

    /// Tells whether anything of it may be said to the cloud that answers.
    pub(crate) fn takes_part(&self) -> bool {
        self.placed && self.paused.is_none() && self.elsewhere.is_none() && !self.mirroring
    }

    /// Tells whether it may be asked for rows now.
    pub(crate) fn can_pull(&self, now: Now) -> bool {
        self.takes_part() && self.access.is_due(now)
    }

    /// Tells whether it has rows to send and may send them now.
    pub(crate) fn can_push(&self, now: Now) -> bool {
        self.can_pull(now) && self.push.is_due(now) && self.counts.pending > 0
    }

    /// Tells whether a pull has shown all that the server holds since a reply was lost or a Go process pushed, or since
    /// the machine began.
    pub(crate) fn is_certain(&self) -> bool {
        self.drained_generation >= self.in_doubt.max(1)
    }

    /// Returns the one trouble that stands in its way, if there is one.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.elsewhere.as_ref().or(self.access.trouble.as_ref()).or(self.push.trouble.as_ref())
    }

    /// Returns the reason of its held rows.
    pub(crate) fn held_reason(&self) -> Option<ReasonCode> {
        let counts = &self.counts;
        counts.held_reason.or(if counts.quarantined > 0 {
            Some(ReasonCode::RowRejected)
        } else if counts.dead > 0 {
            Some(ReasonCode::RowUndeliverable)
        } else {
            None
        })
    }
}
