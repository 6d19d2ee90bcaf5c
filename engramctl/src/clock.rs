//! The one place that reads a clock. Everything that is shown relative to now gets this value as an argument.

use crate::render::when::Moment;
use std::time::{SystemTime, UNIX_EPOCH};
use time::{OffsetDateTime, UtcOffset};

/// Returns now, and how far the local time zone is from UTC.
pub(crate) fn now() -> Moment {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    let unix_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok())
        .unwrap_or_default();
    let offset_s = OffsetDateTime::from_unix_timestamp(unix_s)
        .ok()
        .and_then(|at| UtcOffset::local_offset_at(at).ok())
        .map(UtcOffset::whole_seconds);
    Moment { unix_s, offset_s }
}

/// Returns now in Unix nanoseconds, to be compared with the times of files.
pub(crate) fn unix_ns() -> i128 {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).ok().and_then(|elapsed| i128::try_from(elapsed.as_nanos()).ok()).unwrap_or_default()
}
