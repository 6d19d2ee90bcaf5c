//! What the suites share: the model cloud, the simulator, and real processes in temporary directories.

pub mod clocks;
pub mod disk;
pub mod fuzz;
pub mod gateway;
pub mod go;
pub mod model;
pub mod postgres;
pub mod processes;
pub mod routes;
pub mod sim;
pub mod sound;
