//! How much work one transaction does: fewer rows while other processes write, and the slower rows are, the fewer (OWN-3).

use super::turn::has_guest;
use rusqlite::Connection;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows of one transaction at most.
const ROWS_MAX: u64 = 1_000;

/// Others are beside us as long as one of them was seen within this time.
pub(super) const LATELY_MS: u64 = 10_000;

/// While nobody else was seen a transaction takes rows for so long, and at least so many however slow they are: one commit
/// per hundred rows (performance.md, T7). Index and commit come on top.
const ALONE_MS: u64 = 40;
const ALONE_ROWS_MIN: u64 = 100;

/// While others write a transaction is to take so long, in microseconds, index and commit included; rows for most of it, and
/// for so long where the commit takes all of it.
const BESIDE_US: u64 = 8_000;
const BESIDE_MS: u64 = 5;
const BESIDE_ROWS_US_MIN: u64 = 2_000;

/// What the parts of one transaction share with the turns.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When the transaction began.
    began_ms: AtomicU64,
    /// How many rows it took.
    taken: AtomicU64,
    /// How long one took in transactions before, in microseconds, its part of the index included; 0 before any.
    row_us: AtomicU64,
    /// How long a commit took before, in microseconds: as long for one row as for many.
    commit_us: AtomicU64,
    /// When another process was last seen, by what it wrote or by a transaction that it had open; 0 before.
    others_ms: AtomicU64,
}

impl Seen {
    /// Tells whether another process was seen a while ago or since.
    pub(super) fn are_others_beside(&self, now_ms: u64) -> bool {
        let others_ms = self.others_ms.load(Ordering::Relaxed);
        others_ms > 0 && now_ms.saturating_sub(others_ms) < LATELY_MS
    }

    /// Hears that another process is there.
    pub(super) fn others(&self, now_ms: u64) {
        self.others_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Hears that a transaction got the lock.
    pub(super) fn began(&self, now_ms: u64) {
        self.began_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Returns how long ago it got it.
    pub(super) fn since_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.began_ms.load(Ordering::Relaxed))
    }

    /// Learns how long rows and commits take. What they have in common stays out of the rows' time: it would let few rows
    /// into a transaction, and few rows would have it to themselves, for ever.
    pub(super) fn learn(&self, rows_ms: u64, commit_ms: u64) {
        let taken = self.taken.swap(0, Ordering::Relaxed);
        if let Some(row_us) = (rows_ms * 1_000).checked_div(taken) {
            learn_us(&self.row_us, row_us);
            learn_us(&self.commit_us, commit_ms * 1_000);
        }
    }

    /// Tells whether a transaction that took rows for so long has taken enough.
    fn is_enough(&self, taken: u64, since_ms: u64, now_ms: u64) -> bool {
        if self.are_others_beside(now_ms) {
            let (row_us, commit_us) = (self.row_us.load(Ordering::Relaxed), self.commit_us.load(Ordering::Relaxed));
            let room_us = BESIDE_US.saturating_sub(commit_us).max(BESIDE_ROWS_US_MIN);
            taken >= 1 && (since_ms > BESIDE_MS || (taken + 1) * row_us > room_us)
        } else {
            taken >= ALONE_ROWS_MIN && since_ms > ALONE_MS
        }
    }
}

/// Takes a longer time at once, and a shorter one slowly.
fn learn_us(known_us: &AtomicU64, now_us: u64) {
    let before_us = known_us.load(Ordering::Relaxed);
    known_us.store(now_us.max((before_us * 3 + now_us) / 4), Ordering::Relaxed);
}

/// How many rows one transaction may still take.
#[derive(Debug)]
pub(super) struct Room {
    clock: Option<fn() -> u64>,
    seen: Arc<Seen>,
    taken: Cell<u64>,
}

impl Room {
    /// Makes the room of one transaction; without a clock it counts rows alone.
    pub(super) fn new(clock: Option<fn() -> u64>, seen: Arc<Seen>) -> Self {
        Self { clock, seen, taken: Cell::new(0) }
    }

    /// Takes room for one row; tells whether there was any. There is for at least one.
    pub(super) fn take(&self, conn: &Connection) -> bool {
        let taken = self.taken.get();
        if taken >= ROWS_MAX {
            return false;
        }
        if let Some(clock) = self.clock {
            let now_ms = clock();
            if has_guest(conn) {
                self.seen.others(now_ms);
            }
            if self.seen.is_enough(taken, self.seen.since_ms(now_ms), now_ms) {
                return false;
            }
        }
        self.taken.set(taken + 1);
        self.seen.taken.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in common to all rows of a transaction keeps none of them out.
    #[test]
    fn own_3_a_slow_commit_leaves_room_for_rows_and_slow_rows_leave_none() {
        let seen = Seen::default();
        seen.others(1_000);
        let learn = |taken, rows_ms, commit_ms| {
            seen.taken.store(taken, Ordering::Relaxed);
            seen.learn(rows_ms, commit_ms);
        };
        learn(1, 0, 20);
        assert!(!seen.is_enough(10, 0, 1_001));
        learn(10, 1, 20);
        assert!(!seen.is_enough(10, 1, 1_002) && seen.is_enough(20, 1, 1_002), "two milliseconds of them");
        learn(1, 9, 0);
        assert!(seen.is_enough(1, 0, 1_003));
    }
}
