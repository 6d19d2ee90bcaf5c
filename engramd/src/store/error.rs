//! What can go wrong in the store, and the reason code that people see for it.

use engram_proto::reason::ReasonCode;
use rusqlite::ErrorCode;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another connection held the lock for longer than the busy timeout.
    #[error("another process is writing to the store; try again")]
    Busy,
    /// There is no room on the disk.
    #[error("the disk that holds the store is full: free some space, then try again")]
    Full,
    /// SQLite says that the file is damaged.
    #[error("the store is damaged: {0}; restore a backup of the file, or move it away to start anew")]
    Corrupt(String),
    /// A newer program wrote the file.
    #[error("the store has format {found}, this engramd knows up to {known}; upgrade engramd")]
    Newer {
        /// The major in the file.
        found: u32,
        /// The newest major that this program knows.
        known: u32,
    },
    /// Another program made the file.
    #[error("it is an SQLite file of another program (its tables: {0}); move it away, or name another --data-dir")]
    Foreign(String),
    /// The copy that is made before a store is brought forward could not be made.
    #[error(
        "no backup could be made before bringing it forward: {0}; nothing was changed: make room, then start again"
    )]
    Backup(String),
    /// The fence that was presented is no longer the last one granted (OWN-2).
    #[error("the sync lease was lost to another process")]
    LeaseLost {
        /// Its number.
        fence: i64,
    },
    /// Nothing of that name is here.
    #[error("{0} was not found")]
    NotFound(String),
    /// What was asked cannot be done.
    #[error("{0}")]
    Invalid(String),
    /// The store's thread has ended.
    #[error("the store is closed")]
    Gone,
    /// The file could not be created or opened.
    #[error("the file cannot be created or opened: {0}; check who owns it and its directory")]
    File(#[source] std::io::Error),
    /// This user may not read or write the file, or nobody may.
    #[error(
        "no permission to read and write it ({0}): see with ls -l whose it and its directory are, then chown or chmod them"
    )]
    Denied(String),
    /// The disk failed.
    #[error("the disk that holds the store failed or refused ({0}): mend it, then try again")]
    Disk(#[source] rusqlite::Error),
    /// Anything else that SQLite says.
    #[error("SQLite: {0}")]
    Sqlite(#[source] rusqlite::Error),
}

impl StoreError {
    /// Returns the reason code of the errors that stop the whole store.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Busy => Some(ReasonCode::StoreBusy),
            Self::Full => Some(ReasonCode::StoreFull),
            Self::Corrupt(_) | Self::Disk(_) | Self::Denied(_) => Some(ReasonCode::StoreCorrupt),
            Self::Newer { .. } => Some(ReasonCode::StoreNewer),
            Self::LeaseLost { .. } => Some(ReasonCode::LeaseHeldElsewhere),
            Self::NotFound(_)
            | Self::Invalid(_)
            | Self::Gone
            | Self::File(_)
            | Self::Foreign(_)
            | Self::Backup(_)
            | Self::Sqlite(_) => None,
        }
    }

    /// Tells whether the disk failed.
    pub(super) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    /// Tells whether the values of one row caused it, so that its neighbours can go on without it (ISO-3).
    pub(super) fn is_the_rows_fault(&self) -> bool {
        match self {
            Self::Invalid(_) => true,
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => {
                matches!(error.code, ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
            }
            Self::Sqlite(error) => matches!(
                error,
                rusqlite::Error::FromSqlConversionFailure(..)
                    | rusqlite::Error::IntegralValueOutOfRange(..)
                    | rusqlite::Error::InvalidColumnType(..)
                    | rusqlite::Error::ToSqlConversionFailure(_)
                    | rusqlite::Error::Utf8Error(..)
                    | rusqlite::Error::NulError(_)
            ),
            _ => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::NoLargeFileSupport) => {
                Self::Disk(error)
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::Denied(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}
