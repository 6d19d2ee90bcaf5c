//! What is known of an entity, and what this device makes of it (merging.md, "Pull").

use super::error::StoreError;
use super::{journal, rows};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Digest, Kind, Lent, Version, merge};
use engram_proto::mutation::{Entity, Op, payload_text};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Deserialize as _;

/// Reads the version that the shared tables show, with its text.
///
/// Where an entity has several rows, the one with the greatest key speaks. A session that shows another project's
/// version, or a stand-in, is none.
///
/// # Errors
/// What SQLite says.
pub fn row_version(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Option<Version>, StoreError> {
    match rows::find(conn, project, entity, key)? {
        Some(found) => found.version(conn, project, key),
        None => Ok(None),
    }
}

/// Returns the revision of a memory that is not deleted; every edit has one more, a fold of a duplicate has not.
#[must_use]
pub(super) fn revision(version: &Version) -> Option<i64> {
    match version {
        Version::Observation(version) if version.key.kind == Kind::Upsert => Some(version.key.revision),
        _ => None,
    }
}

/// Reads the join of all that was pulled or acknowledged; it has no text.
///
/// # Errors
/// [`StoreError::Corrupt`] where it cannot be read, and what SQLite says.
pub fn known(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Option<Version>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT head FROM engramd_version WHERE project = ?1 AND entity = ?2 AND entity_key = ?3")?;
    let head: Option<String> =
        statement.query_row([project.as_str(), entity.as_str(), key], |row| row.get(0)).optional()?;
    let Some(head) = head else { return Ok(None) };
    let version: Version = serde_json::from_str(&head)
        .map_err(|error| StoreError::Corrupt(format!("the known version of {entity} {key}: {error}")))?;
    Ok(Some(version).filter(|version| version.entity() == entity))
}

/// Keeps what is known; returns by how much the project's digest moves.
pub(super) fn learn(
    conn: &Connection,
    (project, key): (&ProjectName, &str),
    before: Option<&Version>,
    version: &Version,
) -> Result<Digest, StoreError> {
    if before == Some(version) {
        return Ok(Digest::default());
    }
    let head = serde_json::to_string(version).map_err(|error| StoreError::Invalid(error.to_string()))?;
    let (state, session_id) = match version {
        Version::Observation(observation) => match observation.key.kind {
            Kind::Upsert => (0, None),
            Kind::Soft => (1, Some(observation.session_id.as_str())),
            Kind::Hard => (2, None),
        },
        Version::Prompt(prompt) if prompt.key.deleted => (2, None),
        _ => (0, None),
    };
    conn.prepare_cached(
        "INSERT INTO engramd_version (project, entity, entity_key, head, state, session_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (project, entity, entity_key) DO UPDATE SET head = ?4, state = ?5, session_id = ?6",
    )?
    .execute(params![project.as_str(), version.entity().as_str(), key, head, state, session_id])?;
    if version.is_for_good() {
        journal::forget_texts(conn, project, version.entity(), key)?;
    }
    let before = before.map(|before| Digest::of(key, before)).unwrap_or_default();
    Ok(Digest::of(key, version).minus(before))
}

/// Reads the version this device holds: what is known, joined with what is pending, refused or waits for a parent.
/// Where none of these exists, the row speaks; else it only lends its text, if that has the hash in the key, as a journal row
/// does that was acknowledged where the peer wrote over the row.
///
/// # Errors
/// What SQLite says.
pub fn local(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Option<Version>, StoreError> {
    beside(conn, known(conn, project, entity, key)?, project, (entity, key))
}

/// Does the same, where what is known was read before.
pub(super) fn beside(
    conn: &Connection,
    known: Option<Version>,
    project: &ProjectName,
    (entity, key): (Entity, &str),
) -> Result<Option<Version>, StoreError> {
    let mut version = known;
    for own in pending(conn, project, entity, key)? {
        version = join(version, own);
    }
    for held in held(conn, project, entity, key)? {
        version = join(version, held);
    }
    let mut version = shown(version, || row_version(conn, project, entity, key))?;
    if let Some(version) = version.as_mut().filter(|version| !has_text(version))
        && let Some(own) = told(conn, project, entity, key, version)?
    {
        lend(version, own);
    }
    Ok(version)
}

/// Makes the version this device holds of what is joined and what the row shows, which is read only where it speaks or
/// lends its text.
pub(super) fn shown(
    joined: Option<Version>,
    row: impl FnOnce() -> Result<Option<Version>, StoreError>,
) -> Result<Option<Version>, StoreError> {
    let Some(mut version) = joined else { return row() };
    if !has_text(&version)
        && let Some(row) = row()?
    {
        lend(&mut version, row);
    }
    Ok(Some(version))
}

/// Tells whether the row speaks for something that is not known yet: it waits to be sent or applied, or was given up.
pub(super) fn has_its_own_say(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM sync_mutations AS m LEFT JOIN engramd_journal AS j ON j.seq = m.seq
                 WHERE m.project = ?1 AND m.entity = ?2 AND m.entity_key = ?3
                     AND (m.acked_at IS NULL OR j.void = 'dropped'))
             OR EXISTS (SELECT 1 FROM engramd_held WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)",
    )?;
    Ok(statement.query_row([project.as_str(), entity.as_str(), key], |row| row.get(0))?)
}

/// Joins one more version.
pub(super) fn join(a: Option<Version>, b: Version) -> Option<Version> {
    Some(match a {
        Some(a) => merge(a, b),
        None => b,
    })
}

/// Reads the versions of the entity's journal rows that no reply named yet, refused ones included.
pub(super) fn pending(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Vec<Version>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT op, payload FROM sync_mutations
         WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND acked_at IS NULL",
    )?;
    read_all(&mut statement, project, entity, key)
}

/// Finds what a journal row of ours told of this very version.
fn told(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
    version: &Version,
) -> Result<Option<Version>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT op, payload FROM sync_mutations INDEXED BY engramd_mutations_entity
         WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND op = 'upsert'",
    )?;
    let all = read_all(&mut statement, project, entity, key)?;
    Ok(all.into_iter().find(|own| own.hash() == version.hash() && has_text(own)))
}

/// Reads the versions of the entity's pending rows that were written before this one.
pub(super) fn pending_until(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
    seq: i64,
) -> Result<Vec<Version>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT op, payload FROM sync_mutations INDEXED BY engramd_mutations_entity
         WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND seq < ?4 AND acked_at IS NULL",
    )?;
    let mut rows = statement.query(params![project.as_str(), entity.as_str(), key, seq])?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        let (op, payload): (String, String) = (row.get(0)?, row.get(1)?);
        versions.extend(read(entity, key, &op, &payload));
    }
    Ok(versions)
}

/// Reads the versions of received rows that wait or can never apply.
pub(super) fn held(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Vec<Version>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT op, payload FROM engramd_held
         WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND journal_seq IS NULL",
    )?;
    read_all(&mut statement, project, entity, key)
}

fn read_all(
    statement: &mut rusqlite::Statement<'_>,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Vec<Version>, StoreError> {
    let mut rows = statement.query([project.as_str(), entity.as_str(), key])?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        let (op, payload): (String, String) = (row.get(0)?, row.get(1)?);
        versions.extend(read(entity, key, &op, &payload));
    }
    Ok(versions)
}

/// Reads a stored payload; one that says nothing is no version. Of one whose text is gone, what was kept is read.
pub(super) fn read(entity: Entity, key: &str, op: &str, payload: &str) -> Option<Version> {
    let fields = payload_text(payload).ok()?;
    // Among other fields it is somebody else's, which travels like every field that we do not know.
    if let Some(kept) = fields.get(journal::KEPT).filter(|_| fields.len() == journal::KEPT_FIELDS) {
        return Version::deserialize(kept).ok().filter(|version| version.entity() == entity);
    }
    Version::read(entity, key, Op::parse(op)?, &fields).ok()
}

/// Tells whether a version's text is at hand, or it has none.
pub(super) fn has_text(version: &Version) -> bool {
    match version {
        Version::Session(_) => true,
        Version::Observation(version) => version.key.kind != Kind::Upsert || version.body.0.is_some(),
        Version::Prompt(version) => version.key.deleted || version.content.0.is_some(),
        Version::Relation(version) => version.body.0.is_some(),
    }
}

/// Gives a version the text of another one with the same hash.
pub(super) fn lend(version: &mut Version, from: Version) {
    if version.hash() != from.hash() {
        return;
    }
    match (version, from) {
        (Version::Observation(version), Version::Observation(from)) => fill(&mut version.body, from.body),
        (Version::Prompt(version), Version::Prompt(from)) => fill(&mut version.content, from.content),
        (Version::Relation(version), Version::Relation(from)) => fill(&mut version.body, from.body),
        _ => {}
    }
}

fn fill<T>(text: &mut Lent<T>, from: Lent<T>) {
    if text.0.is_none() {
        *text = from;
    }
}
