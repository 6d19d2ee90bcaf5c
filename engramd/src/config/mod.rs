//! What the daemon is told: command line, environment, `engramd.toml`, `cloud.json`.

pub mod cloud;
pub mod paths;
pub mod report;
pub mod settings;
