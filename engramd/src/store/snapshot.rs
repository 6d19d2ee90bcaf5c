//! A connection that sees one state of the store: for reading more than fits into one closure.

use super::error::StoreError;
use super::open;
use rusqlite::Connection;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// One connection at rest, which the next snapshot takes: opening one reads the whole schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Idle(Arc<Mutex<Option<Connection>>>);

impl Idle {
    /// Returns a snapshot of the store in this file, from now until it is dropped.
    pub(super) fn snapshot(&self, path: &Path) -> Result<Snapshot, StoreError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let conn = kept.map_or_else(|| open::open_snapshots(path), Ok)?;
        conn.execute_batch("BEGIN")?;
        Ok(Snapshot { conn: Some(conn), home: self.clone() })
    }
}

/// One state of the store.
#[derive(Debug)]
pub struct Snapshot {
    conn: Option<Connection>,
    home: Idle,
}

impl Deref for Snapshot {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn.as_ref().unwrap_or_else(|| unreachable!("only the drop takes it"))
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        // At rest it holds neither a state nor pages; one that does not let go is closed.
        if conn.execute_batch("ROLLBACK; PRAGMA shrink_memory").is_ok() {
            *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(conn);
        }
    }
}
