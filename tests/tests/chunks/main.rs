//! Chunk files between real programs: exchanged with the Go program's, merged by git, hostile, and cut short.

#[cfg(target_os = "linux")]
mod cost;
mod crash;
mod data_dir;
mod exchange;
mod harness;
mod histories;
mod hostile;
mod init;
mod manifest;
mod statements;
mod transports;
mod watch;
