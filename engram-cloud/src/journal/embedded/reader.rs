//! Connections that only read, lent out one question at a time.

use super::open::{OpenError, open_reader};
use super::writer::patiently;
use crate::journal::JournalError;
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Questions answered at one time; who waits in a long poll holds none.
const READERS: usize = 4;

pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    free: Arc<Semaphore>,
    turn: AtomicUsize,
}

impl Readers {
    pub(super) fn open(path: PathBuf) -> Result<Self, OpenError> {
        let first = open_reader(&path)?;
        let (idle, free) = (Arc::new(Mutex::new(vec![first])), Arc::new(Semaphore::new(READERS)));
        Ok(Self { path, idle, free, turn: AtomicUsize::new(0) })
    }

    /// Returns a number that grows with every call: whose turn it is where not everybody fits.
    pub(super) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Answers one question, off the runtime's threads and within one snapshot.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        question: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let free = Arc::clone(&self.free).acquire_owned().await.map_err(|_| JournalError::Closed)?;
        let (idle, path) = (Arc::clone(&self.idle), self.path.clone());
        let answered = tokio::task::spawn_blocking(move || {
            let lent = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = lent.map_or_else(|| open_reader(&path), Ok)?;
            let answer = patiently(|| snapshot(&connection, &question));
            if connection.is_autocommit() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(free);
            answer
        });
        answered.await.map_err(|_| JournalError::Closed)?.map_err(|error| JournalError::Store(error.to_string()))
    }
}

fn snapshot<T>(connection: &Connection, question: impl Fn(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    let answer = question(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}
