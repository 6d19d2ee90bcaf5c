//! Which projects take part in sync; nothing is deleted when one leaves.

use super::Store;
use super::error::StoreError;
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;

impl Store {
    /// Enrolls a project; tells whether it was not. The first time, its history is due to be queued
    /// ([`backfill_slice`](Self::backfill_slice)).
    ///
    /// # Errors
    /// What SQLite says.
    pub fn enroll(&mut self, project: &ProjectName, now: RowTime) -> Result<bool, StoreError> {
        self.write(|tx| {
            let added = tx
                .prepare_cached("INSERT OR IGNORE INTO sync_enrolled_projects (project, enrolled_at) VALUES (?1, ?2)")?
                .execute([project.as_str(), &now.to_string()])?;
            super::backfill::begin(tx, project)?;
            Ok(added > 0)
        })
    }

    /// Takes a project out of sync; tells whether it was in. Journal, cursor and rows stay.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn unenroll(&mut self, project: &ProjectName) -> Result<bool, StoreError> {
        self.write(|tx| {
            let mut statement = tx.prepare_cached("DELETE FROM sync_enrolled_projects WHERE project = ?1")?;
            Ok(statement.execute([project.as_str()])? > 0)
        })
    }
}
