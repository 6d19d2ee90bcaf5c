//! Deleting a memory: softly, so that it can be looked at, or for good.

use super::edit::{self, Edited};
use super::error::MemoryError;
use super::session;
use super::update::changed;
use super::write::Now;
use crate::store::{Store, Transaction, fts, journal, sessions, versions};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::Changed;
use engram_proto::merge::ObservationVersion;
use engram_proto::mutation::Entity;
use rusqlite::params;

/// Deletes a memory. One that was deleted for good before any request carried it never leaves this machine.
///
/// # Errors
/// [`MemoryError::NotFound`].
pub fn delete(store: &mut Store, id: &str, hard: bool, now: &Now) -> Result<Changed, MemoryError> {
    MemoryError::write(store, |tx| {
        let (row, edited) = edit::named(tx, id, now)?;
        let outcome = if hard {
            remove(tx, &edited, now)?;
            "hard_deleted"
        } else if row.deleted_at.is_some() {
            "unchanged"
        } else {
            hide(tx, &edited, now)?;
            "deleted"
        };
        Ok(changed(&row, outcome, row.revision_count))
    })
}

/// Marks every copy as deleted; this device keeps the text for itself.
fn hide(tx: &Transaction<'_>, edited: &Edited, now: &Now) -> Result<(), MemoryError> {
    let after = edited.deleted(false, now);
    tx.prepare_cached("UPDATE observations SET deleted_at = ?3 WHERE project = ?1 AND sync_id = ?2")?
        .execute(params![edited.project.as_str(), edited.sync_id, after.key.time.map(|at| at.to_string())])?;
    edited.journal(tx, after, now)
}

/// Removes every copy for good, with what hangs on them.
fn remove(tx: &Transaction<'_>, edited: &Edited, now: &Now) -> Result<(), MemoryError> {
    let (project, sync_id) = (&edited.project, edited.sync_id.as_str());
    let relations = relations_of(tx, project, sync_id)?;
    let never_left = never_left(tx, project, sync_id)?;
    fts::change_copies(tx, (project, sync_id), || {
        tx.prepare_cached("DELETE FROM observations WHERE project = ?1 AND sync_id = ?2")?
            .execute([project.as_str(), sync_id])?;
        Ok::<_, MemoryError>(())
    })?;
    if !never_left {
        edited.journal(tx, edited.deleted(true, now), now)?;
    }
    let mut copies = tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM observations WHERE sync_id = ?1)")?;
    if !copies.query_row([sync_id], |row| row.get(0))? {
        for (relation, project) in &relations {
            let taken_back = never_left && journal::void_if_never_carried(tx, project, Entity::Relation, relation)?;
            let lost = if taken_back { forget } else { orphan };
            lost(tx, project, relation)?;
        }
    }
    release_session(tx, project, &edited.before)
}

/// Takes a memory out of the queue where nobody can have seen it: no request carried it, nothing of it is known, and it
/// is not so old that the peer may have put it into a chunk without a journal row.
fn never_left(tx: &Transaction<'_>, project: &ProjectName, sync_id: &str) -> Result<bool, MemoryError> {
    if journal::void_if_never_carried(tx, project, Entity::Observation, sync_id)? {
        return Ok(true);
    }
    if versions::known(tx, project, Entity::Observation, sync_id)?.is_some() {
        return Ok(false);
    }
    let mut left = tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM sync_chunks WHERE target_key = 'local') OR EXISTS (
             SELECT 1 FROM sync_mutations AS m LEFT JOIN engramd_journal AS j USING (seq)
             WHERE m.project = ?1 AND m.entity = 'observation' AND m.entity_key = ?2 AND j.void IS NULL)",
    )?;
    Ok(!left.query_row([project.as_str(), sync_id], |row| row.get(0))?)
}

/// Lists the relations that have a memory as an end, each with the project it was judged in.
fn relations_of(
    tx: &Transaction<'_>,
    project: &ProjectName,
    sync_id: &str,
) -> Result<Vec<(String, ProjectName)>, MemoryError> {
    let mut statement = tx.prepare_cached(
        "SELECT r.sync_id, coalesce(
             (SELECT o.project FROM engramd_relation AS o WHERE o.sync_id = r.sync_id),
             (SELECT m.project FROM sync_mutations AS m WHERE m.target_key = 'cloud' AND m.entity = 'relation'
              AND m.entity_key = r.sync_id AND m.project <> '' LIMIT 1),
             (SELECT s.project FROM observations AS s WHERE s.sync_id = r.source_id AND s.project <> '' LIMIT 1), '')
         FROM memory_relations AS r WHERE r.source_id = ?1 OR r.target_id = ?1",
    )?;
    let mut rows = statement.query([sync_id])?;
    let mut relations = Vec::new();
    while let Some(row) = rows.next()? {
        let judged_in = ProjectName::parse(&row.get::<_, String>(1)?).unwrap_or_else(|_| project.clone());
        relations.push((row.get(0)?, judged_in));
    }
    Ok(relations)
}

/// A relation to a memory that nobody else will ever see would wait for it for ever on every other device.
fn forget(tx: &Transaction<'_>, _: &ProjectName, relation: &str) -> Result<(), MemoryError> {
    for table in ["memory_relations", "engramd_relation"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE sync_id = ?1"))?.execute([relation])?;
    }
    Ok(())
}

/// Shows that a relation lost an end, keeping the status it had beside it; derived, so never journalled (merging.md).
fn orphan(tx: &Transaction<'_>, project: &ProjectName, relation: &str) -> Result<(), MemoryError> {
    tx.prepare_cached(
        "INSERT INTO engramd_relation (sync_id, project, status)
         SELECT sync_id, ?2, judgment_status FROM memory_relations WHERE sync_id = ?1 AND judgment_status <> 'orphaned'
         ON CONFLICT (sync_id) DO UPDATE SET status = excluded.status",
    )?
    .execute([relation, project.as_str()])?;
    tx.prepare_cached("UPDATE memory_relations SET judgment_status = 'orphaned' WHERE sync_id = ?1")?
        .execute([relation])?;
    Ok(())
}

/// Lets a session go that was deleted, if this was the last memory that kept it.
fn release_session(tx: &Transaction<'_>, project: &ProjectName, gone: &ObservationVersion) -> Result<(), MemoryError> {
    let held = session::held(tx, project, &gone.session_id)?;
    if held.is_some_and(|version| version.deleted_at.is_some()) {
        sessions::show(tx, project, &gone.session_id)?;
    }
    Ok(())
}
