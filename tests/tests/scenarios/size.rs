//! How much of a situation is played.

/// Returns what a situation has, where all of it is to be played (`ENGRAM_SCENARIO_FULL=1`), which takes minutes without
/// optimisation; everywhere else what has to do.
pub(crate) fn part(full: usize, ci: usize) -> usize {
    if std::env::var_os("ENGRAM_SCENARIO_FULL").is_some() { full } else { ci }
}
