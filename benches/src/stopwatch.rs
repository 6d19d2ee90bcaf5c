//! The one place of the benches that reads the clock and the machine.

use std::time::{Duration, Instant};

/// Measures from when it was made.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    pub(crate) fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
        let now = Instant::now();
        Self(now)
    }

    /// Returns how long ago that was.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Returns the value below which a share of all lie; the values are sorted for it.
pub(crate) fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
    let rank = (values.len() as f64 * share) as usize;
    values.get(rank.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Returns how many things came in a second.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
pub(crate) fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Returns today's date, UTC.
pub(crate) fn today() -> String {
    let now_us = engram_cloud::clock::Clock::system().now_us();
    engram_cloud::clock::rfc3339_us(now_us).chars().take(10).collect()
}

/// Describes the machine in a line.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown");
    format!("{cores} cores, {model}")
}
