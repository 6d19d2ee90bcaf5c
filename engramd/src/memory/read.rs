//! Reading memories and sessions; on whatever connection is at hand, so that no reader waits for a writer (L7).

use super::error::MemoryError;
use super::text;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{Observation, SessionRow};
use engram_proto::ipc::request::ListRequest;
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// How many are listed where no limit was given.
pub const LIMIT_DEFAULT: i64 = 20;

/// The columns that [`observation`] reads, of a table called `o`.
pub(super) const COLUMNS: &str = "o.id, o.sync_id, o.session_id, o.type, o.title, o.content, o.tool_name, o.project,
    o.scope, o.topic_key, o.revision_count, o.duplicate_count, o.last_seen_at, o.review_after, o.created_at,
    o.updated_at, o.deleted_at";

/// Reads a row of [`COLUMNS`].
pub(super) fn observation(row: &Row<'_>) -> rusqlite::Result<Observation> {
    Ok(Observation {
        id: row.get(0)?,
        sync_id: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
        session_id: row.get(2)?,
        kind: row.get(3)?,
        title: row.get(4)?,
        content: row.get(5)?,
        tool_name: row.get(6)?,
        project: row.get(7)?,
        scope: row.get(8)?,
        topic_key: row.get(9)?,
        revision_count: row.get(10)?,
        duplicate_count: row.get(11)?,
        last_seen_at: row.get(12)?,
        review_after: row.get(13)?,
        created_at: row.get(14)?,
        updated_at: row.get(15)?,
        deleted_at: row.get(16)?,
    })
}

/// Brings a limit as it was asked for into the form SQLite takes; 0 is the default.
pub(super) fn limit(asked: u64) -> i64 {
    if asked == 0 { LIMIT_DEFAULT } else { i64::try_from(asked).unwrap_or(i64::MAX) }
}

/// Returns one memory by its local number or sync id; a deleted one too.
///
/// # Errors
/// [`MemoryError::NotFound`] where there is none.
pub fn get(conn: &Connection, id: &str) -> Result<Observation, MemoryError> {
    find(conn, id)?.ok_or_else(|| missing(id))
}

/// Says that a memory is not there.
pub(super) fn missing(id: &str) -> MemoryError {
    MemoryError::not_found(format!("the memory {id:?}"), "engramctl list")
}

/// Looks a memory up. Digits alone are a local number first, then a sync id.
///
/// Of several rows with one sync id, the live one that was changed last answers.
pub(super) fn find(conn: &Connection, id: &str) -> Result<Option<Observation>, MemoryError> {
    let id = id.trim();
    if id.is_empty() {
        return Ok(None);
    }
    if id.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = id.parse::<i64>()
    {
        let sql = format!("SELECT {COLUMNS} FROM observations AS o WHERE o.id = ?1");
        let found = conn.prepare_cached(&sql)?.query_row([number], observation).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM observations AS o WHERE o.sync_id = ?1
         ORDER BY o.deleted_at IS NOT NULL, o.updated_at DESC, o.id DESC LIMIT 1"
    );
    Ok(conn.prepare_cached(&sql)?.query_row([id], observation).optional()?)
}

/// Lists memories, newest first: live ones by when they were made, deleted ones by when they were deleted.
///
/// # Errors
/// [`MemoryError::Invalid`] for a project that is none, [`MemoryError::Store`] where the store cannot be read.
pub fn list(conn: &Connection, request: &ListRequest) -> Result<Vec<Observation>, MemoryError> {
    let project = text::project_filter(request.project.as_deref())?;
    let project = project.as_ref().map(ProjectName::as_str);
    let kind = request.kind.as_deref().map(str::trim);
    let limit = limit(request.limit);
    let sql = list_sql(project.is_some(), kind.is_some(), request.deleted);
    let filters: Vec<&dyn ToSql> =
        [project.as_ref().map(|text| text as &dyn ToSql), kind.as_ref().map(|text| text as _)]
            .into_iter()
            .flatten()
            .chain([&limit as &dyn ToSql])
            .collect();
    let mut statement = conn.prepare_cached(&sql)?;
    let listed = statement.query_map(filters.as_slice(), observation)?.collect::<Result<_, _>>()?;
    Ok(listed)
}

/// Writes the query of [`list`], which reads in the order of an index as many rows as it answers, and those it passes.
fn list_sql(by_project: bool, by_kind: bool, deleted: bool) -> String {
    // A `+` keeps a condition from choosing the index.
    let (table, life, order) = match (deleted, by_project) {
        (true, true) => ("", "+o.project = ? AND o.deleted_at IS NOT NULL", "o.deleted_at"),
        (true, false) => ("", "o.deleted_at IS NOT NULL", "o.deleted_at"),
        (false, true) => {
            ("INDEXED BY engramd_observations_created", "o.project = ? AND o.deleted_at IS NULL", "o.created_at")
        }
        (false, false) => ("", "+o.deleted_at IS NULL", "o.created_at"),
    };
    let kind = if by_kind { "AND +o.type = ?" } else { "" };
    format!(
        "SELECT {COLUMNS} FROM observations AS o {table} WHERE {life} {kind}
         ORDER BY {order} DESC, o.id DESC LIMIT ?"
    )
}

/// Lists sessions, latest first.
///
/// # Errors
/// As [`list`].
pub fn session_list(conn: &Connection, project: Option<&str>, asked: u64) -> Result<Vec<SessionRow>, MemoryError> {
    let project = text::project_filter(project)?;
    let project = project.as_ref().map(ProjectName::as_str);
    let condition = if project.is_some() { "project = ?1" } else { "?1 IS NULL" };
    let sql =
        format!("SELECT {SESSION_COLUMNS} FROM sessions WHERE {condition} ORDER BY started_at DESC, id DESC LIMIT ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let listed = statement.query_map(params![project, limit(asked)], session)?.collect::<Result<_, _>>()?;
    Ok(listed)
}

/// The columns that [`session`] reads.
pub(super) const SESSION_COLUMNS: &str = "id, project, directory, started_at, ended_at, summary";

/// Reads a row of [`SESSION_COLUMNS`].
pub(super) fn session(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        id: row.get(0)?,
        project: row.get(1)?,
        directory: row.get(2)?,
        started_at: row.get(3)?,
        ended_at: row.get(4)?,
        summary: row.get(5)?,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::store::Store;
    use engram_proto::time::RowTime;

    #[test]
    fn cost_1_every_list_follows_an_index() {
        let store = Store::open_in_memory(RowTime::parse("2026-11-22 14:00:00").unwrap()).unwrap();
        for n in 0..8 {
            let (by_project, by_kind, deleted) = (n & 1 > 0, n & 2 > 0, n & 4 > 0);
            let index = match (deleted, by_project) {
                (true, _) => "idx_obs_deleted",
                (false, true) => "engramd_observations_created",
                (false, false) => "idx_obs_created",
            };
            let plan = super::super::plan(&store, &list_sql(by_project, by_kind, deleted));
            assert!(plan.contains(index), "{plan}");
            // Rows of one second are put in order; all of them never are.
            assert!(!plan.contains("B-TREE FOR ORDER BY"), "{plan}");
        }
    }
}
