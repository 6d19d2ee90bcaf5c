//! What administrators decided about projects.

use crate::journal::Control;
use engram_proto::id::ProjectName;
use rusqlite::{Connection, OptionalExtension, params};

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Control>> {
    let name: String = row.get(0)?;
    // A name that somebody else wrote and that is none is nobody's project.
    let Ok(project) = ProjectName::parse(&name) else { return Ok(None) };
    Ok(Some(Control {
        project,
        is_sync_enabled: row.get(1)?,
        reason: row.get(2)?,
        updated_by: row.get(3)?,
        updated_at_us: row.get(4)?,
    }))
}

const COLUMNS: &str = "SELECT project, sync_enabled, paused_reason, updated_by, updated_at FROM cloud_project_controls";

/// Returns the control that stops a project's pushes, if there is one.
pub(super) fn paused(connection: &Connection, project: &ProjectName) -> rusqlite::Result<Option<Control>> {
    let sql = format!("{COLUMNS} WHERE project = ?1 AND sync_enabled = 0");
    let found = connection.prepare_cached(&sql)?.query_row([project.as_str()], read).optional()?;
    Ok(found.flatten())
}

/// Lists all of them.
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<Control>> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY project"))?;
    let all = statement.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(all.into_iter().flatten().collect())
}

/// Stores a decision.
pub(super) fn set(connection: &Connection, control: &Control) -> rusqlite::Result<()> {
    let sql = "INSERT INTO cloud_project_controls (project, sync_enabled, paused_reason, updated_by, updated_at)
               VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (project) DO UPDATE
               SET sync_enabled = ?2, paused_reason = ?3, updated_by = ?4, updated_at = ?5";
    connection.prepare_cached(sql)?.execute(params![
        control.project.as_str(),
        control.is_sync_enabled,
        control.reason,
        control.updated_by,
        control.updated_at_us
    ])?;
    Ok(())
}
