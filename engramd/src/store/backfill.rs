//! What the first enrollment of a project queues: all of its history that no journal row tells of, in slices. What journal rows
//! told another cloud of follows once this one was read (`missing.rs`).

use super::error::StoreError;
use super::journal::{self, LocalWrite};
use super::{Store, desired, moved, versions};
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, params};

/// A table to walk: whose rows they are, and the next ones behind a row number, as (number, key).
pub(super) struct Stage {
    entity: Entity,
    next: &'static str,
}

/// Parents before children.
pub(super) const STAGES: [Stage; 5] = [
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
        // Their sources, in whose project they are.
        next: "SELECT id, sync_id FROM observations INDEXED BY idx_obs_project
               WHERE project = ?1 AND id > ?2 AND EXISTS (
                   SELECT 1 FROM memory_relations INDEXED BY idx_memrel_source WHERE source_id = observations.sync_id)
               ORDER BY id LIMIT ?3",
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
            let Some(place) = due(tx, project)? else { return Ok(false) };
            let (table, after) = walk(
                tx,
                project,
                place,
                rows_max,
                || room.take(tx),
                |entity, key| queue_untold(tx, project, entity, key, now),
            )?;
            tx.prepare_cached("UPDATE engramd_backfill SET stage = ?2, after = ?3 WHERE project = ?1")?
                .execute(params![project.as_str(), i64::try_from(table).unwrap_or(i64::MAX), after])?;
            Ok(STAGES.get(table).is_some())
        })
    }
}

/// Returns which table comes next, and behind which row.
fn due(conn: &Connection, project: &ProjectName) -> Result<Option<(usize, i64)>, StoreError> {
    if !desired::is_enrolled(conn, project)? {
        return Ok(None);
    }
    let mut statement = conn.prepare_cached("SELECT stage, after FROM engramd_backfill WHERE project = ?1")?;
    let row: Option<(i64, i64)> =
        statement.query_row([project.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(row.and_then(|(stage, after)| Some((usize::try_from(stage).ok().filter(|&at| at < STAGES.len())?, after))))
}

/// Looks at the next rows of a table, at `rows_max` at most and at those that there is room for; returns where the walk
/// goes on, which is behind the last table at its end.
pub(super) fn walk(
    conn: &Connection,
    project: &ProjectName,
    (table, after): (usize, i64),
    rows_max: u32,
    has_room: impl Fn() -> bool,
    mut look: impl FnMut(Entity, &str) -> Result<(), StoreError>,
) -> Result<(usize, i64), StoreError> {
    let Some(stage) = STAGES.get(table) else { return Ok((table, after)) };
    let mut statement = conn.prepare_cached(stage.next)?;
    let rows = statement
        .query_map(params![project.as_str(), after, rows_max], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(i64, Option<String>)>, _>>()?;
    let mut looked = 0;
    for (_, key) in rows.iter().take_while(|_| has_room()) {
        looked += 1;
        match key.as_deref().filter(|key| !key.trim().is_empty()) {
            Some(source) if stage.entity == Entity::Relation => {
                relations_of(conn, source)?.iter().try_for_each(|key| look(Entity::Relation, key))?;
            }
            Some(key) => look(stage.entity, key)?,
            None => {}
        }
    }
    Ok(match rows[..looked].last() {
        Some(&(last, _)) if looked < rows.len() || looked >= rows_max as usize => (table, last),
        // There was no room for the first one.
        None if !rows.is_empty() => (table, after),
        _ => (table + 1, 0),
    })
}

fn relations_of(conn: &Connection, source: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT sync_id FROM memory_relations INDEXED BY idx_memrel_source WHERE source_id = ?1 AND sync_id <> ''",
    )?;
    let keys = statement.query_map([source], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Queues an entity as its row shows it, where neither journal nor cloud told of it.
fn queue_untold(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
    at: RowTime,
) -> Result<(), StoreError> {
    let is_told = |conn: &Connection| -> Result<bool, StoreError> {
        Ok(versions::known(conn, project, entity, key)?.is_some() || journal::tells_of(conn, project, entity, key)?)
    };
    if is_told(conn)? {
        return Ok(());
    }
    moved::settle(conn, project, entity, key, at)?;
    if !is_told(conn)? {
        queue(conn, project, entity, key, at)?;
    }
    Ok(())
}

/// Queues an entity as its row shows it; returns its place in the journal.
pub(super) fn queue(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
    at: RowTime,
) -> Result<Option<i64>, StoreError> {
    let Some(version) = versions::row_version(conn, project, entity, key)? else { return Ok(None) };
    if matches!(&version, Version::Relation(relation) if !relation.key.judged) {
        return Ok(None);
    }
    let Some((op, payload)) = version.write(project, key) else { return Ok(None) };
    debug_assert!(op == Op::Delete || !version.is_delete());
    journal::append_on(conn, &LocalWrite { project, entity, key, op, payload: &payload, base: None, at }).map(Some)
}
