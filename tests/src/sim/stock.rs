//! Stores that are used again by the next run: to open one, and to prepare its statements, costs more than a short run.

use super::beside::Beside;
use super::device::{Device, row_time};
use crate::go::GoClient;
use engramd::store::Store;
use rusqlite::backup::Backup;
use rusqlite::types::Value;
use rusqlite::{Connection, ffi, params_from_iter};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

const NO_LIMIT: i64 = i64::MAX;

/// Room for the statements of the store and for those that look at it.
const STATEMENTS_MAX: usize = 400;

/// Stores of a few rows: what a rollback needs is copied page by page.
const PAGE_BYTES: i64 = 2_048;

/// Small pieces of memory that a connection keeps for itself: the size of the larger ones, and how many.
const LOOKASIDE: (c_int, c_int) = (1_200, 200);

/// Ordinary tables, those that others refer to last; a table of words is emptied by a command of its own.
const TABLES: &str = "SELECT name FROM sqlite_master
    WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' AND name NOT LIKE '%\\_fts\\_%' ESCAPE '\\'
    ORDER BY name = 'sessions', name";

thread_local! {
    /// An empty store; to copy it is cheaper than to make one.
    static EMPTY: Empty = Empty::new();
    /// Those that nobody uses now.
    static FREE: RefCell<Vec<Stocked>> = const { RefCell::new(Vec::new()) };
    /// Those among them that Go processes reach too.
    static FREE_SHARED: RefCell<Vec<Shared>> = const { RefCell::new(Vec::new()) };
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
    one.empty(device_id);
    one
}

/// Makes SQLite count no memory, for which every piece would take a lock, and keep more of it at hand. Where it was used
/// before, it stays as it is.
#[expect(unsafe_code, reason = "rusqlite has no call of its own for this")]
fn set_up_sqlite() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: both take plain numbers, and SQLite refuses them once it is in use.
        unsafe {
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0);
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_LOOKASIDE, LOOKASIDE.0, LOOKASIDE.1);
        }
    });
}

/// A store that Go processes reach by a connection of their own.
pub(super) struct Shared {
    /// Ours.
    pub(super) stocked: Stocked,
    /// Theirs.
    pub(super) go: GoClient,
}

/// Returns a store of the device with this id that Go processes reached in an earlier run, where there is any: empty now.
#[must_use]
pub(super) fn take_shared(device_id: &str) -> Option<Shared> {
    let free = FREE_SHARED.with_borrow_mut(|free| {
        let at = free.iter().position(|one| one.stocked.store.device_id() == device_id)?;
        Some(free.swap_remove(at))
    });
    let mut one = free?;
    one.stocked.empty(device_id);
    Some(one)
}

/// Takes such a store back.
pub(super) fn give_back_shared(one: Shared) {
    FREE_SHARED.with_borrow_mut(|free| free.push(one));
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

    /// Makes it what it was when it had just been made.
    fn empty(&mut self, device_id: &str) {
        self.fuse.mend();
        EMPTY.with(|empty| self.store.read(|conn| Ok(empty.again(conn, device_id)?))).expect("emptied");
        self.store.recount();
        self.trail.take();
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

impl Device {
    /// Gives the store to a later run.
    pub(super) fn give_back(self) {
        let stocked = Stocked { store: self.store, fuse: self.fuse, trail: self.trail };
        match self.beside {
            Some(beside) => give_back_shared(Shared { stocked, go: beside.into_go() }),
            None => give_back(stocked),
        }
    }

    /// Lets Go processes reach its store: a copy, for the one that is used again is nobody else's.
    pub(super) fn share(&mut self) {
        let (Stocked { store, fuse, trail }, beside) = match take_shared(self.store.device_id()) {
            Some(Shared { mut stocked, go }) => {
                // Nothing else was done to a store by now.
                for project in self.store.enrolled().expect("enrolled") {
                    stocked.store.enroll(&project, self.row_time(0)).expect("enrolled");
                }
                (stocked, Beside::again(go, self.row_time(0)))
            }
            None => {
                let (conn, beside) = Beside::of(&self.name, &self.store, self.skew_ms);
                (Stocked::over(conn), beside)
            }
        };
        let store = std::mem::replace(&mut self.store, store);
        let fuse = std::mem::replace(&mut self.fuse, fuse);
        let trail = std::mem::replace(&mut self.trail, trail);
        give_back(Stocked { store, fuse, trail });
        self.beside = Some(beside);
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
        set_up_sqlite();
        let conn = Connection::open_in_memory().expect("memory");
        conn.pragma_update(None, "page_size", PAGE_BYTES).expect("set");
        let store = Store::over(conn, row_time(0, 0)).expect("a store in memory");
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
