//! The embedded store: one `SQLite` file, one process, no set-up.
//!
//! One thread owns the connection that writes; it numbers rows inside the transaction that commits them, so that they
//! become visible in the order of their numbers (CUR-2). Readers have connections of their own and see whole commits.

mod chunks;
mod compaction;
mod controls;
mod digests;
mod facts;
mod open;
mod page;
mod reader;
mod rows;
mod sessions;
#[cfg(test)]
mod tests;
mod waiting;
mod writer;

use super::compaction::{Compacted, Retention};
use super::{
    Audited, Batch, Control, GrantAsk, GrantRows, Journal, JournalError, Listener, Listeners, Page, PageAsk, Pushed,
};
use super::{SessionKey, SessionNow};
use crate::clock::Clock;
use crate::keep::DataDir;
use engram_proto::id::ProjectName;
pub use open::OpenError;
use reader::Readers;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use writer::{Job, Writer};

/// The name of the file in the data directory.
pub const FILE_NAME: &str = "engram-cloud.db";

/// A journal in one `SQLite` file.
#[derive(Clone)]
pub struct Embedded(Arc<Shared>);

struct Shared {
    cloud_id: String,
    listeners: Listeners,
    readers: Readers,
    writer: Writer,
}

impl Embedded {
    /// Opens the store of a claimed directory, and makes it where there is none. The claim ends with the writing.
    ///
    /// # Errors
    /// [`OpenError`] where the file is not ours, is newer than this program, or cannot be used.
    pub fn open(dir: DataDir, clock: Clock) -> Result<Self, OpenError> {
        let path = dir.join(FILE_NAME);
        let connection = open::open(&path)?;
        let cloud_id = open::cloud_id(&connection)?;
        let readers = Readers::open(path)?;
        let listeners = Listeners::default();
        let writer = Writer::start(dir, connection, clock, listeners.clone())?;
        Ok(Self(Arc::new(Shared { cloud_id, listeners, readers, writer })))
    }
}

impl Journal for Embedded {
    fn cloud_id(&self) -> &str {
        &self.0.cloud_id
    }

    async fn ping(&self) -> Result<(), JournalError> {
        self.0
            .readers
            .read(|connection| connection.query_row("SELECT count(*) FROM cloud_meta", [], |_| Ok(())))
            .await?;
        self.0.writer.ask(Job::Ping).await
    }

    async fn push(&self, batch: Batch) -> Result<Pushed, JournalError> {
        self.0.writer.ask(|answer| Job::Push(batch, answer)).await
    }

    async fn page(&self, ask: PageAsk) -> Result<Option<Page>, JournalError> {
        let turn = self.0.readers.turn();
        self.0.readers.read(move |connection| page::page(connection, &ask, turn)).await
    }

    async fn grant_page(&self, ask: GrantAsk) -> Result<GrantRows, JournalError> {
        self.0.readers.read(move |connection| page::grant_page(connection, &ask)).await
    }

    async fn sessions(&self, asked: BTreeSet<SessionKey>) -> Result<BTreeMap<SessionKey, SessionNow>, JournalError> {
        self.0.readers.read(move |connection| sessions::now(connection, &asked)).await
    }

    fn listen(&self, projects: Vec<ProjectName>) -> Listener {
        self.0.listeners.listen(projects)
    }

    async fn controls(&self) -> Result<Vec<Control>, JournalError> {
        self.0.readers.read(controls::list).await
    }

    async fn set_control(&self, control: Control) -> Result<(), JournalError> {
        self.0.writer.ask(|answer| Job::Control(control, answer)).await
    }

    async fn compact(&self, retention: Retention) -> Result<Compacted, JournalError> {
        self.0.writer.ask(|answer| Job::Compact(retention, answer)).await
    }

    async fn close(&self) {
        self.0.writer.close().await;
    }
}

/// Looks after the controls of a store beside a running server, from another process.
pub struct Beside(rusqlite::Connection);

impl Beside {
    /// Opens a store that exists.
    ///
    /// # Errors
    /// [`OpenError`] where there is none, or it is of another version than this program.
    pub fn open(path: PathBuf) -> Result<Self, OpenError> {
        open::open_beside(path).map(Self)
    }

    /// Lists the projects somebody paused or resumed.
    ///
    /// # Errors
    /// What `SQLite` says.
    pub fn controls(&self) -> Result<Vec<Control>, OpenError> {
        Ok(writer::patiently(|| controls::list(&self.0))?)
    }

    /// Lists what administrators did last, the newest first.
    ///
    /// # Errors
    /// What `SQLite` says.
    pub fn audited(&self, rows_max: u32) -> Result<Vec<Audited>, OpenError> {
        Ok(writer::patiently(|| controls::audited(&self.0, rows_max))?)
    }

    /// Pauses or resumes a project.
    ///
    /// # Errors
    /// What `SQLite` says.
    pub fn set_control(&self, control: &Control) -> Result<(), OpenError> {
        Ok(writer::patiently(|| controls::set(&self.0, control))?)
    }
}
