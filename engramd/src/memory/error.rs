//! Why a memory command did not work, and what to do about it.

use crate::store::{Store, StoreError, Transaction};
use engram_proto::ipc::reply::Failure;
use engram_proto::reason::{Exit, ReasonCode};
use engram_proto::reason_catalog;

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

impl From<StoreError> for MemoryError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for MemoryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl MemoryError {
    /// Says it in the words of the socket.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (reason_code, hint) = match self {
            Self::NotFound { hint, .. } => ("not_found".to_owned(), Some(hint.clone())),
            Self::Invalid { hint, .. } => ("invalid_argument".to_owned(), Some(hint.clone())),
            Self::Store(error) => {
                let code = error.reason().unwrap_or(ReasonCode::InternalError);
                (code.to_string(), reason_catalog::entry(code).hint.map(str::to_owned))
            }
        };
        Failure { exit: Exit::Failed, reason_code, message: self.to_string(), hint }
    }

    /// Carries a refusal out of a transaction, which is rolled back on the way.
    pub(super) fn write<R>(store: &mut Store, f: impl FnOnce(&Transaction<'_>) -> Result<R, Self>) -> Result<R, Self> {
        Self::carried(|refusal| store.write(|tx| f(tx).map_err(|error| error.aside(refusal))))
    }

    /// Runs what ends with a refusal that was laid [`aside`](Self::aside).
    pub(super) fn carried<R>(run: impl FnOnce(&mut Option<Self>) -> Result<R, StoreError>) -> Result<R, Self> {
        let mut refusal = None;
        let done = run(&mut refusal);
        done.map_err(|error| refusal.unwrap_or(Self::Store(error)))
    }

    /// Lays a refusal aside and returns the error that rolls the transaction back.
    pub(super) fn aside(self, refusal: &mut Option<Self>) -> StoreError {
        match self {
            Self::Store(error) => error,
            error => {
                *refusal = Some(error);
                StoreError::Invalid(String::new())
            }
        }
    }

    pub(super) fn invalid(field: &'static str, reason: &str, hint: &str) -> Self {
        Self::Invalid { field, reason: reason.to_owned(), hint: hint.to_owned() }
    }

    pub(super) fn not_found(what: String, hint: &str) -> Self {
        Self::NotFound { what, hint: hint.to_owned() }
    }
}
