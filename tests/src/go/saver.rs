//! A Go process that saves, as far as the store's lock is concerned: in one transaction it reads, then writes, and where
//! SQLite refuses it, it tries three times more (D66).

use rusqlite::{Connection, ErrorCode, params};
use serde_json::json;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

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

/// On a machine with so many processes per core that want to run, each stands still for longer than all attempts take, in
/// the middle of a transaction too: nobody can tell whose fault it is that none succeeded.
const BUSY: f64 = 1.5;

/// What became of a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is there.
    Done,
    /// Its user sees an error.
    Failed,
    /// So does he, on a machine that is too busy to tell.
    Late,
}

/// One such process.
pub struct Saver {
    conn: Connection,
    /// How many attempts were refused.
    pub refused: u64,
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
        Self { conn, refused: 0 }
    }

    /// Saves a memory in a session that is there. Whoever has the lock of the file `turn` is alone among those who share it.
    ///
    /// # Panics
    /// Where SQLite refuses for another reason than a lock, and where the file cannot be locked.
    pub fn save(&mut self, project: &str, session: &str, key: &str, turn: &File) -> Saved {
        let mut delays = DELAYS_MS.iter();
        loop {
            turn.lock().expect("a turn");
            let result = self.attempt(project, session, key);
            if result.is_err() && !self.conn.is_autocommit() {
                self.conn.execute_batch("ROLLBACK").expect("rolled back");
            }
            turn.unlock().expect("the end of a turn");
            let Err(error) = result else { return Saved::Done };
            let is_lock =
                matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
            assert!(is_lock, "{error}");
            self.refused += 1;
            let Some(&delay_ms) = delays.next() else {
                return if is_machine_busy() { Saved::Late } else { Saved::Failed };
            };
            std::thread::sleep(Duration::from_millis(delay_ms));
        }
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

/// Tells whether more processes want to run than cores can serve, as far as the system says.
#[expect(clippy::cast_precision_loss, reason = "a number of cores")]
fn is_machine_busy() -> bool {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    load / cores as f64 > BUSY
}
