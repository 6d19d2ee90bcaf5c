//! What administrators decided about projects.

use crate::journal::{Audited, Control};
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

/// Lists what administrators did last, the newest first.
pub(super) fn audited(connection: &Connection, rows_max: u32) -> rusqlite::Result<Vec<Audited>> {
    let sql = "SELECT occurred_at, actor, action, project, reason FROM cloud_auth_audit_log ORDER BY id DESC LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([rows_max], |row| {
        Ok(Audited {
            occurred_at_us: row.get(0)?,
            actor: row.get(1)?,
            action: row.get(2)?,
            project: row.get(3)?,
            reason: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// Stores a decision; a trigger audits it in the same transaction.
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
