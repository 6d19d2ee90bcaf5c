//! What administrators decided about projects.

use crate::journal::{Audited, Control};
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

/// Lists what administrators did last, the newest first.
pub(super) async fn audited(database: impl PgExecutor<'_>, rows_max: u32) -> Result<Vec<Audited>, sqlx::Error> {
    let sql =
        "SELECT (extract(epoch FROM occurred_at) * 1000000)::bigint, coalesce(metadata ->> 'actor', actor_source),
                      action, project, coalesce(metadata ->> 'reason', reason_code)
               FROM cloud_auth_audit_log ORDER BY occurred_at DESC, id DESC LIMIT $1";
    let rows = sqlx::query(sql).bind(i64::from(rows_max)).fetch_all(database).await?;
    let one = |row: &sqlx::postgres::PgRow| {
        Ok(Audited {
            occurred_at_us: row.try_get(0)?,
            actor: row.try_get(1)?,
            action: row.try_get(2)?,
            project: row.try_get(3)?,
            reason: row.try_get(4)?,
        })
    };
    rows.iter().map(one).collect()
}

/// Stores a decision, and in the same statement that it was made.
pub(super) async fn set(database: impl PgExecutor<'_>, control: &Control) -> Result<(), sqlx::Error> {
    let sql = "WITH decided AS (
                   INSERT INTO cloud_project_controls (project, sync_enabled, paused_reason, updated_by, updated_at)
                   VALUES ($1, $2, $3, $4, timestamptz 'epoch' + $5::bigint * interval '1 microsecond')
                   ON CONFLICT (project) DO UPDATE
                   SET sync_enabled = excluded.sync_enabled, paused_reason = excluded.paused_reason,
                       updated_by = excluded.updated_by, updated_at = excluded.updated_at
                   RETURNING project, sync_enabled, paused_reason, updated_by, updated_at)
               INSERT INTO cloud_auth_audit_log (occurred_at, actor_source, project, action, outcome, metadata)
               SELECT updated_at, 'cli', project, CASE WHEN sync_enabled THEN 'project.resume' ELSE 'project.pause' END,
                      'success', jsonb_strip_nulls(jsonb_build_object('actor', updated_by, 'reason', paused_reason))
               FROM decided";
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
