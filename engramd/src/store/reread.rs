//! Projects that are read to the head again before anything of them is pushed (peers.md, "Autosync ran while we did not").

use super::error::StoreError;
use super::{Store, desired, lease};
use engram_proto::id::ProjectName;
use engramd_core::rows::Fence;
use rusqlite::{Connection, params};

/// Says of every project that is known here that it must be read again; a project that is enrolled later is read from
/// its beginning anyway.
pub(super) fn begin(conn: &Connection, mark: i64) -> Result<(), StoreError> {
    for project in desired::names(conn)? {
        conn.prepare_cached(
            "INSERT INTO engramd_reread (project, mark) VALUES (?1, ?2) ON CONFLICT (project) DO UPDATE SET mark = ?2",
        )?
        .execute(params![project.as_str(), mark])?;
    }
    Ok(())
}

/// Tells whether a project must still be read again.
pub(super) fn is_due(conn: &Connection, project: &ProjectName) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM engramd_reread WHERE project = ?1)")?;
    Ok(statement.query_row([project.as_str()], |row| row.get(0))?)
}

/// Lists all of them, each with its mark.
pub(super) fn all(conn: &Connection) -> Result<Vec<(ProjectName, i64)>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT project, mark FROM engramd_reread")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows = rows.collect::<Result<Vec<(String, i64)>, _>>()?;
    Ok(rows.into_iter().filter_map(|(name, mark)| Some((ProjectName::parse(&name).ok()?, mark))).collect())
}

impl Store {
    /// Records that a project was read to the head since this mark was set; a later mark stays.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn clear_reread(&mut self, fence: &Fence, project: &ProjectName, mark: i64) -> Result<(), StoreError> {
        self.write(|tx| {
            lease::check(tx, fence)?;
            tx.prepare_cached("DELETE FROM engramd_reread WHERE project = ?1 AND mark = ?2")?
                .execute(params![project.as_str(), mark])?;
            Ok(())
        })?;
        Ok(())
    }
}
