//! Delays that grow. The one place that knows the `backoff` crate.
//!
//! The crate is unmaintained and reads a clock at every call, so nothing of it goes further than this file: callers get
//! a ladder of delays as plain values, the same at every run, and wait on their own.

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;
use std::time::Duration;

/// Returns the delays from `first` to `longest`, each twice the one before; whoever climbs past the end stays there.
///
/// Without randomization and without a limit on the time elapsed (its default of 15 minutes would break REC-1), and
/// rounded to milliseconds, because the crate is off by a nanosecond now and then.
#[must_use]
pub fn ladder(first: Duration, longest: Duration) -> Vec<Duration> {
    let mut delays = Vec::new();
    let mut backoff = ExponentialBackoffBuilder::new()
        .with_initial_interval(first)
        .with_max_interval(longest)
        .with_multiplier(2.0)
        .with_randomization_factor(0.0)
        .with_max_elapsed_time(None)
        .build();
    while let Some(delay) = backoff.next_backoff() {
        let delay = Duration::from_millis(u64::try_from((delay.as_nanos() + 500_000) / 1_000_000).unwrap_or(u64::MAX));
        delays.push(delay);
        if delay >= longest {
            break;
        }
    }
    delays
}

/// Calls `attempt` until it succeeds, fails for another reason than `again` names, or the ladder ends, sleeping between
/// the calls on this thread.
///
/// # Errors
/// The last error of `attempt`.
pub fn blocking<T, E>(
    ladder: &[Duration],
    again: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut delays = ladder.iter();
    loop {
        match attempt() {
            Err(error) if again(&error) => match delays.next() {
                Some(delay) => std::thread::sleep(*delay),
                None => return Err(error),
            },
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// REC-1: one second, doubling to five minutes, the same at every run.
    #[test]
    fn rec_1_the_ladder_doubles_to_its_end() {
        let rungs = ladder(Duration::from_secs(1), Duration::from_secs(300));
        let seconds: Vec<u64> = rungs.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert!(rungs.iter().all(|rung| rung.subsec_nanos() == 0));
        assert_eq!(ladder(Duration::from_millis(10), Duration::from_millis(10)).len(), 1);
    }

    #[test]
    fn a_ladder_ends_and_another_error_ends_it_at_once() {
        let rungs = [Duration::ZERO; 3];
        let mut calls = 0;
        let gave_up: Result<(), u8> = blocking(
            &rungs,
            |&error| error == 1,
            || {
                calls += 1;
                Err(1)
            },
        );
        assert_eq!((gave_up, calls), (Err(1), 4));
        let refused: Result<(), u8> = blocking(&rungs, |&error| error == 1, || Err(2));
        assert_eq!(refused, Err(2));
    }
}
