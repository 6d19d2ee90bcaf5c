//! The thread that writes.
//!
//! It takes what waits (group commit), admits batch after batch in one transaction, commits, and only then wakes
//! who waits for rows and answers all of them. A batch never fails half-way: what can be wrong with it is looked at before
//! its first row, and what the store refuses takes the whole transaction back.

use super::open::OpenError;
use super::{chunks, compaction, controls, facts};
use crate::clock::Clock;
use crate::journal::admit::{Admission, Facts};
use crate::journal::compaction::{Compacted, Retention};
use crate::journal::rail::{ChunkPush, ChunkPushed, Slice};
use crate::journal::{Batch, Control, JournalError, Listeners, Pushed};
use crate::keep::DataDir;
use engram_proto::id::ProjectName;
use engram_retry::{blocking, ladder};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Jobs that wait for the thread; who comes after them waits before sending.
const JOBS_WAITING_MAX: usize = 512;

/// Entries after which a transaction takes no further batch.
const GROUP_ENTRIES_MAX: usize = 2_000;

type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

/// What the thread can be asked.
pub(super) enum Job {
    Push(Batch, Answer<Pushed>),
    Control(Control, Answer<()>),
    Chunk(Box<ChunkPush>, Answer<ChunkPushed>),
    Slice(Slice, Answer<bool>),
    Compact(Retention, Answer<Compacted>),
    Ping(Answer<()>),
    Close(Answer<()>),
}

pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(
        dir: DataDir,
        connection: Connection,
        clock: Clock,
        listeners: Listeners,
    ) -> Result<Self, OpenError> {
        let (jobs, waiting) = mpsc::channel(JOBS_WAITING_MAX);
        let work = Work { _dir: dir, connection, clock, listeners, has_remains: true };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || work.run(waiting));
        let thread = thread.map_err(|source| OpenError::Io { path: "journal thread".into(), source })?;
        Ok(Self { jobs, thread: Mutex::new(Some(thread)) })
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, JournalError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(job(answer)).await.map_err(|_| JournalError::Closed)?;
        answered.await.unwrap_or(Err(JournalError::Closed))
    }

    /// Ends the thread once it has done what was asked before.
    pub(super) async fn close(&self) {
        let _ = self.ask(Job::Close).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

struct Work {
    // Held until the last write is done: nobody else opens the store before.
    _dir: DataDir,
    connection: Connection,
    clock: Clock,
    listeners: Listeners,
    /// Whether contents that went may still stand in the log of `SQLite`.
    has_remains: bool,
}

impl Work {
    fn run(mut self, mut waiting: mpsc::Receiver<Job>) {
        let mut group = Vec::new();
        while let Some(job) = waiting.blocking_recv() {
            let mut next = Some(job);
            let mut entries = 0;
            while let Some(Job::Push(batch, answer)) = next {
                entries += batch.entries.len();
                group.push((batch, answer));
                next = (entries < GROUP_ENTRIES_MAX).then(|| waiting.try_recv().ok()).flatten();
            }
            if !group.is_empty() {
                self.push(std::mem::take(&mut group));
            }
            match next {
                Some(Job::Control(control, answer)) => {
                    let set = patiently(|| controls::set(&self.connection, &control));
                    let _ = answer.send(set.map_err(|error| failed(&error)));
                }
                Some(Job::Chunk(push, answer)) => {
                    let done = patiently(|| self.commit_chunk(&push)).map_err(|error| failed(&error));
                    let _ = answer.send(done);
                }
                Some(Job::Slice(slice, answer)) => {
                    let told = patiently(|| self.commit_slice(&slice)).map_err(|error| failed(&error));
                    let _ = answer.send(told);
                }
                Some(Job::Compact(retention, answer)) => {
                    let done = patiently(|| self.compact(&retention)).map_err(|error| failed(&error));
                    let _ = answer.send(done);
                }
                Some(Job::Ping(answer)) => {
                    let asked = self.connection.query_row("SELECT count(*) FROM cloud_meta", [], |_| Ok(()));
                    let _ = answer.send(asked.map_err(|error| failed(&error)));
                }
                Some(Job::Close(answer)) => {
                    let _ = answer.send(Ok(()));
                    return;
                }
                Some(Job::Push(..)) | None => {}
            }
        }
    }

    fn push(&mut self, group: Vec<(Batch, Answer<Pushed>)>) {
        let (batches, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        match patiently(|| self.commit(&batches)) {
            Ok((outcomes, touched)) => {
                // First, so that who hears the answer and listens then is not woken for what it knows.
                self.listeners.wake(&touched);
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    let _ = answer.send(Ok(outcome));
                }
            }
            Err(error) => {
                let error = failed(&error);
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    fn commit(&mut self, batches: &[Batch]) -> rusqlite::Result<(Vec<Pushed>, BTreeSet<ProjectName>)> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut admission =
            Admission::new(facts::load(&transaction, Facts::asked_by(batches), batches)?, self.clock.now_us());
        let outcomes = batches.iter().map(|batch| admission.batch(batch)).collect();
        let changes = admission.changes();
        facts::write(&transaction, &changes)?;
        transaction.commit()?;
        Ok((outcomes, changes.touched()))
    }

    fn commit_chunk(&mut self, push: &ChunkPush) -> rusqlite::Result<ChunkPushed> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (done, touched) = chunks::push(&transaction, push, self.clock.now_us())?;
        transaction.commit()?;
        self.listeners.wake(&touched);
        Ok(done)
    }

    fn commit_slice(&mut self, slice: &Slice) -> rusqlite::Result<bool> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let told = chunks::tell(&transaction, slice, self.clock.now_us())?;
        transaction.commit()?;
        Ok(told)
    }

    fn compact(&mut self, retention: &Retention) -> rusqlite::Result<Compacted> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (done, touched) = compaction::step(&transaction, retention, self.clock.now_us())?;
        transaction.commit()?;
        self.listeners.wake(&touched);
        self.has_remains |= done.contents > 0;
        if self.has_remains && !done.has_more {
            // The file has zeroes in its place now, the log the text: where a reader needs that, the next turn empties it.
            let emptied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
            self.has_remains = emptied != Ok(0);
        }
        Ok(done)
    }
}

/// Repeats what another process' write got in the way of, for about a second.
pub(super) fn patiently<T>(attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let busy = |error: &rusqlite::Error| {
        matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    };
    blocking(&ladder(Duration::from_millis(2), Duration::from_millis(512)), busy, attempt)
}

fn failed(error: &rusqlite::Error) -> JournalError {
    JournalError::Store(error.to_string())
}
