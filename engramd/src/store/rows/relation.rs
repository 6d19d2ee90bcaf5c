//! Rows of `memory_relations`, and beside them the project and the status that the table has no room for.

use super::super::error::StoreError;
use super::{filled, time_at};
use engram_proto::id::ProjectName;

use engram_proto::merge::{JUDGED, ORPHANED, RelationBody, RelationVersion};
use engram_proto::time::row_text;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// One row.
#[derive(Debug)]
pub(in super::super) struct Found {
    id: i64,
    orphaned: bool,
    /// What it says, with the status it had before it was orphaned.
    pub(in super::super) version: RelationVersion,
}

/// Looks a relation up, in whatever project it is.
pub(in super::super) fn find(conn: &Connection, key: &str) -> Result<Option<Found>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT r.id, r.source_id, r.target_id, r.relation, r.reason, r.evidence, r.confidence, r.judgment_status,
             r.marked_by_actor, r.marked_by_kind, r.marked_by_model, r.session_id, r.created_at, r.updated_at, o.status
         FROM memory_relations AS r LEFT JOIN engramd_relation AS o ON o.sync_id = r.sync_id WHERE r.sync_id = ?1",
    )?;
    let mut rows = statement.query([key])?;
    rows.next()?.map(found_of).transpose()
}

fn found_of(row: &Row<'_>) -> Result<Found, StoreError> {
    let shown: String = row.get(7)?;
    let orphaned = shown == ORPHANED;
    // Where nobody kept the status that it had, it was judged.
    let judgment_status = if orphaned { filled(row, 14)?.unwrap_or_else(|| JUDGED.to_owned()) } else { shown };
    let body = RelationBody {
        relation: row.get(3)?,
        reason: filled(row, 4)?,
        evidence: filled(row, 5)?,
        confidence: row.get(6)?,
        judgment_status,
        marked_by_actor: filled(row, 8)?.unwrap_or_default(),
        marked_by_kind: filled(row, 9)?.unwrap_or_default(),
        marked_by_model: filled(row, 10)?,
        session_id: filled(row, 11)?,
    };
    let ends = (filled(row, 1)?.unwrap_or_default(), filled(row, 2)?.unwrap_or_default());
    let (created_at, updated_at) = (time_at(row, 12)?, time_at(row, 13)?);
    let version = RelationVersion::new(ends.0, ends.1, body, updated_at, created_at, String::new());
    Ok(Found { id: row.get(0)?, orphaned, version })
}

/// Tells in which project a relation's row is: as was kept, else where it was journalled, else that of its source.
pub(in super::super) fn project_of(conn: &Connection, key: &str) -> Result<Option<ProjectName>, StoreError> {
    let sources = [
        "SELECT project FROM engramd_relation WHERE sync_id = ?1",
        "SELECT project FROM sync_mutations WHERE target_key = 'cloud' AND entity = 'relation' AND entity_key = ?1
         AND project <> '' LIMIT 1",
        "SELECT o.project FROM memory_relations AS r JOIN observations AS o ON o.sync_id = r.source_id
         WHERE r.sync_id = ?1 AND o.project <> '' LIMIT 1",
    ];
    for sql in sources {
        let name: Option<String> = conn.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
        if let Some(project) = name.and_then(|name| ProjectName::parse(&name).ok()) {
            return Ok(Some(project));
        }
    }
    Ok(None)
}

/// Returns the other project in which a relation's one row is.
pub(in super::super) fn elsewhere(
    conn: &Connection,
    project: &ProjectName,
    key: &str,
) -> Result<Option<ProjectName>, StoreError> {
    if find(conn, key)?.is_none() {
        return Ok(None);
    }
    Ok(project_of(conn, key)?.filter(|other| other != project))
}

/// Says why a relation cannot be here twice.
pub(in super::super) fn no_room(other: &ProjectName) -> String {
    format!("this relation is here already, in project {other}; there is room for one")
}

/// Makes the table show a version; tells whether anything had to change.
pub(in super::super) fn write(
    conn: &Connection,
    (project, key): (&ProjectName, &str),
    found: Option<&Found>,
    version: &RelationVersion,
    orphaned: bool,
) -> Result<bool, StoreError> {
    let Some(body) = &version.body.0 else { return Ok(false) };
    let same = found.is_some_and(|found| {
        let (row, new) = (&found.version, version);
        (row.key.time, row.key.hash, row.created_at, found.orphaned)
            == (new.key.time, new.key.hash, new.created_at, orphaned)
    });
    if same {
        return Ok(false);
    }
    let status = if orphaned { ORPHANED } else { &body.judgment_status };
    conn.prepare_cached(
        "INSERT INTO memory_relations (id, sync_id, source_id, target_id, relation, reason, evidence, confidence,
             judgment_status, marked_by_actor, marked_by_kind, marked_by_model, session_id, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (sync_id) DO UPDATE SET source_id = ?3, target_id = ?4, relation = ?5, reason = ?6, evidence = ?7,
             confidence = ?8, judgment_status = ?9, marked_by_actor = ?10, marked_by_kind = ?11,
             marked_by_model = ?12, session_id = ?13, created_at = ?14, updated_at = ?15",
    )?
    .execute(params![
        found.map(|found| found.id),
        key,
        version.source_id,
        version.target_id,
        body.relation,
        body.reason,
        body.evidence,
        body.confidence,
        status,
        body.marked_by_actor,
        body.marked_by_kind,
        body.marked_by_model,
        body.session_id,
        row_text(version.created_at),
        row_text(version.key.time),
    ])?;
    keep_beside(conn, project, key, orphaned.then_some(body.judgment_status.as_str()))?;
    Ok(true)
}

/// Keeps what the table has no column for.
fn keep_beside(conn: &Connection, project: &ProjectName, key: &str, status: Option<&str>) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO engramd_relation (sync_id, project, status) VALUES (?1, ?2, ?3)
         ON CONFLICT (sync_id) DO UPDATE SET project = ?2, status = ?3",
    )?
    .execute(params![key, project.as_str(), status])?;
    Ok(())
}

/// Names the relations that have an observation as an end.
pub(in super::super) fn of_end(conn: &Connection, sync_id: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT sync_id FROM memory_relations WHERE source_id = ?1
         UNION SELECT sync_id FROM memory_relations WHERE target_id = ?1",
    )?;
    Ok(statement.query_map([sync_id], |row| row.get(0))?.collect::<Result<_, _>>()?)
}
