//! A write transaction, whose beginning and end are prepared once: rusqlite's own parses both every time.

use rusqlite::Connection;
use std::ops::Deref;

/// A transaction that has the write lock from its start; one that is dropped without [`commit`](Self::commit) left nothing.
#[derive(Debug)]
pub struct Transaction<'c> {
    conn: &'c Connection,
}

impl<'c> Transaction<'c> {
    /// Begins one.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn begin(conn: &'c Connection) -> rusqlite::Result<Self> {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self { conn })
    }

    /// Commits it; where that fails it is rolled back.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        self.conn.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Some errors end it without us, and a commit did.
        if self.conn.is_autocommit() {
            return;
        }
        if let Err(error) = self.conn.execute_batch("ROLLBACK") {
            tracing::error!(%error, "a transaction was not rolled back");
        }
    }
}
