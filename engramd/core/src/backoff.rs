//! Delays between attempts (REC-1): a ladder that never ends and a draw for the jitter, both given as values.

use crate::event::Now;
use engram_proto::reason::ReasonCode;

/// Returns the delay before the attempt after `failures` failures in a row, with ±25 % jitter.
///
/// `draw` is in 0..1; the last rung holds for ever.
///
/// # Panics
/// Where the ladder is empty or the draw out of range: the driver's mistake.
#[must_use]
pub fn delay_ms(ladder_ms: &[u64], failures: u32, draw: f64) -> u64 {
    assert!((0.0..1.0).contains(&draw), "a draw of {draw} is not in 0..1");
    let rung = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX).min(ladder_ms.len() - 1);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "minutes in milliseconds are far below 2^53, and positive"
    )]
    let jittered = (ladder_ms[rung] as f64 * (0.75 + 0.5 * draw)) as u64;
    jittered
}

/// Returns a random time up to a rung of the ladder, `draw` in 0..1 of it; beyond the last rung that one holds.
///
/// For what several devices may do, where the first that does it spares the others.
///
/// # Panics
/// Where the ladder is empty or the draw out of range: the driver's mistake.
#[must_use]
pub fn random_ms(ladder_ms: &[u64], rung: usize, draw: f64) -> u64 {
    assert!((0.0..1.0).contains(&draw), "a draw of {draw} is not in 0..1");
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "minutes in milliseconds are far below 2^53, and positive"
    )]
    let part = (ladder_ms[rung.min(ladder_ms.len() - 1)] as f64 * draw) as u64;
    part
}

/// Why something does not go on, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The root reason.
    pub code: ReasonCode,
    /// In words: names host, project or entity.
    pub message: String,
    /// When it began.
    pub since: Now,
}

impl Trouble {
    /// Returns the trouble as it is now: the same reason keeps the time at which it began.
    #[must_use]
    pub fn renewed(before: Option<&Self>, code: ReasonCode, message: String, now: Now) -> Self {
        let since = before.filter(|before| before.code == code).map_or(now, |before| before.since);
        Self { code, message, since }
    }
}

/// How one thing that is tried again stands: free to go, or waiting with its trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Failures in a row.
    pub failures: u32,
    /// Why it waits, if it does.
    pub trouble: Option<Trouble>,
    /// When it may go again, on the monotonic clock in milliseconds.
    pub until_ms: u64,
    /// Whether it failed since it was last woken: whoever woke it has the answer.
    pub fresh: bool,
}

impl Retry {
    /// Records a failure and waits `wait_ms`.
    pub fn fail(&mut self, code: ReasonCode, message: String, wait_ms: u64, now: Now) {
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(Trouble::renewed(self.trouble.as_ref(), code, message, now));
        self.until_ms = now.mono_ms.saturating_add(wait_ms);
        self.fresh = true;
    }

    /// Records a success.
    pub fn succeed(&mut self) {
        *self = Self::default();
    }

    /// Ends the waiting, not the trouble: only a success proves that it is over (REC-1).
    pub fn wake(&mut self) {
        self.until_ms = 0;
        self.fresh = false;
    }

    /// Returns the trouble, if it came after the last waking.
    #[must_use]
    pub fn fresh_trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref().filter(|_| self.fresh)
    }

    /// Tells whether it may go now.
    #[must_use]
    pub fn is_due(&self, now: Now) -> bool {
        now.mono_ms >= self.until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// REC-1: bounded from both sides at any number of failures, and never at an end.
        #[test]
        fn rec_1_delays_are_bounded_and_endless(failures in 1_u32.., draw in 0.0..1.0_f64) {
            let ladder = [1_000, 2_000, 4_000, 300_000];
            let delay = delay_ms(&ladder, failures, draw);
            prop_assert!((750..=375_000).contains(&delay));
            if failures >= 4 {
                prop_assert!(delay >= 225_000);
            }
        }
    }
}
