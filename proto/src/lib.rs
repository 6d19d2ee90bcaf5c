//! Every word spoken on the socket or over HTTP, and the merge of two versions.
//!
//! Daemon, client, server and simulator share this crate; it does no I/O and reads no clock. Behaviour lives here only
//! where all of them must agree to the byte: names in normal form, times in one text form, the join of two versions.

pub mod canonical;
pub mod chunk;
pub mod health;
pub mod http;
pub mod id;
pub mod ipc;
pub mod merge;
pub mod mutation;
pub mod reason;
pub mod reason_catalog;
pub mod stand_in;
pub mod time;
pub mod words;

/// The version all programs of this workspace report (`version`, `/health`, the socket's Hello).
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
