//! Rows of `observations`.

use super::super::error::StoreError;
use super::super::fts::Index;
use super::{filled, time_at};
use engram_proto::canonical::{Hash, Object};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Kind, ObservationBody, ObservationVersion};
use engram_proto::time::row_text;
use rusqlite::{Connection, Row, params};

/// The copies of one memory in one project, as the one with the greatest key shows it (D21: `sync_id` is not unique).
#[derive(Debug)]
pub(in super::super) struct Found {
    /// Number of the row that speaks for all.
    pub(in super::super) id: i64,
    /// What it says; a soft delete keeps its text in the row.
    pub(in super::super) version: ObservationVersion,
    /// Numbers of the other copies.
    pub(in super::super) copies: Vec<i64>,
    /// Whether any copy is not deleted: one that came from another project stands beside what was deleted here.
    pub(in super::super) is_live: bool,
    /// What the other copies say.
    others: Vec<ObservationVersion>,
}

/// Hashes content the way duplicates are found: lower case, white space collapsed.
#[must_use]
pub fn normalized_hash(content: &str) -> String {
    let mut text = String::with_capacity(content.len());
    for word in content.split_whitespace() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    Hash::of_bytes(text.to_lowercase().as_bytes()).to_string()
}

/// Returns after how long a memory of this type should be looked at again, as a modifier of SQLite's `datetime`.
#[must_use]
pub fn review_modifier(kind: &str) -> Option<&'static str> {
    match kind.to_lowercase().as_str() {
        "decision" => Some("+6 months"),
        "policy" => Some("+12 months"),
        "preference" => Some("+3 months"),
        _ => None,
    }
}

impl Found {
    /// Lists the texts of copies that a version writes over, beside that of the one that speaks for all.
    pub(in super::super) fn texts_beside<'a>(
        &'a self,
        version: &'a ObservationVersion,
    ) -> impl Iterator<Item = &'a ObservationVersion> {
        let texts = self.others.iter().filter(|other| other.key.kind == Kind::Upsert);
        texts.filter(move |other| ![version.key.hash, self.version.key.hash].contains(&other.key.hash))
    }
}

/// Looks a memory up.
pub(in super::super) fn find(conn: &Connection, project: &ProjectName, key: &str) -> Result<Option<Found>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, session_id, type, title, content, tool_name, scope, topic_key, revision_count, duplicate_count,
             last_seen_at, created_at, updated_at, deleted_at
         FROM observations WHERE sync_id = ?1 AND project = ?2",
    )?;
    let mut rows = statement.query([key, project.as_str()])?;
    let mut found: Option<Found> = None;
    while let Some(row) = rows.next()? {
        let (id, version) = (row.get(0)?, version_of(row)?);
        let is_live = version.key.kind == Kind::Upsert;
        match &mut found {
            None => found = Some(Found { id, version, copies: Vec::new(), is_live, others: Vec::new() }),
            Some(first) => {
                first.is_live |= is_live;
                let greater = version.key > first.version.key;
                first.copies.push(if greater { std::mem::replace(&mut first.id, id) } else { id });
                first.others.push(if greater { std::mem::replace(&mut first.version, version) } else { version });
            }
        }
    }
    Ok(found)
}

/// Names the projects that have a row of an observation.
pub(in super::super) fn projects_of(conn: &Connection, key: &str) -> Result<Vec<ProjectName>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT DISTINCT project FROM observations WHERE sync_id = ?1")?;
    let names = statement.query_map([key], |row| row.get::<_, Option<String>>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().flatten().filter_map(|name| ProjectName::parse(name).ok()).collect())
}

/// Reads the fields that an upsert must not leave blank, of a row that is deleted too.
pub(super) fn texts(conn: &Connection, id: i64) -> Result<Object, StoreError> {
    const FIELDS: [&str; 6] = ["sync_id", "session_id", "type", "title", "content", "scope"];
    let mut statement =
        conn.prepare_cached("SELECT sync_id, session_id, type, title, content, scope FROM observations WHERE id = ?1")?;
    let mut texts = Object::new();
    let mut rows = statement.query([id])?;
    if let Some(row) = rows.next()? {
        for (column, field) in FIELDS.into_iter().enumerate() {
            texts.insert(field.to_owned(), filled(row, column)?.unwrap_or_default().into());
        }
    }
    Ok(texts)
}

fn version_of(row: &Row<'_>) -> Result<ObservationVersion, StoreError> {
    let session_id = row.get(1)?;
    let version = if filled(row, 13)?.is_some() {
        ObservationVersion::delete(session_id, false, time_at(row, 13)?)
    } else {
        let body = ObservationBody {
            kind: row.get(2)?,
            title: row.get(3)?,
            content: row.get(4)?,
            tool_name: filled(row, 5)?,
            scope: row.get(6)?,
            topic_key: filled(row, 7)?,
        };
        let revision = row.get::<_, i64>(8)?.max(1);
        ObservationVersion::upsert(session_id, body, revision, time_at(row, 12)?, String::new())
    };
    Ok(ObservationVersion {
        duplicate_count: Some(row.get(9)?).filter(|&count| count > 0),
        last_seen_at: time_at(row, 10)?,
        created_at: time_at(row, 11)?,
        ..version
    })
}

/// Makes the table show a version; tells whether anything had to change.
pub(in super::super) fn write(
    conn: &Connection,
    index: &mut Index,
    (project, key): (&ProjectName, &str),
    found: Option<&Found>,
    version: &ObservationVersion,
) -> Result<bool, StoreError> {
    let is_another = |found: &Found| match version.key.kind {
        Kind::Upsert => !found.others.iter().all(|other| shows(other, version)),
        Kind::Soft | Kind::Hard => found.is_live,
    };
    if found.is_some_and(|found| shows(&found.version, version) && !is_another(found)) {
        return Ok(false);
    }
    match (version.key.kind, found) {
        (Kind::Upsert, None) => insert(conn, index, project, key, version),
        (Kind::Upsert, Some(found)) => update(conn, index, found, version),
        (Kind::Soft, Some(found)) => delete_softly(conn, found, version),
        (Kind::Hard, Some(found)) => remove(conn, index, found),
        (Kind::Soft | Kind::Hard, None) => Ok(false),
    }
}

/// Compares a row with what it should show. A soft delete keeps the row's own session, and no row knows a newer peer's
/// fields.
fn shows(row: &ObservationVersion, version: &ObservationVersion) -> bool {
    let same_text = row.key.kind != Kind::Upsert || row.key.hash == version.key.hash;
    row.key.kind == version.key.kind
        && same_text
        && row.key.time == version.key.time
        && row.duplicate_count.unwrap_or(1) == version.duplicate_count.unwrap_or(1)
        && row.last_seen_at == version.last_seen_at
        && row.created_at == version.created_at
}

fn insert(
    conn: &Connection,
    index: &mut Index,
    project: &ProjectName,
    key: &str,
    version: &ObservationVersion,
) -> Result<bool, StoreError> {
    let Some(body) = &version.body.0 else { return Ok(false) };
    conn.prepare_cached(
        "INSERT INTO observations (sync_id, session_id, type, title, content, tool_name, project, scope, topic_key,
             normalized_hash, revision_count, duplicate_count, last_seen_at, created_at, updated_at, review_after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, datetime(?16, ?17))",
    )?
    .execute(params![
        key,
        version.session_id,
        body.kind,
        body.title,
        body.content,
        body.tool_name,
        project.as_str(),
        body.scope,
        body.topic_key,
        normalized_hash(&body.content),
        version.key.revision,
        version.duplicate_count.unwrap_or(1),
        version.last_seen_at.map(|at| at.to_string()),
        row_text(version.created_at),
        row_text(version.key.time),
        // No transport has a field for it: every device takes it from type and age, as if it had been saved here.
        version.created_at.map(|at| at.to_string()),
        review_modifier(&body.kind),
    ])?;
    index.observation_added(conn.last_insert_rowid());
    Ok(true)
}

/// Makes every copy say the same.
fn update(
    conn: &Connection,
    index: &mut Index,
    found: &Found,
    version: &ObservationVersion,
) -> Result<bool, StoreError> {
    let Some(body) = &version.body.0 else { return Ok(false) };
    for &id in std::iter::once(&found.id).chain(&found.copies) {
        index.observation_changes(conn, id)?;
        conn.prepare_cached(
            "UPDATE observations SET session_id = ?2, type = ?3, title = ?4, content = ?5, tool_name = ?6, scope = ?7,
                 topic_key = ?8, normalized_hash = ?9, revision_count = ?10, duplicate_count = ?11, last_seen_at = ?12,
                 created_at = ?13, updated_at = ?14, deleted_at = NULL
             WHERE id = ?1",
        )?
        .execute(params![
            id,
            version.session_id,
            body.kind,
            body.title,
            body.content,
            body.tool_name,
            body.scope,
            body.topic_key,
            normalized_hash(&body.content),
            version.key.revision,
            version.duplicate_count.unwrap_or(1),
            version.last_seen_at.map(|at| at.to_string()),
            row_text(version.created_at),
            row_text(version.key.time),
        ])?;
    }
    Ok(true)
}

/// Marks every copy; the indexed text stays, so the index needs nothing.
fn delete_softly(conn: &Connection, found: &Found, version: &ObservationVersion) -> Result<bool, StoreError> {
    for id in std::iter::once(&found.id).chain(&found.copies) {
        conn.prepare_cached(
            "UPDATE observations SET deleted_at = ?2, duplicate_count = ?3, last_seen_at = ?4, created_at = ?5
             WHERE id = ?1",
        )?
        .execute(params![
            id,
            row_text(version.key.time),
            version.duplicate_count.unwrap_or(1),
            version.last_seen_at.map(|at| at.to_string()),
            row_text(version.created_at),
        ])?;
    }
    Ok(true)
}

fn remove(conn: &Connection, index: &mut Index, found: &Found) -> Result<bool, StoreError> {
    for &id in std::iter::once(&found.id).chain(&found.copies) {
        index.observation_changes(conn, id)?;
        conn.prepare_cached("DELETE FROM observations WHERE id = ?1")?.execute([id])?;
    }
    Ok(true)
}
