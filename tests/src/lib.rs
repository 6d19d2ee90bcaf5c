//! What the suites share: the simulator and, later, harnesses of real processes.

pub mod sim;
