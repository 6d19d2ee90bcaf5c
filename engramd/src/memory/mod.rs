//! The write rules: what a save, prompt, update, delete, relation or session makes of the store, and how it is read.
//!
//! Each write is one transaction with the row, its search index and its journal entry (DUR-1). Times and randomness are
//! arguments; text rules are in [`text`], the keys a version gets in "Writing on a device" of merging.md.

mod delete;
mod edit;
mod error;
mod prompt;
mod read;
mod relate;
mod restore;
mod save;
mod search;
mod session;
mod snippet;
pub mod text;
mod update;
mod write;

pub use delete::delete;
pub use error::MemoryError;
pub use prompt::prompt;
pub use read::{LIMIT_DEFAULT, get, list, session_list};
pub use relate::relate;
pub use restore::{missing as missing_conflict, restore};
pub use save::save;
pub use search::search;
pub use session::{session_end, session_start};
pub use update::update;
pub use write::Now;

/// Explains how SQLite would answer a query.
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
fn plan(store: &crate::store::Store, sql: &str) -> String {
    let explain = |conn: &rusqlite::Connection| -> Result<Vec<String>, crate::store::StoreError> {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
        // What is not bound is null, which changes no plan here.
        let rows = statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>()?;
        Ok(rows)
    };
    store.read(explain).unwrap().join("\n")
}
