//! The list of versions that lost (CONV-6): reading it, and taking one off it by writing it again.

use super::error::StoreError;
use super::journal::{self, LocalWrite};
use super::{Store, versions};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::ipc::conflict::{ConflictDetail, ConflictRow, CurrentVersion};
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde_json::Value;

/// A lost version's line has no more characters.
const TITLE_CHARS_MAX: usize = 200;

/// A version that lost, and the one that this device holds instead.
#[derive(Debug)]
pub struct Lost {
    /// Its project.
    pub project: ProjectName,
    /// Session id or sync id.
    pub key: String,
    /// What it says.
    pub version: Version,
    /// The join of everything here, the row included.
    pub current: Option<Version>,
}

const COLUMNS: &str = "id, project, entity, entity_key, op, at, payload";

fn row_of(row: &Row<'_>) -> Result<(ConflictRow, String), StoreError> {
    let (entity, at): (String, String) = (row.get(2)?, row.get(5)?);
    let payload: String = row.get(6)?;
    let line = ConflictRow {
        id: row.get(0)?,
        project: row.get(1)?,
        title: title(&entity, &payload),
        entity,
        entity_key: row.get(3)?,
        op: row.get(4)?,
        since: RowTime::parse(&at).map_or(at, RowTime::rfc3339),
    };
    Ok((line, payload))
}

/// Lists what lost and was not restored, the oldest first.
///
/// # Errors
/// What SQLite says.
pub fn conflicts(conn: &Connection) -> Result<Vec<ConflictRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM engramd_conflict ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut lost = Vec::new();
    while let Some(row) = rows.next()? {
        lost.push(row_of(row)?.0);
    }
    Ok(lost)
}

/// Shows one lost version, and what stands in its place.
///
/// # Errors
/// What SQLite says.
pub fn conflict(conn: &Connection, id: i64) -> Result<Option<ConflictDetail>, StoreError> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM engramd_conflict WHERE id = ?1"))?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (row, payload) = row_of(row)?;
    let current = find(conn, id)?.and_then(|lost| Some((lost.current?, lost.project, lost.key)));
    let current = current.and_then(|(version, project, key)| version.write(&project, &key));
    let current = current.map(|(op, payload)| CurrentVersion {
        op: op.as_str().to_owned(),
        payload: Value::Object(payload).to_string(),
    });
    Ok(Some(ConflictDetail { row, payload, current }))
}

fn find(conn: &Connection, id: i64) -> Result<Option<Lost>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT project, entity, entity_key, op, payload FROM engramd_conflict WHERE id = ?1")?;
    let row = statement.query_row([id], |row| <(String, String, String, String, String)>::try_from(row)).optional()?;
    let Some((project, entity, key, op, payload)) = row else { return Ok(None) };
    let unreadable = || StoreError::Corrupt(format!("conflict {id} cannot be read"));
    let (Ok(project), Some(entity)) = (ProjectName::parse(&project), Entity::parse(&entity)) else {
        return Err(unreadable());
    };
    let version = versions::read(entity, &key, &op, &payload).ok_or_else(unreadable)?;
    let shown = versions::row_version(conn, &project, entity, &key)?;
    let current = match (versions::local(conn, &project, entity, &key)?, shown) {
        (Some(local), Some(shown)) => Some(merge(local, shown)),
        (local, shown) => local.or(shown),
    };
    Ok(Some(Lost { project, key, version, current }))
}

/// Says what a payload is about, in a line.
fn title(entity: &str, payload: &str) -> String {
    let fields: Value = serde_json::from_str(payload).unwrap_or_default();
    let text = |field: &str| fields[field].as_str().unwrap_or_default();
    let words = match entity {
        "observation" => text("title").to_owned(),
        "prompt" => text("content").to_owned(),
        "relation" => format!("{} {} {}", text("source_id"), text("relation"), text("target_id")),
        _ if text("summary").is_empty() => text("directory").to_owned(),
        _ => text("summary").to_owned(),
    };
    words.lines().next().unwrap_or_default().chars().take(TITLE_CHARS_MAX).collect()
}

impl Store {
    /// Takes one lost version off the list, writing what `edit` makes of it: journalled with the version it was made
    /// from as base, and shown, in one transaction (DUR-1). `None` from `edit` writes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a number that is not in the list, those of `edit`, and what SQLite says.
    pub fn restore_conflict(
        &mut self,
        id: i64,
        now: RowTime,
        edit: impl FnOnce(&Connection, &Lost) -> Result<Option<Version>, StoreError>,
    ) -> Result<Lost, StoreError> {
        let (lost, _) = self.applying(true, now, |applying| {
            let conn = applying.conn();
            let lost = find(conn, id)?.ok_or_else(|| StoreError::NotFound(format!("conflict {id}")))?;
            if let Some(version) = edit(conn, &lost)? {
                let base = lost.current.as_ref().map(Version::hash);
                append(conn, &lost, &version, base, now)?;
                applying.place_again(&lost.project, version.entity(), &lost.key)?;
            }
            conn.prepare_cached("DELETE FROM engramd_conflict WHERE id = ?1")?.execute([id])?;
            Ok(lost)
        })?;
        Ok(lost)
    }
}

fn append(
    conn: &Connection,
    lost: &Lost,
    version: &Version,
    base: Option<Hash>,
    at: RowTime,
) -> Result<(), StoreError> {
    let Some((op, payload)) = version.write(&lost.project, &lost.key) else {
        unreachable!("what was just made has its text")
    };
    let (project, entity, key) = (&lost.project, version.entity(), lost.key.as_str());
    journal::append_on(conn, &LocalWrite { project, entity, key, op, payload: &payload, base, at })?;
    Ok(())
}
