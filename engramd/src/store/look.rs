//! Whether the store works again after something was wrong with it.

use super::error::StoreError;
use super::{Store, meta};
use rusqlite::Connection;

/// What is written to see whether there is room; it is gone again at once.
const TRIED: &str = "tried";
/// Bytes of it: more than the log may have left in its file, and than most memories.
const TRIED_BYTES: usize = 256 * 1024;

impl Store {
    /// Writes something, and takes it away again.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn try_write(&mut self) -> Result<(), StoreError> {
        self.write(|tx| meta::set(tx, TRIED, Some(&"x".repeat(TRIED_BYTES))))?;
        self.write(|tx| meta::set(tx, TRIED, None))
    }
}

/// Reads all of the store, indexes and all; for a store that is known to be damaged, for it takes as long as the store is
/// large.
///
/// # Errors
/// [`StoreError::Corrupt`] with the first damage that is found, and what SQLite says.
pub fn check_whole(conn: &Connection) -> Result<(), StoreError> {
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt(found.replace('\n', " "))) }
}
