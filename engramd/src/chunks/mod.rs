//! Git-friendly export and import (chunks.md): what the rows of a chunk say, and which rows go into one.
//!
//! Here no file is opened: the client reads and writes them, and sends and gets rows.

mod export;
mod form;
mod import;
mod read;

pub use export::{export, finds_nothing, is_known, projects_of};
pub use import::{hash, held, leave_unwanted, read_rows, take};
