//! What is in a chunk: one line per version, written when the chunk is read.

use super::super::Store;
use super::super::apply::Applying;
use super::super::error::StoreError;
use super::super::naming;
use super::{Part, READ, Row, due, number, read_through};
use engram_proto::canonical::Hash;
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, payload_object};
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Writes down that a chunk holds a version. A relation that waits for this memory may travel now: of another project, or
/// because the memory is deleted here and was never told before.
pub(in super::super) fn learn(
    conn: &Connection,
    chunk: i64,
    (project, key): (&ProjectName, &str),
    version: &Version,
) -> Result<(), StoreError> {
    let mut insert = conn.prepare_cached(
        "INSERT OR IGNORE INTO engramd_exported (project, entity, entity_key, version, chunk, deletes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let values =
        params![project.as_str(), version.entity().as_str(), key, number(version)?, chunk, version.is_delete()];
    if insert.execute(values)? > 0 && version.entity() == Entity::Observation && !version.is_delete() {
        for (other, relation) in due::waiting_for(conn, project, key)? {
            due::note(conn, &other, Entity::Relation, &relation)?;
        }
    }
    Ok(())
}

/// Tells whether any chunk, wherever it lies, holds some version of an entity.
pub(in super::super) fn is_in_a_chunk(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM engramd_exported WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)",
    )?;
    Ok(statement.query_row([project.as_str(), entity.as_str(), key], |row| row.get(0))?)
}

/// Tells whether any chunk, wherever it lies, holds this version.
pub(in super::super) fn is_in_any(
    conn: &Connection,
    (project, key): (&ProjectName, &str),
    version: &Version,
) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM engramd_exported
         WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND version = ?4)",
    )?;
    let names = params![project.as_str(), version.entity().as_str(), key, number(version)?];
    Ok(statement.query_row(names, |row| row.get(0))?)
}

/// Tells whether a chunk that lies at a place holds this version.
pub(super) fn is_at(
    conn: &Connection,
    place: Option<i64>,
    (project, key): (&ProjectName, &str),
    version: &Version,
) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM engramd_exported AS e
             CROSS JOIN engramd_place_chunk AS p INDEXED BY engramd_place_chunk_chunk
         WHERE e.project = ?1 AND e.entity = ?2 AND e.entity_key = ?3 AND e.version = ?4
             AND p.chunk = e.chunk AND p.place = ?5)",
    )?;
    let names = params![project.as_str(), version.entity().as_str(), key, number(version)?, place];
    Ok(statement.query_row(names, |row| row.get(0))?)
}

/// Tells whether a chunk that lies at a place holds some version of a memory that is no delete.
pub(super) fn is_told_at(
    conn: &Connection,
    place: Option<i64>,
    project: &ProjectName,
    key: &str,
) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM engramd_exported AS e
             CROSS JOIN engramd_place_chunk AS p INDEXED BY engramd_place_chunk_chunk
         WHERE e.project = ?1 AND e.entity = 'observation' AND e.entity_key = ?2 AND NOT e.deletes
             AND p.chunk = e.chunk AND p.place = ?3)",
    )?;
    Ok(statement.query_row(params![project.as_str(), key, place], |row| row.get(0))?)
}

/// Returns the number of a chunk, giving it one.
pub(super) fn chunk(conn: &Connection, hash: Hash) -> Result<(i64, i64), StoreError> {
    let hash = hash.to_string();
    let mut found = conn.prepare_cached("SELECT chunk, state FROM engramd_chunk WHERE hash = ?1")?;
    if let Some(found) = found.query_row([&hash], |row| Ok((row.get(0)?, row.get(1)?))).optional()? {
        return Ok(found);
    }
    conn.prepare_cached("INSERT INTO engramd_chunk (hash) VALUES (?1)")?.execute([&hash])?;
    Ok((conn.last_insert_rowid(), 0))
}

/// Returns the number under which a chunk's rows are learned and brought.
pub(in super::super) fn number_of(conn: &Connection, hash: Hash) -> Result<i64, StoreError> {
    Ok(chunk(conn, hash)?.0)
}

/// Finds the project of a row that names none; where nothing tells it, the row is no version of anything here.
fn of_session(conn: &Connection, row: &PulledMutation) -> Result<Option<ProjectName>, StoreError> {
    let payload = payload_object(row.payload.clone()).unwrap_or_default();
    naming::project_of(conn, Entity::parse(&row.entity), &row.entity_key, &payload)
}

impl Store {
    /// Writes down versions that chunks hold, without applying them. What a power cut takes of it is read again.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn chunks_learn(&mut self, parts: &[Part], now: RowTime) -> Result<(), StoreError> {
        let mut from = (0, 0);
        while from.0 < parts.len() {
            (from, _) = self.applying(false, now, |applying| learn_some(applying, parts, from, now))?;
        }
        Ok(())
    }
}

/// Writes down as much as there is room for in one transaction, from a row of a part on; returns where it ended.
fn learn_some(
    applying: &Applying<'_>,
    parts: &[Part],
    (mut at, mut row): (usize, usize),
    now: RowTime,
) -> Result<(usize, usize), StoreError> {
    let conn = applying.conn();
    while let Some(part) = parts.get(at) {
        let chunk = number_of(conn, part.hash)?;
        for Row { project, mutation, version } in part.rows.iter().skip(row) {
            if !applying.takes() {
                return Ok((at, row));
            }
            row += 1;
            let Some(version) = version else { continue };
            let of_session = match project {
                Some(_) => None,
                None => of_session(conn, mutation)?,
            };
            if let Some(project) = project.as_ref().or(of_session.as_ref()) {
                learn(conn, chunk, (project, &mutation.entity_key), version)?;
            }
        }
        if part.last {
            read_through(conn, part, (chunk, READ), now)?;
        }
        (at, row) = (at + 1, 0);
    }
    Ok((at, row))
}
