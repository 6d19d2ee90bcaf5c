//! Why a memory command did not work, and what to do about it.

use crate::store::StoreError;
use engram_proto::ipc::reply::Failure;
use engram_proto::reason::Exit;

/// Why a memory command did not work; where it writes, it left nothing behind (DUR-1).
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The thing that was named is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// Names it.
        what: String,
        /// One command.
        hint: String,
    },
    /// A field cannot be taken as it is.
    #[error("the {field} cannot be used: {reason}")]
    Invalid {
        /// Which one.
        field: &'static str,
        /// Why.
        reason: String,
        /// One command, or what to give instead.
        hint: String,
    },
    /// The store said no.
    #[error("the store could not do it: {0}")]
    Store(#[source] StoreError),
}

impl MemoryError {
    pub(super) fn invalid(field: &'static str, reason: &str, hint: &str) -> Self {
        Self::Invalid { field, reason: reason.to_owned(), hint: hint.to_owned() }
    }

    pub(super) fn not_found(what: String, hint: &str) -> Self {
        Self::NotFound { what, hint: hint.to_owned() }
    }
}
