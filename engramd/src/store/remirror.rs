//! Queueing the current versions of a project anew, in slices, for a cloud that does not hold them (CUR-3).
//!
//! A row of a restored cloud and one of ours meet as any two versions do, so what it still holds is stored once. The
//! acknowledgements of before stay as they are: they say what a cloud once held. While a project is due nothing of it is
//! pulled or settled, so what its versions add up to is counted anew on the way.

use super::error::StoreError;
use super::journal::{self, LocalWrite};
use super::room::Room;
use super::{Store, Transaction, belonging, cursor, digest, lease, meta, missing, versions, witness};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Digest, Version};
use engram_proto::mutation::Entity;
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use engramd_core::rows::{Belonging, Fence};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeSet;

/// Parents before children. What is known is all that was pulled or acknowledged: rows, deferred ones, tombstones, and
/// dead ones that can be read. Behind the last stage come dead ones of entities that only a newer program knows.
const STAGES: [Entity; 4] = [Entity::Session, Entity::Observation, Entity::Prompt, Entity::Relation];

impl Store {
    /// Says that a project is to be mirrored to the cloud that answers, or that will at the server that is asked: all that
    /// is known of it is due to be queued anew.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remirror(&mut self, project: &ProjectName) -> Result<(), StoreError> {
        self.write(|tx| {
            let (key, server) = (said_for(project), belonging::server(tx)?);
            if meta::get(tx, &key)?.is_some_and(|before| Some(before) != server) {
                // What was said for the other one, or is half done there, is not what was said now.
                forget(tx, project)?;
            }
            meta::set(tx, &key, server.as_deref())?;
            begin(tx, project)
        })
    }

    /// Queues the next slice of a project anew, or of any that is due; the last slice forgets the project's cursor in the
    /// same transaction. With the last project of a restored cloud every cursor of it and its witness are forgotten.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn remirror_slice(
        &mut self,
        fence: &Fence,
        cloud: &str,
        project: Option<&ProjectName>,
        now: RowTime,
        rows_max: u32,
    ) -> Result<Belonging, StoreError> {
        let room = self.turns.room();
        self.write(|tx| {
            lease::check(tx, fence)?;
            let project = project.cloned().or(due(tx)?.pop_first());
            if let Some(project) = project
                && let Some(place) = place(tx, &project)?
            {
                slice(tx, (cloud, &project), place, now, (rows_max, &room))?;
            }
            end_restoration(tx, cloud)?;
            belonging::read(tx, cloud)
        })
    }
}

/// Writes down that a project is due; one that is due already goes on where it is.
pub(super) fn begin(conn: &Connection, project: &ProjectName) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR IGNORE INTO engramd_remirror (project) VALUES (?1)")?.execute([project.as_str()])?;
    Ok(())
}

/// The server for which somebody said that a project is to be mirrored stands under this, followed by the project.
const SAID_FOR: &str = "mirror_at:";

fn said_for(project: &ProjectName) -> String {
    format!("{SAID_FOR}{project}")
}

/// Forgets that a project is to be mirrored.
pub(super) fn forget(conn: &Connection, project: &ProjectName) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM engramd_remirror WHERE project = ?1")?.execute([project.as_str()])?;
    meta::set(conn, &said_for(project), None)
}

/// Forgets what was begun for a cloud that is left, and what was said for another server than the one that is asked: nobody
/// said that it is to be mirrored to the cloud that answers now, so it stands still, and that is said. A cloud that lost
/// rows is found out again when it answers again, for its witness is kept.
pub(super) fn leave(conn: &Connection, former: &str) -> Result<(), StoreError> {
    let restored = belonging::is_restored(conn, former)?;
    conn.prepare_cached(
        "DELETE FROM engramd_remirror WHERE ?1 OR stage > 0 OR after <> ''
             OR (SELECT value FROM engramd_meta WHERE key = ?2 || project) <> ?3",
    )?
    .execute(params![restored, SAID_FOR, belonging::server(conn)?.unwrap_or_default()])?;
    belonging::restoration_ended(conn)
}

/// Lists the projects of other clouds than this one that were said to be mirrored at another server than the one that is
/// asked, and of which nothing is begun: the cloud that was meant never answered.
pub(super) fn said_for_another(conn: &Connection, cloud: &str) -> Result<Vec<ProjectName>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT project FROM engramd_remirror AS due WHERE stage = 0 AND after = ''
             AND EXISTS (SELECT 1 FROM engramd_home AS home WHERE home.project = due.project AND home.cloud_id <> ?1)
             AND (SELECT value FROM engramd_meta WHERE key = ?2 || due.project) <> ?3",
    )?;
    let server = belonging::server(conn)?.unwrap_or_default();
    let names = statement.query_map(params![cloud, SAID_FOR, server], |row| row.get::<_, String>(0))?;
    let names = names.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| ProjectName::parse(name).ok()).collect())
}

/// Lists the projects that are due.
pub(super) fn due(conn: &Connection) -> Result<BTreeSet<ProjectName>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT project FROM engramd_remirror")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| ProjectName::parse(name).ok()).collect())
}

/// Ends the restoration of a cloud once nothing is due: what it told before counts no more.
pub(super) fn end_restoration(conn: &Connection, cloud: &str) -> Result<(), StoreError> {
    if belonging::is_restored(conn, cloud)? && due(conn)?.is_empty() {
        witness::forget(conn, cloud)?;
        cursor::forget(conn, cloud, None)?;
        digest::forget_told(conn, None)?;
        belonging::restoration_ended(conn)?;
    }
    Ok(())
}

/// How far a project is.
struct Place {
    stage: usize,
    /// The key behind which it goes on.
    after: String,
    /// What the versions up to it add up to.
    digest: Digest,
}

fn place(conn: &Connection, project: &ProjectName) -> Result<Option<Place>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT stage, after, digest FROM engramd_remirror WHERE project = ?1")?;
    let row: Option<(i64, String, String)> =
        statement.query_row([project.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    Ok(row.map(|(stage, after, digest)| Place {
        stage: usize::try_from(stage).unwrap_or(usize::MAX),
        after,
        digest: Digest::from_hex(&digest).unwrap_or_default(),
    }))
}

fn slice(
    tx: &Transaction<'_>,
    (cloud, project): (&str, &ProjectName),
    mut place: Place,
    now: RowTime,
    (rows_max, room): (u32, &Room),
) -> Result<(), StoreError> {
    let mut left = rows_max;
    while let (Some(&entity), true) = (STAGES.get(place.stage), left > 0) {
        let keys = next_keys(tx, project, entity, &place.after, left)?;
        let mut looked = 0;
        for key in keys.iter().take_while(|_| room.take(tx)) {
            looked += 1;
            if let Some(known) = versions::known(tx, project, entity, key)? {
                place.digest = place.digest.plus(Digest::of(key, &known));
            }
            queue(tx, project, entity, key, now)?;
        }
        let full = looked < keys.len();
        let count = u32::try_from(looked).unwrap_or(u32::MAX);
        (place.stage, place.after) = match keys.into_iter().take(looked).next_back() {
            Some(last) if full || count == left => (place.stage, last),
            None if full => (place.stage, place.after),
            _ => (place.stage + 1, String::new()),
        };
        left = if full { 0 } else { left - count };
    }
    if place.stage == STAGES.len() && left > 0 {
        (place.stage, place.after) = match queue_unknown(tx, project, &place.after, left, now)? {
            Some(last) => (place.stage, last.to_string()),
            None => (place.stage + 1, String::new()),
        };
    }
    if place.stage <= STAGES.len() {
        let stage = i64::try_from(place.stage).unwrap_or(i64::MAX);
        tx.prepare_cached("UPDATE engramd_remirror SET stage = ?2, after = ?3, digest = ?4 WHERE project = ?1")?
            .execute(params![project.as_str(), stage, place.after, place.digest.to_string()])?;
        return Ok(());
    }
    digest::set(tx, project, place.digest)?;
    forget(tx, project)?;
    cursor::forget(tx, cloud, Some(project))?;
    digest::forget_told(tx, Some(project))?;
    missing::is_due(tx, Some(project))?;
    belonging::come_home(tx, project)
}

fn next_keys(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    after: &str,
    rows_max: u32,
) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT entity_key FROM engramd_version WHERE project = ?1 AND entity = ?2 AND entity_key > ?3
         ORDER BY entity_key LIMIT ?4",
    )?;
    let keys = statement.query_map(params![project.as_str(), entity.as_str(), after, rows_max], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Queues the last row of each entity that this program does not know, behind a held row; returns the last that was looked
/// at, where there may be more.
fn queue_unknown(
    tx: &Transaction<'_>,
    project: &ProjectName,
    after: &str,
    rows_max: u32,
    at: RowTime,
) -> Result<Option<i64>, StoreError> {
    let mut statement = tx.prepare_cached(
        "SELECT id, entity, entity_key, op, payload FROM engramd_held AS h INDEXED BY engramd_held_kind
         WHERE project = ?1 AND kind = 'dead' AND reason_code = ?2 AND id > ?3
             AND entity NOT IN ('session', 'observation', 'prompt', 'relation', 'chunk')
             AND NOT EXISTS (SELECT 1 FROM engramd_held AS later WHERE later.project = ?1 AND later.entity = h.entity
                 AND later.entity_key = h.entity_key AND later.kind = 'dead' AND later.id > h.id)
         ORDER BY id LIMIT ?4",
    )?;
    let (reason, after) = (ReasonCode::RowUndeliverable.as_str(), after.parse::<i64>().unwrap_or(0));
    let rows = statement.query_map(params![project.as_str(), reason, after, rows_max], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
    })?;
    let rows = rows.collect::<Result<Vec<(i64, String, String, String, String)>, _>>()?;
    for (_, entity, key, op, payload) in &rows {
        journal::append_unknown(tx, project, (entity, key), (op, payload), at)?;
    }
    let is_full = u32::try_from(rows.len()).is_ok_and(|count| count == rows_max);
    Ok(rows.last().map(|(id, ..)| *id).filter(|_| is_full))
}

/// Queues an entity as this device has it; it is no edit, and has no base. One whose text is not at hand stays unsent.
fn queue(
    tx: &Transaction<'_>,
    project: &ProjectName,
    entity: Entity,
    key: &str,
    at: RowTime,
) -> Result<(), StoreError> {
    let Some(version) = versions::local(tx, project, entity, key)? else { return Ok(()) };
    if matches!(&version, Version::Relation(relation) if !relation.key.judged) {
        return Ok(());
    }
    // What waits to be sent says it already.
    if versions::pending(tx, project, entity, key)?.contains(&version) {
        return Ok(());
    }
    let Some((op, payload)) = version.write(project, key) else { return Ok(()) };
    let seq = journal::append(tx, &LocalWrite { project, entity, key, op, payload: &payload, base: None, at })?;
    journal::is_no_edit(tx, seq)
}
