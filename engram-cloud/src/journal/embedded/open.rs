//! Opening the file: permissions, pragmas, migrations, identity.

use super::digests;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Marks the file as ours: `ECLD`.
const APPLICATION_ID: i64 = 0x4543_4c44;

/// Frozen, in order; `user_version` counts those that were applied.
const MIGRATIONS: [&str; 8] = [
    include_str!("../../../migrations/embedded/0001_journal.sql"),
    include_str!("../../../migrations/embedded/0002_children.sql"),
    include_str!("../../../migrations/embedded/0003_versions.sql"),
    include_str!("../../../migrations/embedded/0004_waiting.sql"),
    include_str!("../../../migrations/embedded/0005_digests.sql"),
    include_str!("../../../migrations/embedded/0006_chunks.sql"),
    include_str!("../../../migrations/embedded/0007_audit.sql"),
    include_str!("../../../migrations/embedded/0008_compaction.sql"),
];

/// A connection is used by one thread at a time, so SQLite need not lock it at every call.
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `SQLite` refused.
    #[error("the store does not open: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Somebody else's database.
    #[error("{path} is not a store of engram-cloud; give another --data-dir")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A store of a later release.
    #[error("{path} was written by a newer engram-cloud (store version {found}, this one knows {known}); upgrade it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: usize,
        /// What this program knows.
        known: usize,
    },
    /// Nothing there.
    #[error("there is no store at {path}; start engram-cloud serve once, or give --data-dir DIR")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A store that its server has to migrate first.
    #[error("{path} is of an older version (store version {found}, this program's {known}); start engram-cloud serve")]
    Older {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: usize,
        /// What this program knows.
        known: usize,
    },
}

/// Opens the connection that writes, and brings the store to this program's version.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    // Made by us, so that it and the files SQLite puts beside it are the owner's alone.
    let made = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    made.map_err(|source| OpenError::Io { path: path.to_path_buf(), source })?;
    let mut connection = Connection::open_with_flags(path, FLAGS | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found = version(&connection, path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What was answered as accepted survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Pages that many commits touch are copied into the file once per 16 MB instead of once per 4.
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    // A content that is compacted is overwritten, not only forgotten.
    connection.pragma_update(None, "secure_delete", true)?;
    settle(&connection)?;
    migrate(&mut connection, found)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, FLAGS | OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    settle(&connection)?;
    Ok(connection)
}

/// Opens a store beside the process that serves it.
pub(super) fn open_beside(path: PathBuf) -> Result<Connection, OpenError> {
    if !path.is_file() {
        return Err(OpenError::Missing { path });
    }
    let connection = Connection::open_with_flags(&path, FLAGS | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found = version(&connection, &path)?;
    if found < MIGRATIONS.len() {
        return Err(OpenError::Older { path, found, known: MIGRATIONS.len() });
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    settle(&connection)?;
    Ok(connection)
}

fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    // Waiting is ours (`patiently`), with a ladder; SQLite's own would hold the thread for one long time.
    connection.busy_timeout(std::time::Duration::ZERO)?;
    // Without this a statement that names a column of a partial index is planned anew at every call, because what is
    // bound might match the index: three quarters of the time of a push.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -16_384)
}

fn version(connection: &Connection, path: &Path) -> Result<usize, OpenError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = application == 0 && version == 0 && tables == 0;
    if !is_new && application != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_path_buf() });
    }
    let found = usize::try_from(version).unwrap_or(usize::MAX);
    if found > MIGRATIONS.len() {
        return Err(OpenError::Newer { path: path.to_path_buf(), found, known: MIGRATIONS.len() });
    }
    Ok(found)
}

fn migrate(connection: &mut Connection, found: usize) -> rusqlite::Result<()> {
    for (number, sql) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        if number + 1 == MIGRATIONS.len() {
            digests::fill(&transaction)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", i64::try_from(number + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}

/// Returns the uuid of the data set, made on the first start (CUR-3).
pub(super) fn cloud_id(connection: &Connection) -> rusqlite::Result<String> {
    let read = || {
        let sql = "SELECT value FROM cloud_meta WHERE name = 'cloud_id'";
        connection.query_row(sql, [], |row| row.get(0)).optional()
    };
    if let Some(id) = read()? {
        return Ok(id);
    }
    let id = uuid::Uuid::new_v4().to_string();
    connection.execute("INSERT INTO cloud_meta (name, value) VALUES ('cloud_id', ?1)", [&id])?;
    Ok(id)
}
