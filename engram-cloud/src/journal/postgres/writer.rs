//! The task that writes.
//!
//! It takes what waits (group commit) and admits all of it in one transaction. The lock that every server's writer
//! takes first is held through the commit, so numbers become visible in their order whoever draws them (CUR-2): begin
//! and lock, load, write, commit are four round trips.

use super::notices::Notice;
use super::{chunks, compaction, connect, load, take_over, write};
use crate::clock::Clock;
use crate::journal::admit::{Admission, Changes, Facts};
use crate::journal::compaction::{Compacted, Retention};
use crate::journal::rail::{ChunkPush, ChunkPushed, Slice};
use crate::journal::{Batch, JournalError, Listeners, Pushed};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Jobs that wait for the task; who comes after them waits before sending.
pub(super) const JOBS_WAITING_MAX: usize = 512;

/// Entries after which a transaction takes no further batch.
const GROUP_ENTRIES_MAX: usize = 2_000;

/// How long a transaction may take, a new connection included.
const PATIENCE: Duration = Duration::from_secs(15);

/// Begins a transaction that nobody else's overlaps: `ECLD`, and what the lock is for.
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(1162037316, 2)";

type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

/// What the task can be asked.
pub(super) enum Job {
    Push(Batch, Answer<Pushed>),
    Chunk(Box<ChunkPush>, Answer<ChunkPushed>),
    Slice(Slice, Answer<bool>),
    /// Takes a slice of the peer's rows over, and tells whether there is more.
    TakeOver(Answer<bool>),
    Compact(Retention, Answer<Compacted>),
    Close(Answer<()>),
}

/// Asks, and waits for the answer.
pub(super) async fn ask<T>(jobs: &mpsc::Sender<Job>, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, JournalError> {
    let (answer, answered) = oneshot::channel();
    jobs.send(job(answer)).await.map_err(|_| JournalError::Closed)?;
    answered.await.unwrap_or(Err(JournalError::Closed))
}

pub(super) struct Writer {
    pub(super) options: PgConnectOptions,
    /// The one connection that writes; none where the last one failed.
    pub(super) connection: Option<PgConnection>,
    pub(super) clock: Clock,
    pub(super) listeners: Listeners,
    /// What names this process in its notices.
    pub(super) origin: String,
}

impl Writer {
    /// Works until it is closed, or nobody is left to ask.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(job) = waiting.recv().await {
            let mut group = Vec::new();
            let mut next = Some(job);
            let mut entries = 0;
            while let Some(Job::Push(batch, answer)) = next {
                entries += batch.entries.len();
                group.push((batch, answer));
                next = (entries < GROUP_ENTRIES_MAX).then(|| waiting.try_recv().ok()).flatten();
            }
            if !group.is_empty() {
                self.push(group).await;
            }
            match next {
                Some(Job::Chunk(push, answer)) => {
                    let done = self.patiently(&Task::Chunk(push)).await;
                    let _ = answer.send(done.and_then(Done::chunk));
                }
                Some(Job::Slice(slice, answer)) => {
                    let told = self.patiently(&Task::Slice(slice)).await;
                    let _ = answer.send(told.map(|done| matches!(done, Done::Told(true))));
                }
                Some(Job::TakeOver(answer)) => {
                    let taken = self.patiently(&Task::TakeOver).await;
                    let _ = answer.send(taken.map(|done| matches!(done, Done::TakenOver(true))));
                }
                Some(Job::Compact(retention, answer)) => {
                    let done = self.patiently(&Task::Compact(retention)).await;
                    let _ = answer.send(done.and_then(Done::compacted));
                }
                Some(Job::Close(answer)) => {
                    if let Some(connection) = self.connection.take() {
                        let _ = connection.close().await;
                    }
                    let _ = answer.send(Ok(()));
                    return;
                }
                Some(Job::Push(..)) | None => {}
            }
        }
    }

    async fn push(&mut self, group: Vec<(Batch, Answer<Pushed>)>) {
        let (batches, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        match self.patiently(&Task::Push(batches)).await {
            Ok(done) => {
                for (answer, outcome) in answers.into_iter().zip(done.outcomes()) {
                    let _ = answer.send(Ok(outcome));
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Does a task within its time, a second time where it failed on a connection that had been there before.
    ///
    /// That is safe after any failure: where the first one was committed after all, the second finds its rows (IDEM-1).
    async fn patiently(&mut self, task: &Task) -> Result<Done, JournalError> {
        let is_old = self.connection.is_some();
        let done = connect::in_time(PATIENCE, self.attempt(task)).await;
        match done {
            Err(JournalError::Store(error)) if is_old => {
                tracing::warn!(error, "the database failed a write; tries again on a new connection");
                connect::in_time(PATIENCE, self.attempt(task)).await
            }
            done => done,
        }
    }

    async fn attempt(&mut self, task: &Task) -> Result<Done, sqlx::Error> {
        // Taken out, so that one that fails or is given up half-way is never used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => PgConnection::connect_with(&self.options).await?,
        };
        let mut transaction = connection.begin_with(BEGIN).await?;
        let (done, changes) = match task {
            Task::Push(batches) => self.admit(&mut transaction, batches).await?,
            Task::Chunk(push) => chunks::push(&mut transaction, push, self.clock.now_us()).await?,
            Task::Slice(slice) => chunks::tell(&mut transaction, slice, self.clock.now_us()).await?,
            Task::TakeOver => take_over::slice(&mut transaction, self.clock.now_us()).await?,
            Task::Compact(retention) => compaction::step(&mut transaction, retention, self.clock.now_us()).await?,
        };
        let projects = changes.touched();
        let notice = (!projects.is_empty()).then(|| Notice { origin: self.origin.clone(), projects });
        write::changes(&mut transaction, &changes, notice.as_ref()).await?;
        transaction.commit().await?;
        self.connection = Some(connection);
        if let Some(notice) = notice {
            // First, so that who hears the answer and listens then is not woken for what it knows.
            self.listeners.wake(&notice.projects);
        }
        Ok(done)
    }

    async fn admit(&self, connection: &mut PgConnection, batches: &[Batch]) -> Result<(Done, Changes), sqlx::Error> {
        let mut facts = Facts::asked_by(batches);
        let peers = load_known(connection, &mut facts, batches).await?;
        let mut admission = admission(facts, &peers, self.clock.now_us());
        let outcomes = batches.iter().map(|batch| admission.batch(batch)).collect();
        Ok((Done::Pushed(outcomes), admission.changes()))
    }
}

/// Loads what is asked, and what these batches need to know beside it.
pub(super) async fn load_known(
    connection: &mut PgConnection,
    facts: &mut Facts,
    batches: &[Batch],
) -> Result<load::PeerRows, sqlx::Error> {
    let peers = take_over::facts(connection, facts).await?;
    facts.ask_live_prompts(batches);
    load::live_prompts(connection, facts).await?;
    Ok(peers)
}

/// Begins with what is known, and takes over what the peer wrote of it.
pub(super) fn admission(facts: Facts, peers: &load::PeerRows, now_us: i64) -> Admission {
    let mut admission = Admission::new(facts, now_us);
    for (name, rows) in peers {
        admission.take_over(name, rows);
    }
    admission
}

/// What a transaction is for.
enum Task {
    Push(Vec<Batch>),
    Chunk(Box<ChunkPush>),
    Slice(Slice),
    TakeOver,
    Compact(Retention),
}

/// What came of it.
pub(super) enum Done {
    Pushed(Vec<Pushed>),
    Chunk(ChunkPushed),
    /// Whether the slice was appended.
    Told(bool),
    /// Whether there is more to take over.
    TakenOver(bool),
    Compacted(Compacted),
}

impl Done {
    fn outcomes(self) -> Vec<Pushed> {
        match self {
            Self::Pushed(outcomes) => outcomes,
            Self::Chunk(_) | Self::Told(_) | Self::TakenOver(_) | Self::Compacted(_) => Vec::new(),
        }
    }

    fn compacted(self) -> Result<Compacted, JournalError> {
        if let Self::Compacted(compacted) = self { Ok(compacted) } else { Err(JournalError::Closed) }
    }

    fn chunk(self) -> Result<ChunkPushed, JournalError> {
        if let Self::Chunk(pushed) = self { Ok(pushed) } else { Err(JournalError::Closed) }
    }
}
