//! Numbers of rows (peers.md, "Numbers").
//!
//! A number follows the clock, so that a server restored from a backup counts on above all that was ever handed out,
//! and is a multiple of eight, so that other rows can be put between two.

/// The distance of two neighbours.
pub const NUMBER_STEP: i64 = 8;

/// Numbers per microsecond.
const NUMBERS_PER_US: i64 = 4;

/// Returns the number of the next row: a multiple of eight, above the last and not below the clock.
#[must_use]
pub fn number_after(last: i64, now_us: i64) -> i64 {
    let after_last = (last.div_euclid(NUMBER_STEP) + 1).saturating_mul(NUMBER_STEP);
    let by_clock = now_us.max(0).saturating_mul(NUMBERS_PER_US);
    let by_clock = by_clock.saturating_add(NUMBER_STEP - 1).div_euclid(NUMBER_STEP).saturating_mul(NUMBER_STEP);
    after_last.max(by_clock)
}

/// Returns the last number that only a row can have which was taken by then.
#[must_use]
pub fn last_number_by(at_us: i64) -> i64 {
    at_us.max(0).saturating_mul(NUMBERS_PER_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_clock_and_never_go_back() {
        let now_us = 1_795_470_000_000_001;
        let first = number_after(0, now_us);
        assert!(first >= now_us * 4 && first - now_us * 4 < 8 && first % 8 == 0 && first < 1 << 53);
        assert_eq!(number_after(first, now_us), first + 8);
        assert_eq!(number_after(first, 0), first + 8, "a clock that was set back");
        assert_eq!(number_after(13, 0), 16, "a row that a peer numbered");
        assert_eq!(number_after(0, 0), 8);
        for at_us in now_us - 9..now_us {
            assert!(last_number_by(at_us) < first, "taken later");
        }
        assert!(last_number_by(now_us + 2) >= first);
    }
}
