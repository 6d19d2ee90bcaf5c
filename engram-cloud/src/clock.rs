//! The one place that reads the system clock.
//!
//! Everything else is handed a [`Clock`], so that a test can say what time it is.

use engram_proto::time::rfc3339_from_ms;
use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Microseconds in a second.
pub const US_PER_S: i64 = 1_000_000;

/// Tells the time in microseconds since the Unix epoch.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// Makes the clock of the machine.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            #[expect(clippy::disallowed_methods, reason = "the one reading of the clock")]
            let now = std::time::SystemTime::now();
            now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
        })
    }

    /// Makes a clock that shows what a function says.
    #[must_use]
    pub fn new(now_us: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_us))
    }

    /// Returns microseconds since the Unix epoch.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", rfc3339_us(self.now_us()))
    }
}

/// Writes microseconds since the epoch as RFC 3339 in UTC, to the microsecond.
#[must_use]
pub fn rfc3339_us(us: i64) -> String {
    let whole = rfc3339_from_ms(us.div_euclid(US_PER_S).saturating_mul(1_000));
    format!("{}.{:06}Z", whole.trim_end_matches('Z'), us.rem_euclid(US_PER_S))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_microsecond() {
        assert_eq!(rfc3339_us(1_795_442_569_000_042), "2026-11-23T14:02:49.000042Z");
        assert_eq!(rfc3339_us(7), "1970-01-01T00:00:00.000007Z");
    }
}
