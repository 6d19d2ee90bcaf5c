//! A Go process that saves, as far as the store's lock is concerned: in one transaction it reads, then writes, and where
//! SQLite refuses it, it tries three times more (D66).

use rusqlite::{Connection, ErrorCode, params};
use rustix::process::{Flock, FlockType, fcntl_getlk};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the user of one thinks between two saves: 60 ms, give or take twenty. Those who always think as long as they
/// wait between two attempts would meet again and again; and four who think half as long refuse each other so often that,
/// by a model of their attempts, one of some 40,000 saves fails where nobody is beside them.
#[must_use]
pub fn thinks() -> Duration {
    Duration::from_millis(rand::random_range(40..=80))
}

/// What it waits between its attempts.
const DELAYS_MS: [u64; 3] = [10, 25, 50];

/// What it does to a journal row's target.
const QUEUED: &str = "INSERT INTO sync_state (target_key, lifecycle, last_enqueued_seq, updated_at)
    VALUES ('cloud', 'pending', ?1, datetime('now'))
    ON CONFLICT (target_key) DO UPDATE SET last_enqueued_seq = ?1";

/// Looks whether the same was saved a moment ago. It compares projects as no index of the Go program serves.
const SAME: &str = "SELECT id FROM observations WHERE normalized_hash = ?1 AND ifnull(project, '') = ifnull(?2, '')
    AND scope = 'project' AND type = 'note' AND title = ?3 AND deleted_at IS NULL
    AND datetime(created_at) >= datetime('now', '-15 minutes') ORDER BY created_at DESC LIMIT 1";

/// Which byte of the file beside the log a writer of the store has locked.
const WRITE_LOCK: u64 = 120;

/// A save whose user saw an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Who had the lock after each attempt that was refused, and SQLite's extended code; 0 is nobody any more.
    pub refusals: Vec<(u32, i32)>,
    /// How long it took until the user had asked again with success.
    pub took_ms: u64,
    /// How long this process and those stood in line for a processor meanwhile.
    pub stood_ms: u64,
}

impl Failure {
    /// Tells whether the machine was too busy to tell whose fault it is: for a quarter of the time somebody who had the lock,
    /// or wanted it, could not run. Alone, that takes 20 ms, in which two attempts of four come.
    #[must_use]
    pub fn is_the_machines(&self) -> bool {
        self.stood_ms * 4 >= self.took_ms
    }
}

/// One such process.
pub struct Saver {
    conn: Connection,
    /// The file beside the log. It is closed behind the connection, for who closes it gives back what SQLite locked.
    shm: File,
    /// How many attempts each process refused.
    pub refused: BTreeMap<u32, u64>,
}

impl Saver {
    /// Opens the store that is at a path.
    ///
    /// # Panics
    /// Where SQLite refuses.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let conn = Connection::open(path).expect("a store");
        let settings = "PRAGMA busy_timeout = 5000; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON";
        conn.execute_batch(settings).expect("settings");
        let mut shm = path.as_os_str().to_owned();
        shm.push("-shm");
        let shm = File::open(shm).expect("the file beside the log");
        Self { conn, shm, refused: BTreeMap::new() }
    }

    /// Saves a memory in a session that is there. Where its user sees an error, he asks again until it is saved.
    ///
    /// # Panics
    /// Where SQLite refuses for another reason than a lock.
    #[expect(clippy::disallowed_methods, reason = "how long it took is told")]
    pub fn save(&mut self, project: &str, session: &str, key: &str) -> Option<Failure> {
        let mut stood = BTreeMap::from([(std::process::id(), stood_ns(std::process::id()))]);
        let (mut refusals, began) = (Vec::new(), Instant::now());
        while let Err(error) = self.attempt(project, session, key) {
            let is_lock =
                matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
            assert!(is_lock, "{error}");
            let (holder, code) = (self.holder(), error.sqlite_error().map_or(0, |error| error.extended_code));
            if !self.conn.is_autocommit() {
                self.conn.execute_batch("ROLLBACK").expect("rolled back");
            }
            *self.refused.entry(holder).or_default() += 1;
            stood.entry(holder).or_insert_with(|| stood_ns(holder));
            refusals.push((holder, code));
            let delay_ms = DELAYS_MS.get((refusals.len() - 1) % (DELAYS_MS.len() + 1));
            std::thread::sleep(delay_ms.map_or_else(thinks, |&ms| Duration::from_millis(ms)));
        }
        if refusals.len() <= DELAYS_MS.len() {
            return None;
        }
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let stood_ns = stood.into_iter().map(|(pid, before)| stood_ns(pid).saturating_sub(before)).sum::<u64>();
        Some(Failure { refusals, took_ms, stood_ms: stood_ns / 1_000_000 })
    }

    /// Returns the process that has the lock of the store, 0 where none has.
    fn holder(&self) -> u32 {
        let asked = Flock { start: WRITE_LOCK, length: 1, ..Flock::from(FlockType::WriteLock) };
        let lock = fcntl_getlk(&self.shm, &asked).expect("an answer");
        lock.and_then(|lock| lock.pid).map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    fn attempt(&self, project: &str, session: &str, key: &str) -> rusqlite::Result<()> {
        let (content, at) = (format!("a text of {key}"), "2026-11-22 10:00:01");
        let hash = engramd::store::normalized_hash(&content);
        let payload = json!({"sync_id": key, "session_id": session, "type": "note", "title": key, "content": content,
            "project": project, "scope": "project", "revision_count": 1, "duplicate_count": 1, "created_at": at,
            "updated_at": at});
        self.conn.execute_batch("BEGIN")?;
        let same = self.conn.prepare_cached(SAME)?.exists(params![hash, project, key])?;
        assert!(!same, "{key} is new");
        self.conn
            .prepare_cached(
                "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, normalized_hash,
                     created_at, updated_at) VALUES (?1, ?2, 'note', ?1, ?3, ?4, 'project', ?5, ?6, ?6)",
            )?
            .execute(params![key, session, content, project, hash, at])?;
        self.conn
            .prepare_cached(
                "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project)
                 VALUES ('cloud', 'observation', ?1, 'upsert', ?2, 'local', ?3, ?4)",
            )?
            .execute(params![key, payload.to_string(), at, project])?;
        self.conn.prepare_cached(QUEUED)?.execute([self.conn.last_insert_rowid()])?;
        self.conn.execute_batch("COMMIT")
    }
}

/// Returns how long that thread of a process stood in line for a processor that did so longest, as far as the system says.
fn stood_ns(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let said = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    said.filter_map(|said| said.split(' ').nth(1)?.parse().ok()).max().unwrap_or(0)
}
