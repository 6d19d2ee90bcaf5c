//! The program as people and scripts run it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod commands;
mod fake;
mod process;
