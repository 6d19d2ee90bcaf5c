//! What fleets with Go programs need (peers.md), at the edge: core, merge and journal do not know of it.

pub mod disguise;
mod go_server;
pub mod remote;

pub use remote::Remote;

use crate::store::{Store, StoreError, StoreHandle};
use engram_proto::reason::ReasonCode;
use engramd_core::classify::{Failure, Fault};

/// Runs a closure on the store; that it fails stops the conversation, like a server that does not answer.
async fn on_store<R: Send + 'static>(
    store: &StoreHandle,
    f: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
) -> Result<R, Failure> {
    store.call(f).await.map_err(StoreError::from).flatten().map_err(|error| Failure::Transport {
        code: error.reason().unwrap_or(ReasonCode::InternalError),
        message: format!("the store: {error}"),
        fault: Fault::Answered,
        wait_ms: None,
    })
}
