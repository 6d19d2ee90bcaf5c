//! The write rules: what a save, prompt, update, delete, relation or session makes of the store, and how it is read.
//!
//! Each write is one transaction with the row, its search index and its journal entry (DUR-1). Times and randomness are
//! arguments; text rules are in [`text`], the keys a version gets in "Writing on a device" of merging.md.

mod delete;
mod error;
mod prompt;
mod read;
mod relate;
mod save;
mod search;
mod session;
pub mod text;
mod update;
mod write;

pub use delete::delete;
pub use error::MemoryError;
pub use prompt::prompt;
pub use read::{LIMIT_DEFAULT, get, list, session_list};
pub use relate::relate;
pub use save::save;
pub use search::search;
pub use session::{session_end, session_start};
pub use update::update;
pub use write::Now;
