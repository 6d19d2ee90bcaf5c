//! `engram.db`: the tables shared with the Go program, what is ours beside them, and every statement on either.
//!
//! A [`Store`] is one writing connection and works synchronously; simulator and tests use it as it is, the daemon
//! through a [`StoreHandle`], which keeps it on a thread of its own. Time is always an argument.

mod apply;
mod backfill;
mod backup;
mod belonging;
pub mod chunks;
mod conflict;
mod conflict_list;
mod counts;
mod cursor;
mod desired;
mod digest;
mod dump;
mod enroll;
mod error;
mod foreign;
pub(crate) mod fts;
mod held;
mod held_release;
pub mod journal;
mod lease;
mod look;
mod mark;
mod meta;
mod missing;
pub mod moved;
mod naming;
mod open;
mod pending;
mod recheck;
mod remirror;
mod reread;
mod restamp;
mod room;
mod rows;
mod schema;
mod served;
pub mod sessions;
mod settle;
mod snapshot;
mod state;
mod thread;
mod transaction;
mod turn;
pub mod versions;
mod witness;

pub use apply::AppliedSlice;
pub use conflict_list::{Lost, conflict, conflicts};
pub use desired::PauseNote;
pub use dump::Ack2;
pub use error::StoreError;
pub use look::check_whole;
pub use open::open_reader;
pub use rows::observation::{normalized_hash, review_modifier};
use rusqlite::Connection;
pub use served::AcceptedRow;
pub use snapshot::Snapshot;
use std::path::{Path, PathBuf};
pub use thread::{Job, StoreGone, StoreHandle, StoreQueue};
pub use transaction::Transaction;

/// The writing connection to `engram.db`.
#[derive(Debug)]
pub struct Store {
    conn: Connection,
    device_id: String,
    data_version: i64,
    counts: counts::Cache,
    turns: turn::Turns,
    backup: Option<PathBuf>,
}

impl Store {
    /// Returns the uuid that names this store to clouds.
    #[must_use]
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// Returns where a store of an older age was copied to before it was brought forward, if that was at this opening.
    #[must_use]
    pub fn backup(&self) -> Option<&Path> {
        self.backup.as_deref()
    }

    /// Runs a closure in one transaction that has the write lock from its start, and commits what returns `Ok`.
    ///
    /// # Errors
    /// Those of the closure, after everything was rolled back, and what SQLite says.
    pub fn write<R>(&mut self, f: impl FnOnce(&Transaction<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.turns.run(&self.conn, f)
    }

    /// Runs what somebody waits for: its transactions, which are short, do not leave the lock to others first (OWN-3).
    pub fn at_once<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.turns.set_at_once(true);
        let result = f(self);
        self.turns.set_at_once(before);
        result
    }

    /// Runs a closure that only reads.
    ///
    /// # Errors
    /// Those of the closure.
    pub fn read<R>(&self, f: impl FnOnce(&Connection) -> Result<R, StoreError>) -> Result<R, StoreError> {
        f(&self.conn)
    }

    /// Tells whether another process, or another connection, committed since this was asked last. What was counted is
    /// counted anew then, for that process may have acknowledged rows.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn data_changed_elsewhere(&mut self) -> Result<bool, StoreError> {
        let version = open::data_version(&self.conn)?;
        let changed = std::mem::replace(&mut self.data_version, version) != version;
        if changed {
            self.recount();
        }
        Ok(changed)
    }

    /// Returns how many transactions this value committed.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.turns.commits()
    }

    /// Returns how many rows the largest one changed since this was asked last, those of the search index included.
    pub fn take_changes_max(&mut self) -> u64 {
        self.turns.take_changes_max()
    }

    /// Gives the store a clock that only goes forward, in milliseconds, by which it ends long transactions and leaves the
    /// lock to others between them (OWN-3).
    ///
    /// Without one a transaction ends by its number of rows alone, which is what a simulation wants.
    pub fn set_stopwatch(&mut self, stopwatch: fn() -> u64) {
        self.turns.set_clock(stopwatch);
    }

    /// Moves what the write-ahead log holds into the file.
    ///
    /// # Errors
    /// What SQLite says; that others still read is none.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        Ok(self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }
}
