//! The sync loop as a pure machine: events and `now` in, effects out.
//!
//! No clock, no randomness, no SQL, no HTTP and no async live here; Cargo proves it by what this crate depends on. The
//! driver in `engramd` feeds events and performs effects, the simulator does the same with virtual time and faults.

pub mod rows;
