//! What every place is to look at again, because it changed without a new row in any list that an export reads.

use super::super::error::StoreError;
use engram_proto::id::ProjectName;
use engram_proto::mutation::Entity;
use rusqlite::{Connection, params};

/// Notes an entity for every place; where nobody uses chunk files, there is none.
pub(in super::super) fn note(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO engramd_due (place, project, entity, entity_key)
         SELECT place, ?1, ?2, ?3 FROM engramd_place",
    )?
    .execute(params![project.as_str(), entity.as_str(), key])?;
    Ok(())
}

/// Project, entity and key of what a chunk holds.
pub(super) type Named = (String, String, String);

/// So much of a chunk is read at once.
const ROWS: u32 = 200;

/// Lists what a chunk holds behind an entity, a part of it.
pub(super) fn held_by(conn: &Connection, chunk: i64, (project, entity, key): &Named) -> Result<Vec<Named>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT DISTINCT project, entity, entity_key FROM engramd_exported INDEXED BY engramd_exported_chunk
         WHERE chunk = ?1 AND (project, entity, entity_key) > (?2, ?3, ?4)
         ORDER BY project, entity, entity_key LIMIT ?5",
    )?;
    let names = params![chunk, project, entity, key, ROWS];
    let rows = statement.query_map(names, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes an entity for one place.
pub(super) fn note_at(conn: &Connection, place: i64, (project, entity, key): &Named) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO engramd_due (place, project, entity, entity_key) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![place, project, entity, key])?;
    Ok(())
}
