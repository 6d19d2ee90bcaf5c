//! Opening the file: who may read it, how durable it is, which version it has.

use super::error::StoreError;
use super::turn::{LOG_BYTES_MAX, Turns};
use super::{Store, chunks, counts, meta, schema};
use crate::config::paths;
use engram_proto::time::RowTime;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::Access;
use rustix::io::Errno;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept; the loop uses about half as many.
const STATEMENTS_MAX: usize = 160;
/// Pages kept in memory, in KiB, grown into as needed.
const CACHE_KIB: i64 = 8 * 1024;

impl Store {
    /// Opens the store, creating it (readable by its owner only) or bringing it forward first.
    ///
    /// Nothing is scanned: a file that is up to date costs a few pages, however large it is.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a file of a newer program, [`StoreError::Foreign`] for one of another program, neither
    /// of which is touched, and whatever the file system or SQLite says.
    pub fn open(path: &Path, now: RowTime) -> Result<Self, StoreError> {
        create_private(path).map_err(StoreError::File)?;
        check_permission(path)?;
        let conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_CREATE,
        )?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        schema::check(&conn)?;
        // Before the log is made: SQLite gives it the permissions of the file.
        tighten(path)?;
        switch_to_wal(&conn)?;
        Self::set_up(conn, Some(path), now)
    }

    /// Opens a store that lives as long as the value.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open_in_memory(now: RowTime) -> Result<Self, StoreError> {
        Self::over(Connection::open_in_memory()?, now)
    }

    /// Opens the store that a connection of the caller's reaches, wherever it lives.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub fn over(conn: Connection, now: RowTime) -> Result<Self, StoreError> {
        schema::check(&conn)?;
        Self::set_up(conn, None, now)
    }

    fn set_up(mut conn: Connection, path: Option<&Path>, now: RowTime) -> Result<Self, StoreError> {
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
        conn.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
        // What is deleted within a page is overwritten with zeroes, which costs no write more.
        conn.pragma_update(None, "secure_delete", "FAST")?;
        // Without this, statements are planned anew whenever a value is bound, which costs more than running them.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let backup = schema::bring_forward(&mut conn, path, now)?;
        // Whoever writes what is searched tells the index himself: fts.rs.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        let device_id =
            meta::get(&conn, meta::DEVICE_ID)?.ok_or_else(|| StoreError::Corrupt("it has no device id".to_owned()))?;
        let data_version = data_version(&conn)?;
        let (counts, turns) = (counts::Cache::default(), Turns::default());
        Ok(Self { conn, device_id, data_version, counts, turns, backup })
    }
}

/// Opens a second connection that only reads, for searches that must not wait for the writer.
///
/// # Errors
/// What SQLite says.
pub fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// Opens a connection that sees one state of the store; it may keep temporary tables, nothing else.
///
/// # Errors
/// What SQLite says.
pub(super) fn open_snapshots(path: &Path) -> Result<Connection, StoreError> {
    let conn = open_reader(path)?;
    // The file is open for reading alone; temporary tables are written elsewhere.
    conn.pragma_update(None, "query_only", false)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    chunks::Candidates::prepare(&conn)?;
    Ok(conn)
}

/// Asks for the number that changes when another connection commits.
pub(super) fn data_version(conn: &Connection) -> Result<i64, StoreError> {
    Ok(conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
}

/// Creates the file before SQLite does, so that at no instant others may read it.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

/// Asks whether this user may read and write the file: SQLite tells that no better than a damaged one. It is not opened for
/// that, for closing it would take away the locks that other connections of this process have.
fn check_permission(path: &Path) -> Result<(), StoreError> {
    match rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK) {
        Err(error @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => Err(StoreError::Denied(error.to_string())),
        _ => Ok(()),
    }
}

/// Takes every permission of others from the file, and from the log and its index, where they are ours: an older store, or
/// one of the Go program, may be open to others.
fn tighten(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt as _;
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let is_ours = |file: &OsString| {
            std::fs::symlink_metadata(file)
                .is_ok_and(|found| found.is_file() && found.uid() == rustix::process::geteuid().as_raw())
        };
        if is_ours(&file) && paths::tighten(Path::new(&file), paths::FILE_MODE).map_err(StoreError::File)? {
            tracing::warn!(path = %Path::new(&file).display(), "the store was open to others; it is 0600 now");
        }
    }
    Ok(())
}

/// Switches to WAL; on a cold start SQLite can answer BUSY at once, without waiting for the timeout.
fn switch_to_wal(conn: &Connection) -> Result<(), StoreError> {
    let rungs = engram_retry::ladder(Duration::from_millis(10), Duration::from_secs(1));
    engram_retry::blocking(
        &rungs,
        |error| matches!(error, StoreError::Busy),
        || {
            let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
            if mode == "wal" { Ok(()) } else { Err(StoreError::Invalid(format!("the journal mode stays {mode}"))) }
        },
    )
}
