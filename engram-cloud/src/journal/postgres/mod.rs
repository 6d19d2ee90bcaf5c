//! The store in Postgres: any number of servers over one database.
//!
//! The tables of a peer's cloud database are kept as they are, and what the peer wrote is served as it stands; what is
//! ours stands beside it. Each process has one task that writes, a few connections that read, and one that listens.

mod chunks;
mod chunks_of_peer;
mod compaction;
mod connect;
mod controls;
mod digests;
mod load;
mod migrate;
mod notices;
mod opened;
mod page;
mod sessions;
mod take_over;
mod write;
mod writer;

use super::compaction::{Compacted, Retention};
use super::{
    Audited, Batch, Control, GrantAsk, GrantRows, Journal, JournalError, Listener, Listeners, Page, PageAsk, Pushed,
};
use super::{SessionKey, SessionNow};
use crate::clock::Clock;
use engram_proto::id::ProjectName;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{Connection, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use writer::{Job, Writer, ask};

/// How long a question may take, the wait for a connection included.
const READ_PATIENCE: Duration = Duration::from_secs(15);

/// How long a start may wait for the database; migrations have all the time they need.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Postgres refused, or is not there.
    #[error(
        "the database of ENGRAM_DATABASE_URL does not open: {}; see that it runs, and that host, port, user and password \
         are right", words(.0)
    )]
    Postgres(#[from] sqlx::Error),
    /// Nobody answers.
    #[error("the database of ENGRAM_DATABASE_URL does not answer in time; is its address right?")]
    Slow,
    /// A database of a later release.
    #[error("the database is used by a newer engram-cloud (version {found}, this one knows {known}); upgrade it")]
    Newer {
        /// What it says.
        found: usize,
        /// What this program knows.
        known: usize,
    },
    /// No server was here yet.
    #[error("the database has no journal of engram-cloud; start engram-cloud serve once")]
    Missing,
    /// A database that its server has to migrate first.
    #[error("the database is of an older version (version {found}, this program's {known}); start engram-cloud serve")]
    Older {
        /// What it says.
        found: usize,
        /// What this program knows.
        known: usize,
    },
}

/// Says what the database says, without the line of its own source that it says too.
fn words(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// A journal in a Postgres database.
#[derive(Clone)]
pub struct Postgres(Arc<Shared>);

struct Shared {
    cloud_id: String,
    listeners: Listeners,
    pool: PgPool,
    turn: AtomicUsize,
    jobs: mpsc::Sender<Job>,
    /// Ended with the journal.
    tasks: Mutex<JoinSet<()>>,
}

async fn connected(options: &PgConnectOptions) -> Result<PgConnection, OpenError> {
    let attempt = tokio::time::timeout(CONNECT_PATIENCE, PgConnection::connect_with(options));
    Ok(attempt.await.map_err(|_| OpenError::Slow)??)
}

impl Postgres {
    /// Opens the journal of a database, brings it to this program's version, and begins to take over what a peer wrote.
    ///
    /// # Errors
    /// [`OpenError`] where the database cannot be used, or is newer than this program.
    pub async fn open(options: PgConnectOptions, clock: Clock) -> Result<Self, OpenError> {
        let options = connect::options(options);
        let mut connection = connected(&options).await?;
        migrate::migrate(&mut connection).await?;
        let cloud_id = migrate::cloud_id(&mut connection).await?;
        let listeners = Listeners::default();
        let origin = uuid::Uuid::new_v4().to_string();
        let ear = notices::listen(&options).await?;
        let (jobs, waiting) = mpsc::channel(writer::JOBS_WAITING_MAX);
        let pool = connect::readers(&options);
        let mut tasks = JoinSet::new();
        tasks.spawn(notices::hear(ear, options.clone(), origin.clone(), listeners.clone()));
        tasks.spawn(take_over::run(jobs.clone()));
        let writer = Writer { options, connection: Some(connection), clock, listeners: listeners.clone(), origin };
        tasks.spawn(writer.run(waiting));
        let (turn, tasks) = (AtomicUsize::new(0), Mutex::new(tasks));
        Ok(Self(Arc::new(Shared { cloud_id, listeners, pool, turn, jobs, tasks })))
    }

    async fn read<T>(&self, question: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, JournalError> {
        connect::in_time(READ_PATIENCE, question).await
    }
}

impl Journal for Postgres {
    fn cloud_id(&self) -> &str {
        &self.0.cloud_id
    }

    async fn ping(&self) -> Result<(), JournalError> {
        let sql = "SELECT set_config('transaction_read_only', 'off', true)";
        self.read(async { sqlx::query(sql).execute(&self.0.pool).await.map(drop) }).await
    }

    async fn push(&self, batch: Batch) -> Result<Pushed, JournalError> {
        ask(&self.0.jobs, |answer| Job::Push(batch, answer)).await
    }

    async fn page(&self, ask: PageAsk) -> Result<Option<Page>, JournalError> {
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        self.read(page::page(&self.0.pool, &ask, turn)).await
    }

    async fn grant_page(&self, ask: GrantAsk) -> Result<GrantRows, JournalError> {
        self.read(page::grant_page(&self.0.pool, &ask)).await
    }

    async fn sessions(&self, asked: BTreeSet<SessionKey>) -> Result<BTreeMap<SessionKey, SessionNow>, JournalError> {
        self.read(sessions::now(&self.0.pool, asked)).await
    }

    fn listen(&self, projects: Vec<ProjectName>) -> Listener {
        self.0.listeners.listen(projects)
    }

    async fn controls(&self) -> Result<Vec<Control>, JournalError> {
        self.read(controls::list(&self.0.pool)).await
    }

    async fn set_control(&self, control: Control) -> Result<(), JournalError> {
        self.read(controls::set(&self.0.pool, &control)).await
    }

    async fn compact(&self, retention: Retention) -> Result<Compacted, JournalError> {
        ask(&self.0.jobs, |answer| Job::Compact(retention, answer)).await
    }

    async fn close(&self) {
        let _ = ask(&self.0.jobs, Job::Close).await;
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.0.pool.close().await;
    }
}

/// Looks after the controls of a database beside its servers, from another process.
pub struct Beside(PgConnection);

impl Beside {
    /// Opens a database that a server has made its own.
    ///
    /// # Errors
    /// [`OpenError`] where there is none, or it is of another version than this program.
    pub async fn open(options: PgConnectOptions) -> Result<Self, OpenError> {
        let mut connection = connected(&connect::options(options)).await?;
        migrate::check(&mut connection).await?;
        Ok(Self(connection))
    }

    /// Lists the projects somebody paused or resumed.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn controls(&mut self) -> Result<Vec<Control>, OpenError> {
        Ok(controls::list(&mut self.0).await?)
    }

    /// Lists what administrators did last, the newest first.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn audited(&mut self, rows_max: u32) -> Result<Vec<Audited>, OpenError> {
        Ok(controls::audited(&mut self.0, rows_max).await?)
    }

    /// Pauses or resumes a project.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn set_control(&mut self, control: &Control) -> Result<(), OpenError> {
        Ok(controls::set(&mut self.0, control).await?)
    }
}
