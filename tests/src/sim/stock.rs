//! Stores that are used again by the next run: to open one, and to prepare its statements, costs more than a short run.

use super::device::row_time;
use engramd::store::Store;
use rusqlite::backup::Backup;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NO_LIMIT: i64 = i64::MAX;

/// Room for the statements of the store and for those that look at it.
const STATEMENTS_MAX: usize = 400;

/// Ordinary tables, those that others refer to last; a table of words is emptied by a command of its own.
const TABLES: &str = "SELECT name FROM sqlite_master
    WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' AND name NOT LIKE '%\\_fts\\_%' ESCAPE '\\'
    ORDER BY name = 'sessions', name";

thread_local! {
    /// An empty store; to copy it is cheaper than to make one.
    static EMPTY: Empty = Empty::new();
    /// Those that nobody uses now.
    static FREE: RefCell<Vec<Stocked>> = const { RefCell::new(Vec::new()) };
}

/// Commits that a store may still make before its process dies; [`NO_LIMIT`] while it is not to.
#[derive(Clone)]
pub(super) struct Fuse(Arc<AtomicI64>);

impl Fuse {
    /// Lets so many commits through, and no other until [`mend`](Self::mend).
    pub(super) fn burn(&self, commits: i64) {
        self.0.store(commits, Ordering::Relaxed);
    }

    /// Lets every commit through.
    pub(super) fn mend(&self) {
        self.0.store(NO_LIMIT, Ordering::Relaxed);
    }

    /// Tells whether a commit was refused.
    #[must_use]
    pub(super) fn is_blown(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 0
    }

    fn refuses(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        if left != NO_LIMIT {
            self.0.store(left - 1, Ordering::Relaxed);
        }
        left <= 0
    }
}

/// What was written to a store since this was asked last, be it in vain.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Rows of the journal, or of what we know of them.
    pub(super) seqs: BTreeSet<i64>,
    /// Whether rows were set aside or released.
    pub(super) held: bool,
    /// Whether rows of memories were written.
    pub(super) memories: bool,
}

/// Writes down what a store's statements touch.
#[derive(Clone, Default)]
pub(super) struct Trail(Arc<Mutex<Touched>>);

impl Trail {
    /// Returns what was touched since this was asked last.
    pub(super) fn take(&self) -> Touched {
        std::mem::take(&mut self.0.lock().expect("nobody panicked"))
    }

    fn touch(&self, table: &str, row: i64) {
        let mut touched = self.0.lock().expect("nobody panicked");
        match table {
            "sync_mutations" | "engramd_journal" => drop(touched.seqs.insert(row)),
            "engramd_held" => touched.held = true,
            "observations" => touched.memories = true,
            _ => {}
        }
    }
}

/// A store in memory, and what belongs to its connection.
pub(super) struct Stocked {
    /// The store.
    pub(super) store: Store,
    /// Breaks its commits.
    pub(super) fuse: Fuse,
    /// Tells what is written.
    pub(super) trail: Trail,
}

/// Returns an empty store of the device with this id: as if it had just been made.
///
/// # Panics
/// Where SQLite cannot make one in memory.
#[must_use]
pub(super) fn take(device_id: &str) -> Stocked {
    let free = FREE.with_borrow_mut(|free| {
        let at = free.iter().position(|one| one.store.device_id() == device_id)?;
        Some(free.swap_remove(at))
    });
    let Some(mut one) = free else { return Stocked::make(device_id) };
    one.fuse.mend();
    EMPTY.with(|empty| one.store.read(|conn| Ok(empty.again(conn, device_id)?))).expect("emptied");
    one.store.recount();
    one.trail.take();
    one
}

/// Takes a store back, from a run that ended well.
pub(super) fn give_back(one: Stocked) {
    FREE.with_borrow_mut(|free| free.push(one));
}

impl Stocked {
    fn make(device_id: &str) -> Self {
        let mut conn = Connection::open_in_memory().expect("memory");
        let copied = EMPTY.with(|empty| {
            empty
                .store
                .read(|from| Ok(Backup::new(from, &mut conn)?.run_to_completion(i32::MAX, Duration::ZERO, None)?))
        });
        copied.expect("a copy");
        conn.execute(NAME, [device_id]).expect("named");
        Self::over(conn)
    }

    /// Takes a connection to a store that is made already.
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub(super) fn over(mut conn: Connection) -> Self {
        let fuse = Fuse(Arc::new(AtomicI64::new(NO_LIMIT)));
        let breaks = fuse.clone();
        conn.commit_hook(Some(move || breaks.refuses())).expect("a hook");
        let trail = Trail::default();
        let touches = trail.clone();
        conn.update_hook(Some(move |_, _: &str, table: &str, row| touches.touch(table, row))).expect("a hook");
        let store = Store::over(conn, row_time(0, 0)).expect("a store in memory");
        let set = store.read(|conn| {
            conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
            Ok(())
        });
        set.expect("set");
        Self { store, fuse, trail }
    }
}

const NAME: &str = "UPDATE engramd_meta SET value = ?1 WHERE key = 'device_id'";

/// What an empty store holds.
struct Empty {
    store: Store,
    deletes: Vec<String>,
    inserts: Vec<(String, Vec<Value>)>,
}

impl Empty {
    fn new() -> Self {
        let store = Store::open_in_memory(row_time(0, 0)).expect("a store in memory");
        let read = store.read(|conn| {
            let mut names = conn.prepare(TABLES)?;
            let names = names.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            let mut deletes: Vec<_> = names.iter().map(|name| format!("DELETE FROM {name}")).collect();
            for index in ["observations_fts", "prompts_fts"] {
                deletes.push(format!("INSERT INTO {index} ({index}) VALUES ('delete-all')"));
            }
            let mut inserts = Vec::new();
            for name in &names {
                let mut rows = conn.prepare(&format!("SELECT * FROM {name}"))?;
                let columns = rows.column_count();
                let places = vec!["?"; columns].join(", ");
                let values = |row: &rusqlite::Row<'_>| (0..columns).map(|at| row.get(at)).collect();
                for row in rows.query_map([], values)? {
                    inserts.push((format!("INSERT INTO {name} VALUES ({places})"), row?));
                }
            }
            Ok((deletes, inserts))
        });
        let (deletes, inserts) = read.expect("rows");
        Self { store, deletes, inserts }
    }

    /// Makes a store hold what an empty one does; tables and prepared statements stay.
    fn again(&self, conn: &Connection, device_id: &str) -> rusqlite::Result<()> {
        let transaction = conn.unchecked_transaction()?;
        for sql in &self.deletes {
            conn.prepare_cached(sql)?.execute([])?;
        }
        for (sql, row) in &self.inserts {
            conn.prepare_cached(sql)?.execute(params_from_iter(row))?;
        }
        conn.prepare_cached(NAME)?.execute([device_id])?;
        transaction.commit()
    }
}
