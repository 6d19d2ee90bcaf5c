//! What the suites share: the simulator, and real processes in temporary directories.

pub mod go;
pub mod processes;
pub mod sim;
