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

/// Notes what a chunk held that no longer lies at a place.
pub(super) fn note_chunk(conn: &Connection, place: i64, chunk: i64) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO engramd_due (place, project, entity, entity_key)
         SELECT DISTINCT ?1, project, entity, entity_key FROM engramd_exported WHERE chunk = ?2",
    )?
    .execute([place, chunk])?;
    Ok(())
}
