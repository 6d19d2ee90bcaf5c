//! The local daemon: owns `engram.db`, answers the socket, syncs enrolled projects.
//!
//! Arrows point one way: `daemon` wires; `ipc` and the driver use the store; store and transport know neither each other
//! nor the driver; status flows back through one `watch` channel.

pub mod chunks;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod driver;
pub mod ipc;
pub mod lock;
pub mod memory;
pub mod peers;
pub mod secret;
mod service;
pub mod store;
pub mod transport;
