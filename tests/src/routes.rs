//! The real routes of the server over a model of its journal, without a socket.

use crate::model::ModelJournal;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use engram_cloud::app::{App, Parts, limits};
use engram_cloud::auth::{Gate, Grant};
use engram_cloud::clock::Clock;
use engram_cloud::config::Timeouts;
use engram_cloud::router::router;
use std::sync::Arc;
use tokio::sync::watch;
use tower::Service as _;

/// Bytes of a push.
const PUSH_BYTES: u64 = 8 << 20;

/// The routes, open to everybody.
#[derive(Clone)]
pub struct Routes {
    router: Router,
    _draining: Arc<watch::Sender<bool>>,
}

impl Routes {
    /// Builds them over a journal.
    #[must_use]
    pub fn over(journal: ModelJournal, clock: Clock) -> Self {
        let (draining, drained) = watch::channel(false);
        let app = App::new(Parts {
            journal,
            gate: Gate::open(Grant::Every),
            clock,
            limits: limits(PUSH_BYTES),
            timeouts: Timeouts::default(),
            draining: drained,
        });
        Self { router: router(app), _draining: Arc::new(draining) }
    }

    /// Asks, and returns status and body.
    ///
    /// # Panics
    /// Where an answer's body breaks off.
    pub async fn ask(&self, request: Request<Body>) -> (u16, Bytes) {
        // A router is always ready, and fails never.
        let answer = self.router.clone().call(request).await.unwrap_or_else(|never| match never {});
        let status = answer.status().as_u16();
        (status, to_bytes(answer.into_body(), usize::MAX).await.expect("a body"))
    }
}
