//! The sync loop as a pure machine: events and `now` in, effects out.
//!
//! No clock, no randomness, no SQL, no HTTP and no async live here; Cargo proves it by what this crate depends on. The
//! driver in `engramd` feeds events and performs effects, the simulator does the same with virtual time and faults.
//!
//! Two lanes run side by side, so that the pull never waits for the push (ISO-2): each has at most one effect in flight.

mod agree;
pub mod backoff;
pub mod classify;
pub mod event;
pub mod health;
mod lease;
pub mod machine;
mod project;
mod pull_lane;
pub mod pull_page;
mod push_lane;
pub mod push_plan;
pub mod push_settle;
mod read_repair;
mod replaced;
pub mod rows;
mod server;
mod store_health;
mod ticket;

pub use event::{Cloud, Effect, Event, Now, Projects, StoreTrouble, TicketId};
pub use machine::{Machine, Settings};
