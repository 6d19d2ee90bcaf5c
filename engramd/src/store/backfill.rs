//! What the first enrollment of a project queues: all of its history that no journal row tells of, in slices.

use super::error::StoreError;
use super::journal::{self, LocalWrite};
use super::{Store, desired, moved, versions};
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, params};

/// A table to walk: whose rows they are, and the next ones behind a row number, as (number, key).
struct Stage {
    entity: Entity,
    next: &'static str,
}

/// Parents before children; a relation belongs to the project of its source.
const STAGES: [Stage; 5] = [
    Stage {
        entity: Entity::Session,
        next: "SELECT rowid, id FROM sessions INDEXED BY engramd_backfill_sessions
               WHERE project = ?1 AND rowid > ?2 ORDER BY rowid LIMIT ?3",
    },
    Stage {
        entity: Entity::Observation,
        next: "SELECT id, sync_id FROM observations INDEXED BY idx_obs_project
               WHERE project = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    },
    Stage {
        entity: Entity::Prompt,
        next: "SELECT id, sync_id FROM user_prompts INDEXED BY idx_prompts_project
               WHERE project = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    },
    Stage {
        entity: Entity::Prompt,
        next: "SELECT rowid, sync_id FROM prompt_tombstones INDEXED BY engramd_tombstones_project
               WHERE project = ?1 AND rowid > ?2 ORDER BY rowid LIMIT ?3",
    },
    Stage {
        entity: Entity::Relation,
        next: "SELECT r.id, CASE WHEN o.project = ?1 THEN r.sync_id END FROM memory_relations AS r NOT INDEXED
                   LEFT JOIN observations AS o ON o.sync_id = r.source_id
               WHERE r.id > ?2 ORDER BY r.id LIMIT ?3",
    },
];

/// Writes down that a project's history is due, unless it was queued before.
pub(super) fn begin(conn: &Connection, project: &ProjectName) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR IGNORE INTO engramd_backfill (project, stage, after) VALUES (?1, 0, 0)")?
        .execute([project.as_str()])?;
    Ok(())
}

impl Store {
    /// Lists the enrolled projects whose history is still being queued.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn backfills_due(&self) -> Result<Vec<ProjectName>, StoreError> {
        let stages = i64::try_from(STAGES.len()).unwrap_or(i64::MAX);
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT project FROM engramd_backfill WHERE stage < ?1
                 AND project IN (SELECT project FROM sync_enrolled_projects)",
            )?;
            let names = statement.query_map([stages], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok(names.iter().filter_map(|name| ProjectName::parse(name).ok()).collect())
        })
    }

    /// Queues the next rows of an enrolled project's history, looking at `rows_max` of them at most; tells whether more
    /// are left. Goes on where it was, after a crash too, and does nothing once it is through.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn backfill_slice(&mut self, project: &ProjectName, now: RowTime, rows_max: u32) -> Result<bool, StoreError> {
        if !self.read(|conn| Ok(due(conn, project)?.is_some()))? {
            return Ok(false);
        }
        let room = self.turns.room();
        self.write(|tx| {
            let Some((at, stage, after)) = due(tx, project)? else { return Ok(false) };
            let mut statement = tx.prepare_cached(stage.next)?;
            let rows = statement
                .query_map(params![project.as_str(), after, rows_max], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<Vec<(i64, Option<String>)>, _>>()?;
            let mut looked = 0;
            for (_, key) in rows.iter().take_while(|_| room.take(tx)) {
                looked += 1;
                if let Some(key) = key.as_deref().filter(|key| !key.trim().is_empty()) {
                    queue(tx, project, stage.entity, key, now)?;
                }
            }
            let (stage, after) = match rows[..looked].last() {
                Some(&(last, _)) if looked < rows.len() || looked >= rows_max as usize => (at, last),
                _ => (at + 1, 0),
            };
            tx.prepare_cached("UPDATE engramd_backfill SET stage = ?2, after = ?3 WHERE project = ?1")?
                .execute(params![project.as_str(), i64::try_from(stage).unwrap_or(i64::MAX), after])?;
            Ok(STAGES.get(stage).is_some())
        })
    }
}

/// Returns which table comes next, and behind which row.
fn due(conn: &Connection, project: &ProjectName) -> Result<Option<(usize, &'static Stage, i64)>, StoreError> {
    if !desired::is_enrolled(conn, project)? {
        return Ok(None);
    }
    let mut statement = conn.prepare_cached("SELECT stage, after FROM engramd_backfill WHERE project = ?1")?;
    let row: Option<(i64, i64)> =
        statement.query_row([project.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((stage, after)) = row else { return Ok(None) };
    let at = usize::try_from(stage).unwrap_or(usize::MAX);
    Ok(STAGES.get(at).map(|stage| (at, stage, after)))
}

/// Queues an entity as its row shows it, where neither journal nor cloud told of it.
fn queue(
    tx: &super::Transaction<'_>,
    project: &ProjectName,
    entity: Entity,
    key: &str,
    at: RowTime,
) -> Result<(), StoreError> {
    if versions::known(tx, project, entity, key)?.is_some() || journal::tells_of(tx, project, entity, key)? {
        return Ok(());
    }
    moved::settle(tx, project, entity, key, at)?;
    if journal::tells_of(tx, project, entity, key)? {
        return Ok(());
    }
    let Some(version) = versions::row_version(tx, project, entity, key)? else { return Ok(()) };
    if matches!(&version, Version::Relation(relation) if !relation.key.judged) {
        return Ok(());
    }
    let Some((op, payload)) = version.write(project, key) else { return Ok(()) };
    debug_assert!(op == Op::Delete || !version.is_delete());
    journal::append(tx, &LocalWrite { project, entity, key, op, payload: &payload, base: None, at })?;
    Ok(())
}
