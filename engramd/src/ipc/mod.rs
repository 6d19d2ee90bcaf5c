//! The socket: who may come in, how many, and how long they may say nothing (DOOR-1).

mod connection;
mod listen;
mod requests;
mod respond;

use crate::config::cloud::Environment;
use crate::driver::handle::DriverHandle;
use crate::store::StoreHandle;
pub use listen::{ListenError, bind, from_fd};
use std::path::PathBuf;

/// What the handlers of requests work with. None of them holds a transaction across an await.
#[derive(Clone)]
pub struct Context {
    /// The store.
    pub store: StoreHandle,
    /// The loop.
    pub driver: DriverHandle,
    /// Where `cloud.json` is.
    pub data_dir: PathBuf,
    /// What the environment said at the start.
    pub environment: Environment,
    /// The device's uuid.
    pub device_id: String,
}

pub use listen::serve;
