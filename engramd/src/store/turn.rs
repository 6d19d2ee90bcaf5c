//! Turns at the store's one lock, ours and those of the processes that write beside us (OWN-3).
//!
//! Every write transaction of ours begins and ends here, so that no path forgets the rule. It does a bounded amount of
//! work: whoever has many rows asks its [`Room`] before each, and goes on in another transaction. And between bursts of
//! transactions the lock stays free for others.
//!
//! # Why a Go process gets its turn
//!
//! It reads first and then writes. Where its first write meets a lock, or something was committed since it read, SQLite
//! refuses it at once, for its busy timeout holds for the first lock of a transaction only. It tries again 10, 25 and 50 ms
//! after each refusal; then its user sees an error (D66). Others of its kind refuse some of these attempts, so ours may be
//! one of them at most:
//!
//! - Attempts lie at 0, 10, 35 and 85 ms. While others write a burst is meant to be shorter than what lies between any two
//!   of them, and 95 ms lie behind it ([`REST_MS`]), longer than what lies between the first and the last.
//! - No transaction of ours begins while another process is in the middle of one ([`has_guest`], for up to
//!   [`PATIENCE_MS`]): what it read stays true until it wrote.
//! - Who was not seen yet is seen at his first attempt: while he reads he is in a transaction, and we look before every
//!   row. Who waits for the lock as SQLite does it, up to 100 ms between his looks, finds it free for so long once we had
//!   it for [`HELD_MS_MAX`].
//! - On a machine that is so busy that sleepers wake late, whoever runs for long has to stand still sooner or later, and is
//!   not to have the lock then: a burst is one transaction, behind a sleep, with fewer rows where they take longer. And
//!   the rest is longer, for the attempts of others come late, too.
//!
//! SQLite moves the log into the file after a commit, when the lock is given back already; the process whose commit finds
//! the log long waits for it. While others write we do that in our rests, so that it falls to none of them.

use super::error::StoreError;
use super::room::{LATELY_MS, Room, Seen};
use super::{Transaction, foreign, fts};
use rusqlite::{Connection, ffi};
use std::ffi::c_int;
use std::sync::Arc;
use std::time::Duration;

/// How long a transaction of ours waits for one that another process has open. A search may take longer, a save does not.
const PATIENCE_MS: u64 = 250;

/// While others write, a transaction joins a burst that is so young, and behind it the lock stays free for so long.
const BURST_MS: u64 = 2;
const REST_MS: u64 = 95;

/// Where sleeping takes so much longer than it should, the machine is busy.
const LATE_MS: u64 = 3;

/// While nobody else was seen, the lock stays free for so long once we had it for so much longer than it was free.
const HELD_MS_MAX: u64 = 3_000;
const WINDOW_MS: u64 = 100;

/// While others write, the log is moved into the file once so many rows changed; SQLite does it at a thousand pages.
const LOG_ROWS_MAX: u64 = 250;

/// After so many pages of the log SQLite moves them into the file, and where many rows come in, after so many: most of
/// their pages change again before they are moved.
const LOG_PAGES: u32 = 1_000;
const LOG_PAGES_OF_MANY: u32 = 16_000;

/// What is left of the log's file when it begins anew, and what one page of it may take there.
pub(super) const LOG_BYTES_MAX: i64 = 16 << 20;
const PAGE_BYTES: i64 = 8 << 10;

/// The turns of one writing connection.
#[derive(Debug, Default)]
pub(super) struct Turns {
    clock: Option<fn() -> u64>,
    seen: Arc<Seen>,
    /// Somebody waits for the answer: his transactions are short, and do not wait.
    at_once: bool,
    /// What `PRAGMA data_version` said in the last transaction.
    data_version: Option<i64>,
    burst_began_ms: u64,
    /// When the last transaction ended.
    ended_ms: Option<u64>,
    /// How long that and others of its burst had the lock.
    burst_ms: u64,
    /// By how much sleeping takes longer than it should: so late the attempts of others are, too.
    late_ms: u64,
    /// How much longer the lock was ours than free.
    held_ms: u64,
    /// Rows that changed since the log was moved into the file.
    log_rows: u64,
    /// When the log was last let grow.
    log_grows_ms: Option<u64>,
    commits: u64,
    changes_max: u64,
}

impl Turns {
    /// Without a clock nobody waits, and a transaction ends by its number of rows alone.
    pub(super) fn set_clock(&mut self, clock: fn() -> u64) {
        self.clock = Some(clock);
    }

    /// Says whether somebody waits for what is done now; returns what was so before.
    pub(super) fn set_at_once(&mut self, at_once: bool) -> bool {
        std::mem::replace(&mut self.at_once, at_once)
    }

    /// Returns how many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// Returns how many rows the largest transaction changed since this was asked last.
    pub(super) fn take_changes_max(&mut self) -> u64 {
        std::mem::take(&mut self.changes_max)
    }

    /// Makes the room of the next transaction.
    pub(super) fn room(&self) -> Room {
        Room::new(self.clock, Arc::clone(&self.seen))
    }

    /// Runs a closure in a transaction that has the lock from its start, and commits what returns `Ok`. It begins with
    /// what other processes wrote; where that is more than a little, transactions of their own take it up before.
    pub(super) fn run<R>(
        &mut self,
        conn: &Connection,
        f: impl FnOnce(&Transaction<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        while foreign::is_much(conn)? {
            let room = self.room();
            self.transaction(conn, |tx| foreign::take_up_some(tx, foreign::SOME, &room))?;
        }
        self.transaction(conn, |tx| {
            let began = foreign::take_up(tx)?;
            let result = f(tx)?;
            foreign::ours_to_here(tx, &began)?;
            Ok(result)
        })
    }

    /// Does the same, and leaves what other processes wrote to the closure.
    pub(super) fn transaction<R>(
        &mut self,
        conn: &Connection,
        f: impl FnOnce(&Transaction<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.look_after_log(conn)?;
        self.wait(conn);
        // Who did not get the lock had it for no time, however long the others had it.
        let tx = Transaction::begin(conn).map_err(StoreError::from).inspect_err(|error| fts::doubt(conn, error))?;
        let mut wrote_ms = None;
        let done = self.inside(tx, f, &mut wrote_ms);
        if let Some(clock) = self.clock {
            let now_ms = clock();
            let held_ms = self.seen.since_ms(now_ms);
            let commit_ms = wrote_ms.map_or(0, |wrote_ms| now_ms.saturating_sub(wrote_ms)).min(held_ms);
            self.seen.learn(held_ms - commit_ms, commit_ms);
            self.ended_ms = Some(now_ms);
            self.held_ms += held_ms;
            self.burst_ms += held_ms;
        }
        done.inspect_err(|error| fts::doubt(conn, error))
    }

    fn inside<R>(
        &mut self,
        tx: Transaction<'_>,
        f: impl FnOnce(&Transaction<'_>) -> Result<R, StoreError>,
        wrote_ms: &mut Option<u64>,
    ) -> Result<R, StoreError> {
        self.began(&tx)?;
        let before = tx.total_changes();
        let result = f(&tx)?;
        *wrote_ms = self.clock.map(|clock| clock());
        let changes = tx.total_changes() - before;
        tx.commit()?;
        self.commits += 1;
        self.changes_max = self.changes_max.max(changes);
        self.log_rows += changes;
        Ok(result)
    }

    /// Waits until it is our turn.
    fn wait(&mut self, conn: &Connection) {
        let Some(clock) = self.clock else { return };
        let now_ms = clock();
        if has_guest(conn) {
            self.seen.others(now_ms);
        }
        // Before the first one the lock was free for ever.
        let free_ms = self.ended_ms.map_or(u64::MAX, |ended_ms| now_ms.saturating_sub(ended_ms));
        self.held_ms = self.held_ms.saturating_sub(free_ms);
        let beside = self.seen.are_others_beside(now_ms);
        let rest_ms = REST_MS.max(self.burst_ms * 2) + self.late_ms * 3;
        let is_young =
            free_ms < rest_ms && self.late_ms < LATE_MS && now_ms.saturating_sub(self.burst_began_ms) < BURST_MS;
        if self.at_once || (beside && is_young) {
            return;
        }
        if beside {
            self.shorten_log(conn);
            let from_ms = clock();
            let rest_ms = rest_ms.saturating_sub(free_ms.saturating_add(from_ms.saturating_sub(now_ms)));
            sleep_ms(rest_ms);
            let late_ms = clock().saturating_sub(from_ms).saturating_sub(rest_ms);
            self.late_ms = late_ms.max((self.late_ms * 3 + late_ms) / 4).min(REST_MS);
        } else if self.held_ms > HELD_MS_MAX {
            sleep_ms(WINDOW_MS);
            self.held_ms = 0;
        }
        let from_ms = clock();
        while has_guest(conn) && clock().saturating_sub(from_ms) < PATIENCE_MS {
            sleep_ms(1);
        }
        (self.burst_began_ms, self.burst_ms) = (clock(), 0);
    }

    /// Lets the log grow, for many rows come in.
    pub(super) fn let_log_grow(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let now_ms = self.clock.map_or(0, |clock| clock());
        if self.log_grows_ms.replace(now_ms).is_none() {
            conn.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_OF_MANY)?;
            // What is cut off would have to be found anew by the system when the log grows again.
            conn.pragma_update(None, "journal_size_limit", i64::from(LOG_PAGES_OF_MANY) * PAGE_BYTES)?;
        }
        Ok(())
    }

    /// Ends that, whether or not the rows did; tells whether it was so.
    pub(super) fn let_log_be(&mut self, conn: &Connection) -> Result<bool, StoreError> {
        let grew = self.log_grows_ms.take().is_some();
        if grew {
            conn.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
            conn.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
        }
        Ok(grew)
    }

    /// Ends it where no more rows came for a while: whoever brought them is gone.
    fn look_after_log(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let (Some(clock), Some(grows_ms)) = (self.clock, self.log_grows_ms) else { return Ok(()) };
        if clock().saturating_sub(grows_ms) > LATELY_MS {
            self.let_log_be(conn)?;
        }
        Ok(())
    }

    /// Moves the log into the file where it grew, without waiting for anybody.
    fn shorten_log(&mut self, conn: &Connection) {
        if self.log_rows > LOG_ROWS_MAX {
            self.log_rows = 0;
            let moved = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            if let Err(error) = moved {
                tracing::debug!(%error, "the log was not moved into the file");
            }
        }
    }

    /// Notes when a transaction got the lock, and whether others wrote since the last one.
    fn began(&mut self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let Some(clock) = self.clock else { return Ok(()) };
        let now_ms = clock();
        self.seen.began(now_ms);
        let version = tx.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.data_version.replace(version).is_some_and(|before| before != version) {
            self.seen.others(now_ms);
        }
        Ok(())
    }
}

fn sleep_ms(ms: u64) {
    if ms > 0 {
        std::thread::sleep(Duration::from_millis(ms));
    }
}

/// Tells whether another process has a transaction open on the store, reading or writing.
#[expect(unsafe_code, reason = "rusqlite has no call of its own for this question")]
pub(super) fn has_guest(conn: &Connection) -> bool {
    let mut found: c_int = 0;
    // SAFETY: the handle is open as long as `conn`, the name ends with a zero, and the answer to this question is one int.
    let code = unsafe {
        let answer = std::ptr::from_mut(&mut found).cast();
        ffi::sqlite3_file_control(conn.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_EXTERNAL_READER, answer)
    };
    // A store that is in no file has no guests.
    code == ffi::SQLITE_OK && found != 0
}
