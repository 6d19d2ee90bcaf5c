//! What fleets with Go programs need (peers.md), at the edge: core, merge and journal do not know of it.

pub mod disguise;
mod go_server;
pub mod remote;

pub use remote::Remote;
