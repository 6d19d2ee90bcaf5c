//! The numbered, frozen versions of the file's format.
//!
//! A major that this program does not know is refused; a minor only adds, so a newer one is no obstacle. Each step runs
//! once, in one transaction; a file that has them all is opened without touching a table.

mod older;

use super::error::StoreError;
use super::{backup, digest, meta};
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use std::path::{Path, PathBuf};

/// The newest major this program knows.
const MAJOR: u32 = 1;

/// Steps in the order in which they were released: major, minor, statements.
const STEPS: &[(u32, u32, &[&str])] = &[
    (1, 0, &[include_str!("v1_shared.sql"), include_str!("v1_ours.sql")]),
    (1, 1, &[include_str!("v1_1_marks.sql")]),
    (1, 2, &[include_str!("v1_2_foreign.sql")]),
    (1, 3, &[include_str!("v1_3_reread.sql")]),
    (1, 4, &[include_str!("v1_4_served.sql")]),
    (1, 5, &[include_str!("v1_5_replaced.sql")]),
    (1, 6, &[include_str!("v1_6_waiting.sql")]),
    (1, 7, &[include_str!("v1_7_chunks.sql")]),
    (1, 9, &[include_str!("v1_9_digests.sql")]),
    (1, 10, &[include_str!("v1_10_lookups.sql")]),
    (1, 11, &[include_str!("v1_11_read.sql")]),
    (1, 12, &[include_str!("v1_12_places.sql")]),
    (1, 13, &[include_str!("v1_13_refused.sql")]),
    (1, 14, &[include_str!("v1_14_lookups.sql")]),
    (1, 15, &[include_str!("v1_15_set_aside.sql")]),
    (1, 16, &[include_str!("v1_16_told.sql")]),
];

/// Our indexes on shared tables.
const LOOKUPS: &str = include_str!("lookups.sql");

/// The version from which on what is known adds up to a digest.
const DIGESTS: (u32, u32) = (1, 9);

/// Where the version stands in `engramd_meta`, as `major.minor`.
const KEY: &str = "schema";

/// Refuses a file of a newer program, or of another one, by reading alone.
pub(super) fn check(conn: &Connection) -> Result<(), StoreError> {
    match found(conn)? {
        None => older::refuse_foreign(conn),
        found => is_current(found).map(drop),
    }
}

/// Brings a file forward to the newest version; does nothing to one that is there.
///
/// A store of an older age of the Go program is copied first; returns where to. All of the rest is one transaction.
pub(super) fn bring_forward(
    conn: &mut Connection,
    path: Option<&Path>,
    now: RowTime,
) -> Result<Option<PathBuf>, StoreError> {
    if is_current(found(conn)?)? {
        return make_lookups_again(conn).map(|()| None);
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again under the lock: another process may have done it meanwhile.
    let before = found(&tx)?;
    let older = before.is_none() && older::is_older(&tx)?;
    // Nobody else can write now, so the copy is what the rest of the transaction begins with.
    let copy = path.filter(|_| older).map(|path| backup::make(path, now)).transpose()?;
    if older {
        older::add_columns(&tx)?;
    }
    for &(major, minor, statements) in STEPS.iter().filter(|&&(major, minor, _)| before < Some((major, minor))) {
        for sql in statements {
            tx.execute_batch(sql)?;
        }
        meta::set(&tx, KEY, Some(&format!("{major}.{minor}")))?;
    }
    tx.execute_batch(LOOKUPS)?;
    if older {
        older::fill(&tx)?;
    }
    if before < Some(DIGESTS) {
        digest::fill(&tx)?;
    }
    tx.prepare_cached("INSERT OR IGNORE INTO sync_state (target_key, updated_at) VALUES ('cloud', ?1)")?
        .execute([now.to_string()])?;
    if meta::get(&tx, meta::DEVICE_ID)?.is_none() {
        meta::set(&tx, meta::DEVICE_ID, Some(&uuid::Uuid::new_v4().to_string()))?;
    }
    tx.commit()?;
    Ok(copy)
}

/// Makes our indexes on shared tables where the Go program made such a table anew, and so dropped them.
fn make_lookups_again(conn: &mut Connection) -> Result<(), StoreError> {
    let sql = "SELECT count(*) FROM sqlite_master
        WHERE type = 'index' AND name LIKE 'engramd^_%' ESCAPE '^' AND tbl_name NOT LIKE 'engramd^_%' ESCAPE '^'";
    let there: u32 = conn.query_row(sql, [], |row| row.get(0))?;
    if LOOKUPS.matches("CREATE INDEX").count() > there as usize {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(LOOKUPS)?;
        tx.commit()?;
    }
    Ok(())
}

/// Reads the version a file has; `None` where we were never here.
fn found(conn: &Connection) -> Result<Option<(u32, u32)>, StoreError> {
    let ours = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'engramd_meta'";
    if conn.query_row(ours, [], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let Some(text) = meta::get(conn, KEY)? else { return Ok(None) };
    let parsed = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.map(Some).ok_or_else(|| StoreError::Corrupt(format!("its format is called {text:?}")))
}

fn is_current(found: Option<(u32, u32)>) -> Result<bool, StoreError> {
    match found {
        Some((found, _)) if found > MAJOR => Err(StoreError::Newer { found, known: MAJOR }),
        found => Ok(found >= STEPS.last().map(|&(major, minor, _)| (major, minor))),
    }
}
