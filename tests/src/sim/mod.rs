//! The simulator: the real machine and the real store, a model of the cloud, one seed, virtual time.
//!
//! The tape of a run is decided by its seed alone. Faults happen while the world is young; then they stop, and all
//! devices must agree within a budget of steps (liveness).

pub mod cloud;
pub mod device;
pub mod laws;
pub mod world;

pub use world::World;
