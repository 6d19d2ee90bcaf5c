//! A server of the Go program, seen as one with a cursor per project and a receipt per row.
//!
//! It has one global order, numbers rows before they commit, takes a batch or none of it, and says "no" per project only
//! where it is asked for a manifest (peers.md, "Our devices on a Go server").

mod chunks;
mod page;
mod pull;
mod push;
mod record;
mod witness;

use crate::store::{Store, StoreError, StoreHandle};
use crate::transport::Transport;
use engram_proto::reason::ReasonCode;
use engramd_core::classify::{Failure, Fault};

/// Rows of one request, in and out.
const BATCH_ROWS_MAX: usize = 100;

/// One conversation with it.
pub(super) struct GoServer<'a> {
    pub(super) transport: &'a Transport,
    pub(super) store: &'a StoreHandle,
}

impl GoServer<'_> {
    /// Returns the name by which cursors of this server are kept: it tells none itself (CUR-3).
    pub(super) fn identity(&self) -> String {
        format!("go:{}", self.transport.host())
    }

    async fn on_store<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, Failure> {
        self.store.call(f).await.map_err(StoreError::from).flatten().map_err(|error| Failure::Transport {
            code: error.reason().unwrap_or(ReasonCode::InternalError),
            message: format!("the store: {error}"),
            fault: Fault::Answered,
            wait_ms: None,
        })
    }
}
