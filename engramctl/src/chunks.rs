//! The files of git-friendly chunk sync: found, read and written here, with the caller's permissions, and never outside
//! of their directory. What their rows mean is the daemon's business (chunks.md).

mod bounded;
pub(crate) mod build;
pub(crate) mod changes;
pub(crate) mod content;
mod data_dir;
pub mod entries;
mod files;
mod form;
pub(crate) mod git;
pub(crate) mod ids;
pub mod listing;
pub(crate) mod loads;
mod named;
pub(crate) mod place;
pub mod read;
pub(crate) mod reading;
mod scan;
pub(crate) mod unusable;
