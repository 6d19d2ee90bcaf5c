//! What is in a chunk: one line per version, written when the chunk is read.

use super::super::Store;
use super::super::error::StoreError;
use super::{APPLIED, READ, number};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Writes down that a chunk holds a version.
pub(in super::super) fn learn(
    conn: &Connection,
    chunk: i64,
    (project, key): (&ProjectName, &str),
    version: &Version,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT OR IGNORE INTO engramd_exported (project, entity, entity_key, version, chunk)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![project.as_str(), version.entity().as_str(), key, number(version)?, chunk])?;
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
         WHERE e.project = ?1 AND e.entity = ?2 AND e.entity_key = ?3 AND e.version = ?4
             AND e.chunk IN (SELECT chunk FROM engramd_place_chunk WHERE place = ?5))",
    )?;
    let names = params![project.as_str(), version.entity().as_str(), key, number(version)?, place];
    Ok(statement.query_row(names, |row| row.get(0))?)
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

impl Store {
    /// Returns the number under which a chunk's rows are learned and brought.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn chunk_number(&mut self, hash: Hash, now: RowTime) -> Result<i64, StoreError> {
        Ok(self.applying(false, now, |applying| chunk(applying.conn(), hash))?.0.0)
    }

    /// Writes down versions that a chunk holds, without applying them. What a power cut takes of it is read again.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn chunk_learn(
        &mut self,
        chunk: i64,
        versions: &[(ProjectName, String, Version)],
        now: RowTime,
    ) -> Result<(), StoreError> {
        let mut rest = versions;
        while !rest.is_empty() {
            let (done, _) = self.applying(false, now, |applying| {
                let mut done = 0;
                for (project, key, version) in rest.iter().take_while(|_| applying.takes()) {
                    done += 1;
                    learn(applying.conn(), chunk, (project, key), version)?;
                }
                Ok(done)
            })?;
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes down that a chunk was read to its end, and where it lies; `applied` says that the tables have its rows.
    ///
    /// A Go process on this store passes over a chunk that is listed as imported.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn chunk_read(
        &mut self,
        (path, id): (&str, &str),
        chunk: i64,
        applied: bool,
        now: RowTime,
    ) -> Result<(), StoreError> {
        let state = if applied { APPLIED } else { READ };
        let done = self.applying(false, now, |applying| {
            let conn = applying.conn();
            conn.prepare_cached("UPDATE engramd_chunk SET state = max(state, ?2) WHERE chunk = ?1")?
                .execute([chunk, state])?;
            super::place::lies_at(conn, (path, id), chunk, applied, now)
        });
        done.map(drop)
    }
}
