//! Deleting a memory: softly, so that it can be looked at, or for good.

use super::error::MemoryError;
use super::write::{Now, journal};
use super::{read, save, text};
use super::update::changed;
use crate::store::{Store, journal as rows};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::Changed;
use engram_proto::merge::{Kind, ObservationVersion, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::{Transaction, params};

/// Deletes a memory. One that was deleted for good before any request carried it never leaves this machine.
///
/// # Errors
/// [`MemoryError::NotFound`].
pub fn delete(store: &mut Store, id: &str, hard: bool, now: &Now) -> Result<Changed, MemoryError> {
    MemoryError::write(store, |tx| {
        let row = read::find(tx, id)?.ok_or_else(|| read::missing(id))?;
        let project = text::project(row.project.as_deref().unwrap_or_default())?;
        let before = save::current(tx, &project, &row.sync_id)?;
        if before.key.kind != Kind::Upsert && !hard {
            return Ok(changed(&row, "unchanged", row.revision_count));
        }
        let at = now.after(before.key.time);
        if hard {
            remove(tx, (&project, &row.sync_id), &before, at, now)?;
        } else {
            tx.prepare_cached("UPDATE observations SET deleted_at = ?3 WHERE project = ?1 AND sync_id = ?2")?
                .execute(params![project.as_str(), row.sync_id, at.to_string()])?;
            put(tx, (&project, &row.sync_id), &before, (false, at), now)?;
        }
        Ok(changed(&row, if hard { "hard_deleted" } else { "deleted" }, row.revision_count))
    })
}

fn remove(
    tx: &Transaction<'_>,
    (project, sync_id): (&ProjectName, &str),
    before: &ObservationVersion,
    at: RowTime,
    now: &Now,
) -> Result<(), MemoryError> {
    let never_left = rows::void_if_never_carried(tx, project, Entity::Observation, sync_id)?;
    tx.prepare_cached("DELETE FROM observations WHERE project = ?1 AND sync_id = ?2")?
        .execute([project.as_str(), sync_id])?;
    if never_left {
        take_relations_back(tx, project, sync_id)?;
    } else {
        put(tx, (project, sync_id), before, (true, at), now)?;
    }
    tx.prepare_cached(
        "UPDATE memory_relations SET judgment_status = 'orphaned' WHERE source_id = ?1 OR target_id = ?1",
    )?
    .execute([sync_id])?;
    Ok(())
}

/// A relation to a memory that nobody else will ever see would wait for it for ever.
fn take_relations_back(tx: &Transaction<'_>, project: &ProjectName, sync_id: &str) -> Result<(), MemoryError> {
    let mut statement =
        tx.prepare_cached("SELECT sync_id FROM memory_relations WHERE source_id = ?1 OR target_id = ?1")?;
    let relations = statement.query_map([sync_id], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    for relation in relations {
        if rows::void_if_never_carried(tx, project, Entity::Relation, &relation)? {
            tx.prepare_cached("DELETE FROM memory_relations WHERE sync_id = ?1")?.execute([&relation])?;
        }
    }
    Ok(())
}

fn put(
    tx: &Transaction<'_>,
    names: (&ProjectName, &str),
    before: &ObservationVersion,
    (hard, at): (bool, RowTime),
    now: &Now,
) -> Result<(), MemoryError> {
    let version = ObservationVersion {
        duplicate_count: before.duplicate_count,
        last_seen_at: before.last_seen_at,
        created_at: before.created_at,
        ..ObservationVersion::delete(before.session_id.clone(), hard, Some(at))
    };
    journal(tx, names, &Version::Observation(version), Some(before.key.hash), now.at)
}
