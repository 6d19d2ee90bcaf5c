//! What administrators decided about projects.

use crate::journal::Control;
use engram_proto::id::ProjectName;
use sqlx::{PgExecutor, Row};

/// Lists all of them.
pub(super) async fn list(database: impl PgExecutor<'_>) -> Result<Vec<Control>, sqlx::Error> {
    let sql = "SELECT project, sync_enabled, paused_reason, coalesce(updated_by, ''),
                      (extract(epoch FROM updated_at) * 1000000)::bigint
               FROM cloud_project_controls ORDER BY project";
    let mut all = Vec::new();
    for row in sqlx::query(sql).fetch_all(database).await? {
        // A name that somebody else wrote and that is none is nobody's project.
        let Ok(project) = ProjectName::parse(row.try_get(0)?) else { continue };
        all.push(Control {
            project,
            is_sync_enabled: row.try_get(1)?,
            reason: row.try_get(2)?,
            updated_by: row.try_get(3)?,
            updated_at_us: row.try_get(4)?,
        });
    }
    Ok(all)
}

/// Stores a decision.
pub(super) async fn set(database: impl PgExecutor<'_>, control: &Control) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO cloud_project_controls (project, sync_enabled, paused_reason, updated_by, updated_at)
               VALUES ($1, $2, $3, $4, timestamptz 'epoch' + $5::bigint * interval '1 microsecond')
               ON CONFLICT (project) DO UPDATE
               SET sync_enabled = excluded.sync_enabled, paused_reason = excluded.paused_reason,
                   updated_by = excluded.updated_by, updated_at = excluded.updated_at";
    sqlx::query(sql)
        .bind(control.project.as_str())
        .bind(control.is_sync_enabled)
        .bind(control.reason.as_deref())
        .bind(control.updated_by.as_str())
        .bind(control.updated_at_us)
        .execute(database)
        .await?;
    Ok(())
}
