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
use engramd_core::classify::Failure;

/// Rows of one request, in and out.
const BATCH_ROWS_MAX: usize = 100;

/// One conversation with it.
pub(super) struct GoServer<'a> {
    pub(super) transport: &'a Transport,
    pub(super) store: &'a StoreHandle,
}

impl GoServer<'_> {
    /// Returns the name by which cursors of this server are kept: it tells none itself (CUR-3). One that lost what it had
    /// told is another server from then on, and has another name.
    pub(super) async fn identity(&self) -> Result<String, Failure> {
        let host = self.transport.host();
        self.on_store(move |store| Ok(name(&host, generation(store, &host)?))).await
    }

    /// Gives this server another name, unless that was done since it had this one.
    async fn is_replaced(&self, identity: String) -> Result<(), Failure> {
        let host = self.transport.host();
        self.on_store(move |store| {
            let generation = generation(store, &host)?;
            if name(&host, generation) == identity {
                store.set_meta(&generation_key(&host), Some(&(generation + 1).to_string()))?;
            }
            Ok(())
        })
        .await
    }

    async fn on_store<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, Failure> {
        super::on_store(self.store, f).await
    }
}

fn generation_key(host: &str) -> String {
    format!("go_generation:{host}")
}

/// Returns how often the server at this address lost what it had told.
fn generation(store: &Store, host: &str) -> Result<u64, StoreError> {
    Ok(store.meta(&generation_key(host))?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn name(host: &str, generation: u64) -> String {
    if generation == 0 { format!("go:{host}") } else { format!("go:{host}#{generation}") }
}
