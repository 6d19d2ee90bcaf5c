//! The connection to the daemon: find it, greet it, ask it. No call here waits without an end.

mod client;
mod error;
mod wire;

pub(crate) use client::Client;
pub(crate) use error::ConnectError;
pub(crate) use wire::{Wire, greet};

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
