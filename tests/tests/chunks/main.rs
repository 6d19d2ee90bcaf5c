//! Chunk files between real programs: exchanged with the Go program's, merged by git, hostile, and cut short.

#[cfg(target_os = "linux")]
mod between;
#[cfg(target_os = "linux")]
mod cost;
#[cfg(target_os = "linux")]
mod crash;
mod data_dir;
mod deleted;
mod driver;
mod exchange;
mod harness;
mod histories;
mod hostile;
mod init;
mod manifest;
mod memory;
mod named;
mod progress;
#[cfg(target_os = "linux")]
mod refused;
#[cfg(target_os = "linux")]
mod rewritten;
mod statements;
#[cfg(target_os = "linux")]
mod swapped;
mod transports;
mod watch;
