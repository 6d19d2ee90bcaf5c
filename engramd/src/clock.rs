//! The only place that reads a clock or draws a random number; everything else is given both as values.

use engram_proto::time::RowTime;
use engramd_core::Now;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Reads both clocks.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
pub fn now() -> Now {
    let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Now { mono_ms: mono_ms(), wall_ms: i64::try_from(wall_ms).unwrap_or(i64::MAX) }
}

/// Reads the monotonic clock, in milliseconds since the process asked first, from 1.
#[must_use]
pub fn mono_ms() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Reads the system's clock in whole seconds.
#[must_use]
pub fn row_time() -> RowTime {
    let fallback = RowTime::from_unix_s(1);
    #[expect(clippy::expect_used, reason = "a second after the epoch is a time")]
    RowTime::from_unix_ms(now().wall_ms).or(fallback).expect("a time")
}

/// Returns the instant on tokio's clock at which the monotonic clock reads `mono_ms`.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "turns a deadline into what a timer wants")]
pub fn instant_of(at_ms: u64) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_millis(at_ms.saturating_sub(mono_ms()))
}

/// Draws the jitter of a delay, in 0..1.
#[must_use]
pub fn draw() -> f64 {
    rand::random_range(0.0..1.0)
}

/// Draws the random part of a new id.
#[must_use]
pub fn entropy() -> [u8; 8] {
    rand::random()
}
