//! What every request handler shares.

use crate::auth::Gate;
use crate::clock::Clock;
use crate::config::Timeouts;
use engram_proto::http::health::Limits;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Entries of one push.
pub const PUSH_ENTRIES_MAX: u32 = 1_000;

/// Rows of one `POST` pull.
pub const PULL_ENTRIES_MAX: u32 = 1_000;

/// The shared state; cloned per request, which costs reference counts.
pub struct App<J>(Arc<Parts<J>>);

/// The parts of [`App`].
pub struct Parts<J> {
    /// The store.
    pub journal: J,
    /// The door.
    pub gate: Gate,
    /// The time.
    pub clock: Clock,
    /// What one request may hold.
    pub limits: Limits,
    /// How long the other side may take.
    pub timeouts: Timeouts,
    /// Turns true when the server shuts down: waiting pulls are answered then.
    pub draining: watch::Receiver<bool>,
}

impl<J> App<J> {
    /// Shares the parts.
    #[must_use]
    pub fn new(parts: Parts<J>) -> Self {
        Self(Arc::new(parts))
    }
}

impl<J> Clone for App<J> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<J> std::ops::Deref for App<J> {
    type Target = Parts<J>;

    fn deref(&self) -> &Parts<J> {
        &self.0
    }
}

/// The address a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Makes the limits this server announces.
#[must_use]
pub fn limits(push_bytes: u64) -> Limits {
    Limits { push_bytes, push_entries: PUSH_ENTRIES_MAX, pull_entries: PULL_ENTRIES_MAX }
}
