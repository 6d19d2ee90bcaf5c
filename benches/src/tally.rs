//! What pushers were told and readers saw, and how both go about it.

use std::time::Duration;

/// Rows of one push.
pub(crate) const BATCH_ROWS: u64 = 100;
/// A reader that hears nothing for so long has lost what is missing.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// Rows as one side saw them: the same count and sum of numbers on both sides means the same rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
}

impl Tally {
    /// Takes one number in.
    pub(crate) fn add(&mut self, seq: u64) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(seq);
    }

    /// Adds another side's.
    pub(crate) fn join(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}
