//! What every place is to look at again, because it changed without a new row in any list that an export reads.

use super::super::error::StoreError;
use super::super::rows::relation;
use super::super::versions;
use engram_proto::canonical::Hash;
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

/// Lists the relations that may wait until a chunk tells a memory, each with the project for which it is looked at: those
/// of other projects, and all of them where the memory is deleted here. Of one that is not, a row of its own says when
/// they are to be looked at.
pub(super) fn waiting_for(
    conn: &Connection,
    project: &ProjectName,
    key: &str,
) -> Result<Vec<(ProjectName, String)>, StoreError> {
    let mut found = from_elsewhere(conn, project, key)?;
    let mut statement = conn.prepare_cached(
        "SELECT sync_id FROM memory_relations INDEXED BY idx_memrel_source WHERE source_id = ?1
         UNION ALL SELECT sync_id FROM memory_relations INDEXED BY idx_memrel_target WHERE target_id = ?1",
    )?;
    let relations = statement.query_map([key], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    if !relations.is_empty()
        && versions::local(conn, project, Entity::Observation, key)?.is_some_and(|version| version.is_delete())
    {
        found.extend(relations.into_iter().map(|relation| (project.clone(), relation)));
    }
    Ok(found)
}

/// Lists the relations that lead from another project to a memory, each with that project.
fn from_elsewhere(
    conn: &Connection,
    project: &ProjectName,
    key: &str,
) -> Result<Vec<(ProjectName, String)>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT sync_id FROM memory_relations WHERE target_id = ?1")?;
    let mut rows = statement.query([key])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let relation_key: String = row.get(0)?;
        found.extend(relation::elsewhere(conn, project, &relation_key)?.map(|other| (other, relation_key)));
    }
    Ok(found)
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

/// Lists the relations that may wait until a chunk tells the memories that this one tells.
pub(super) fn waiting_for_all_of(conn: &Connection, hash: &Hash) -> Result<Vec<Named>, StoreError> {
    let mut held = conn.prepare_cached(
        "SELECT e.project, e.entity_key FROM engramd_chunk AS c
             CROSS JOIN engramd_exported AS e INDEXED BY engramd_exported_chunk
         WHERE c.hash = ?1 AND e.chunk = c.chunk AND e.entity = 'observation' AND NOT e.deletes
             AND (EXISTS (SELECT 1 FROM memory_relations AS r WHERE r.target_id = e.entity_key)
                 OR EXISTS (SELECT 1 FROM memory_relations AS r WHERE r.source_id = e.entity_key))",
    )?;
    let mut rows = held.query([hash.to_string()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let Ok(project) = ProjectName::parse(&row.get::<_, String>(0)?) else { continue };
        let relations = waiting_for(conn, &project, &row.get::<_, String>(1)?)?;
        found.extend(relations.into_iter().map(|(other, key)| (other.to_string(), Entity::Relation.to_string(), key)));
    }
    Ok(found)
}

/// Notes an entity for one place.
pub(super) fn note_at(conn: &Connection, place: i64, (project, entity, key): &Named) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO engramd_due (place, project, entity, entity_key) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![place, project, entity, key])?;
    Ok(())
}
