//! The store on a thread of its own: closures in, results out, the queue bounded.

use super::error::StoreError;
use super::snapshot::{Idle, Snapshot};
use super::{Store, open};
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// How many closures may wait; who comes later waits before the queue.
const QUEUE_MAX: usize = 64;

/// The store's thread has ended, or the closure panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed")]
pub struct StoreGone;

impl From<StoreGone> for StoreError {
    fn from(_: StoreGone) -> Self {
        Self::Gone
    }
}

/// A closure on its way to a store.
pub type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// The closures that wait, where there is no thread: whoever has the store takes and runs them.
#[derive(Debug)]
pub struct StoreQueue(mpsc::Receiver<Job<Store>>);

impl StoreQueue {
    /// Returns the next closure, if one waits.
    pub fn take(&mut self) -> Option<Job<Store>> {
        self.0.try_recv().ok()
    }
}

/// Reaches the store from async code; when the last one is dropped, the store closes.
#[derive(Clone)]
pub struct StoreHandle {
    writer: mpsc::Sender<Job<Store>>,
    reader: Option<mpsc::Sender<Job<Connection>>>,
    path: Option<PathBuf>,
    idle: Idle,
}

impl StoreHandle {
    /// Starts the store's thread and, where its file is named, one that reads beside it.
    ///
    /// The thread that is returned ends after the last handle is gone, what was queued is done and the log is in the
    /// file.
    ///
    /// # Errors
    /// Whatever kept the reader from opening, or a thread from starting.
    pub fn spawn(store: Store, reader: Option<&Path>) -> Result<(Self, JoinHandle<()>), StoreError> {
        let path = reader.map(Path::to_owned);
        let reader = reader.map(open::open_reader).transpose()?;
        let (writer_tx, writer_rx) = mpsc::channel(QUEUE_MAX);
        let (reader_tx, reader_thread) = match reader {
            Some(conn) => {
                let (tx, rx) = mpsc::channel(QUEUE_MAX);
                (Some(tx), Some(start("store-reader", move || drop(serve(conn, rx)))?))
            }
            None => (None, None),
        };
        let thread = start("store", move || {
            let mut store = serve(store, writer_rx);
            if let Some(reader) = reader_thread {
                // It was told of a panic already, by the answer that did not come.
                let _ = reader.join();
            }
            if let Err(error) = store.checkpoint() {
                tracing::warn!(%error, "the log stays beside the store");
            }
        })?;
        Ok((Self { writer: writer_tx, reader: reader_tx, path, idle: Idle::default() }, thread))
    }

    /// Makes a handle without a thread, and the queue into which it puts what it is told.
    #[must_use]
    pub fn queued() -> (Self, StoreQueue) {
        let (writer, queue) = mpsc::channel(QUEUE_MAX);
        (Self { writer, reader: None, path: None, idle: Idle::default() }, StoreQueue(queue))
    }

    /// Runs a closure on the store's thread.
    ///
    /// # Errors
    /// [`StoreGone`] where the store has closed, or the closure panicked (what it wrote was rolled back).
    pub async fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Store) -> R + Send + 'static,
    ) -> Result<R, StoreGone> {
        ask(&self.writer, f).await
    }

    /// Returns a connection that sees the store as it is now, for as long as it lives: for reading more than fits into one
    /// closure.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a store that is in no file, and what SQLite says.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let path = self.path.as_deref().ok_or_else(|| StoreError::Invalid("the store is in no file".to_owned()))?;
        self.idle.snapshot(path)
    }

    /// Runs a closure that only reads, on the connection that never waits for the writer.
    ///
    /// # Errors
    /// Those of the closure, or [`StoreError::Gone`].
    pub async fn read<R: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        match &self.reader {
            Some(reader) => ask(reader, |conn: &mut Connection| f(conn)).await?,
            None => ask(&self.writer, |store: &mut Store| store.read(f)).await?,
        }
    }
}

async fn ask<T: 'static, R: Send + 'static>(
    queue: &mpsc::Sender<Job<T>>,
    f: impl FnOnce(&mut T) -> R + Send + 'static,
) -> Result<R, StoreGone> {
    let (answer, answered) = oneshot::channel();
    let job: Job<T> = Box::new(move |on| {
        // Whoever asked may have gone away; the work is done all the same.
        let _ = answer.send(f(on));
    });
    queue.send(job).await.map_err(|_| StoreGone)?;
    answered.await.map_err(|_| StoreGone)
}

fn start(name: &str, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(f).map_err(StoreError::File)
}

/// Works off a queue until nobody can add to it; a panic ends one job, and unwinding rolls back what it wrote.
fn serve<T>(mut on: T, mut queue: mpsc::Receiver<Job<T>>) -> T {
    while let Some(job) = queue.blocking_recv() {
        if catch_unwind(AssertUnwindSafe(|| job(&mut on))).is_err() {
            tracing::error!(reason_code = "internal_error", "a job on the store panicked");
        }
    }
    on
}
