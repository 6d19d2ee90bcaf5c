//! Rows of `sessions`, which have room for one project's version of each id.

use super::super::error::StoreError;
use super::{filled, time_at};
use engram_proto::id::ProjectName;
use engram_proto::merge::{EndRegister, SessionVersion, StartRegister};
use engram_proto::time::row_text;
use rusqlite::{Connection, params};

/// One row.
#[derive(Debug)]
pub(in super::super) struct Found {
    /// The project it shows, as it stands in the row.
    pub(in super::super) project: String,
    /// Whether nobody told us of it.
    pub(in super::super) stand_in: bool,
    /// What it says.
    pub(in super::super) version: SessionVersion,
}

/// Looks a session up, in whatever project it is.
pub(in super::super) fn find(conn: &Connection, id: &str) -> Result<Option<Found>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT project, directory, started_at, ended_at, summary,
             EXISTS (SELECT 1 FROM engramd_standin AS o WHERE o.id = s.id)
         FROM sessions AS s WHERE id = ?1",
    )?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let start = StartRegister::new(filled(row, 1)?.as_deref(), time_at(row, 2)?, String::new());
    let end = EndRegister::new(filled(row, 4)?.as_deref(), time_at(row, 3)?);
    let version = SessionVersion::new(start, end);
    Ok(Some(Found { project: row.get(0)?, stand_in: row.get(5)?, version }))
}

/// Tells whether there is a row, in whatever project.
pub(in super::super) fn exists(conn: &Connection, id: &str) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ?1)")?;
    Ok(statement.query_row([id], |row| row.get(0))?)
}

/// Makes the row show a version of a project; tells whether anything had to change.
pub(in super::super) fn write(
    conn: &Connection,
    project: &ProjectName,
    id: &str,
    found: Option<&Found>,
    version: &SessionVersion,
) -> Result<bool, StoreError> {
    let same = found.is_some_and(|found| {
        let (row, new) = (&found.version, version);
        found.project == project.as_str() && row.start.hash == new.start.hash && row.end.hash == new.end.hash
    });
    if same {
        return Ok(false);
    }
    conn.prepare_cached(
        "INSERT INTO sessions (id, project, directory, started_at, ended_at, summary) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET project = ?2, directory = ?3, started_at = ?4, ended_at = ?5, summary = ?6",
    )?
    .execute(params![
        id,
        project.as_str(),
        version.directory(),
        row_text(version.start.started_at),
        version.end.ended_at.map(|at| at.to_string()),
        version.end.summary,
    ])?;
    Ok(true)
}

/// Removes the row.
pub(in super::super) fn remove(conn: &Connection, id: &str) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Tells whether a memory, deleted softly or not, or a prompt of any project needs the row.
pub(in super::super) fn is_needed(conn: &Connection, id: &str) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM observations WHERE session_id = ?1)
             OR EXISTS (SELECT 1 FROM user_prompts WHERE session_id = ?1)",
    )?;
    Ok(statement.query_row([id], |row| row.get(0))?)
}
