//! What a cloud that was read to its head does not know of, and should: rows of an enrolled project without a known version.
//!
//! Journal rows may have told another cloud of them, as another program did for months (local-store.md, "Enrolling"), or this
//! one, before it was restored. Or nobody told of them: a Go process moved them here, or merged two projects (D12; peers.md,
//! "Rows changed without a journal row"). They are looked for once the history of a project was queued, once it was mirrored
//! anew, and once a day.

use super::apply::Applying;
use super::backfill::{self, STAGES};
use super::error::StoreError;
use super::{journal, moved, reread, versions};
use engram_proto::id::ProjectName;
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, params};

/// The tables to look at. What is left of a deleted prompt is no news to a cloud that does not know of it.
const TABLES: [usize; 4] = [0, 1, 2, 4];

/// So many rows are looked at in one transaction.
const ROWS_MAX: u32 = 500;

/// Writes down that a project, or every one, is to be looked at, once its history was queued.
pub(super) fn is_due(conn: &Connection, project: Option<&ProjectName>) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE engramd_backfill SET stage = ?1, after = 0 WHERE stage > ?1 AND project = coalesce(?2, project)",
    )?
    .execute(params![first(), project.map(ProjectName::as_str)])?;
    Ok(())
}

/// The place in `engramd_backfill` behind the tables of the history.
fn first() -> i64 {
    i64::try_from(STAGES.len()).unwrap_or(i64::MAX)
}

impl Applying<'_> {
    /// Queues the next rows of a project that is drained to the head and of which nothing is known; tells whether to go on.
    pub(super) fn offer_missing(&mut self, project: &ProjectName) -> Result<bool, StoreError> {
        let conn = self.conn();
        let mut statement = conn.prepare_cached("SELECT stage - ?2, after FROM engramd_backfill WHERE project = ?1")?;
        let place: Option<(i64, i64)> =
            statement.query_row(params![project.as_str(), first()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let place = place.and_then(|(stage, after)| Some((usize::try_from(stage).ok()?, after)));
        let Some((stage, after)) = place.filter(|&(stage, _)| stage < TABLES.len()) else { return Ok(false) };
        // What another program may have pulled tells nothing until it was read again.
        if reread::is_due(conn, project)? {
            return Ok(false);
        }
        let (now, mut queued) = (self.now(), false);
        let (table, after) = backfill::walk(
            conn,
            project,
            (TABLES[stage], after),
            ROWS_MAX,
            || self.takes(),
            |entity, key| {
                queued |= offer(conn, project, entity, key, now)?;
                Ok(())
            },
        )?;
        let stage = if table == TABLES[stage] { stage } else { stage + 1 };
        conn.prepare_cached("UPDATE engramd_backfill SET stage = ?2, after = ?3 WHERE project = ?1")?.execute(
            params![project.as_str(), first().saturating_add(i64::try_from(stage).unwrap_or(i64::MAX)), after],
        )?;
        if queued {
            self.has_news(project);
        }
        Ok(stage < TABLES.len())
    }
}

/// Queues an entity that the cloud does not know of, unless a row of ours waits to tell it or was given up; tells whether it
/// did.
fn offer(conn: &Connection, project: &ProjectName, entity: Entity, key: &str, at: RowTime) -> Result<bool, StoreError> {
    let is_spoken_for = |conn: &Connection| -> Result<bool, StoreError> {
        Ok(versions::known(conn, project, entity, key)?.is_some()
            || versions::has_its_own_say(conn, project, entity, key)?)
    };
    if is_spoken_for(conn)? {
        return Ok(false);
    }
    let was_told = journal::tells_of(conn, project, entity, key)?;
    let has_moved = moved::settle(conn, project, entity, key, at)?.is_some();
    if is_spoken_for(conn)? {
        return Ok(has_moved);
    }
    let seq = backfill::queue(conn, project, entity, key, at)?;
    if let Some(seq) = seq.filter(|_| was_told) {
        journal::is_no_edit(conn, seq)?;
    }
    Ok(has_moved || seq.is_some())
}
