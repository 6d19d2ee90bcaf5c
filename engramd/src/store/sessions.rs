//! What memory needs of sessions beyond their row: one id may occur in several projects, and a stand-in gives way.

use super::Transaction;
use super::apply::sessions;
use super::error::StoreError;
use engram_proto::id::ProjectName;

/// Makes the row show what this device holds of a session, after its version of this project was journalled.
///
/// Writes the row where there is none, takes the place of a stand-in, and leaves another project's version alone that
/// came in first.
///
/// # Errors
/// What SQLite says.
pub fn show(tx: &Transaction<'_>, project: &ProjectName, id: &str) -> Result<(), StoreError> {
    sessions::show_own(tx, project, id)
}
