//! Pull cursors: one per project and cloud (CUR-3).

use super::Store;
use super::error::StoreError;
use engram_proto::id::ProjectName;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

pub(super) fn get(conn: &Connection, project: &ProjectName, cloud_id: &str) -> Result<u64, StoreError> {
    let mut statement = conn.prepare_cached("SELECT seq FROM engramd_cursor WHERE project = ?1 AND cloud_id = ?2")?;
    let seq: Option<i64> = statement.query_row([project.as_str(), cloud_id], |row| row.get(0)).optional()?;
    Ok(seq.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0))
}

/// Returns how far a project was ever read from this cloud: a cursor that was taken back makes nothing news again.
pub(super) fn read_to(conn: &Connection, project: &ProjectName, cloud_id: &str) -> Result<u64, StoreError> {
    let mut statement = conn.prepare_cached("SELECT seq FROM engramd_read WHERE project = ?1 AND cloud_id = ?2")?;
    let seq: Option<i64> = statement.query_row([project.as_str(), cloud_id], |row| row.get(0)).optional()?;
    Ok(seq.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0))
}

/// Moves a cursor forward, in the transaction that applies every row up to it (CUR-1).
///
/// One that was taken back behind `since`, where those rows begin, stays there: what lies between is read again.
pub(super) fn advance(
    conn: &Connection,
    project: &ProjectName,
    cloud_id: &str,
    since: u64,
    seq: u64,
) -> Result<(), StoreError> {
    let end = i64::try_from(seq).map_err(|_| StoreError::Invalid(format!("{seq} is no number of a row")))?;
    conn.prepare_cached(
        "INSERT INTO engramd_read (project, cloud_id, seq) VALUES (?1, ?2, ?3)
         ON CONFLICT (project, cloud_id) DO UPDATE SET seq = ?3 WHERE seq < ?3",
    )?
    .execute(params![project.as_str(), cloud_id, end])?;
    if get(conn, project, cloud_id)? < since {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT INTO engramd_cursor (project, cloud_id, seq) VALUES (?1, ?2, ?3)
         ON CONFLICT (project, cloud_id) DO UPDATE SET seq = ?3 WHERE seq < ?3",
    )?
    .execute(params![project.as_str(), cloud_id, end])?;
    Ok(())
}

/// Takes every cursor, of every cloud, back to a number, unless it is there or before.
pub(super) fn take_back(conn: &Connection, seq: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE engramd_cursor SET seq = ?1 WHERE seq > ?1")?.execute([seq])?;
    Ok(())
}

/// Forgets where a project, or every one, was pulled to from a cloud: it is read from the start.
pub(super) fn forget(conn: &Connection, cloud_id: &str, project: Option<&ProjectName>) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM engramd_cursor WHERE cloud_id = ?1 AND project = coalesce(?2, project)")?
        .execute(params![cloud_id, project.map(ProjectName::as_str)])?;
    Ok(())
}

impl Store {
    /// Returns where each of these projects was pulled to from this cloud; 0 at the beginning.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn cursors(&self, cloud_id: &str, projects: &[ProjectName]) -> Result<BTreeMap<ProjectName, u64>, StoreError> {
        projects.iter().map(|project| Ok((project.clone(), get(&self.conn, project, cloud_id)?))).collect()
    }
}
