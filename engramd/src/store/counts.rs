//! How many rows are pending and held, by project.

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Cache {}
