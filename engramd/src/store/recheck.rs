//! Hashing rows again, in slices, once a day: what was changed behind the journal is found and put right (merging.md,
//! "Pull").
//!
//! A row whose known version is a delete goes. For one that is gone or has another text the project is read again from
//! the start, which brings the version with its text; until it did, the row is kept in mind as different. Behind the last one
//! the rows that have no known version are due (`missing.rs`). Journal rows of what was deleted for good lose the texts that
//! they still have, of a store that an older release wrote too.

use super::error::StoreError;
use super::rows::{self, Found};
use super::{Store, cursor, desired, journal, lease, meta, missing, moved, versions};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Kind, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::{MS_PER_S, RowTime};
use engramd_core::rows::{Fence, Rechecked};
use rusqlite::{Connection, params};

/// Where the time stands at which the last pass ended.
const DONE_AT: &str = "rechecked_at";

/// Where the pass is: project, entity and key behind which it goes on, as JSON.
const PLACE: &str = "recheck_place";

/// So many different rows are read at once.
const DIFFERENT_ROWS: u32 = 200;

/// Project, entity and key.
pub(super) type Place = (String, String, String);

impl Store {
    /// Looks at the next rows where a pass is due, `every_ms` after the end of the last one; goes on where it was, after a
    /// crash too.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn recheck_slice(
        &mut self,
        fence: &Fence,
        cloud: &str,
        now: RowTime,
        every_ms: u64,
        rows_max: u32,
    ) -> Result<Rechecked, StoreError> {
        let again_in_ms = self.next_pass_in_ms(fence, now, every_ms)?;
        if again_in_ms > 0 {
            return Ok(Rechecked { again_in_ms, ..Rechecked::default() });
        }
        let ((mut rechecked, is_end), _) = self.applying(true, now, |applying| {
            let conn = applying.conn();
            lease::check(conn, fence)?;
            let mut rechecked = Rechecked::default();
            let place = meta::get(conn, PLACE)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            let rows = next(conn, &place, rows_max)?;
            let mut last = None;
            for (row @ (project, entity, key), is_gone) in &rows {
                if !applying.takes() {
                    break;
                }
                last = Some(row);
                let (Ok(project), Some(entity)) = (ProjectName::parse(project), Entity::parse(entity)) else {
                    continue;
                };
                if *is_gone {
                    journal::forget_texts(conn, &project, entity, key)?;
                }
                if !desired::is_enrolled(conn, &project)? {
                    continue;
                }
                match look(conn, &project, entity, key)? {
                    Look::Good => {}
                    Look::Undead => applying.place_again(&project, entity, key)?,
                    Look::Different => {
                        keep_in_mind(conn, &project, entity, key)?;
                        rechecked.different.insert(project, format!("{entity} {key}"));
                    }
                }
            }
            for project in rechecked.different.keys() {
                cursor::forget(conn, cloud, Some(project))?;
            }
            let is_end = rows.len() < rows_max as usize && last == rows.last().map(|(row, _)| row);
            let last = last.filter(|_| !is_end);
            meta::set(conn, PLACE, last.and_then(|last| serde_json::to_string(last).ok()).as_deref())?;
            if is_end {
                meta::set(conn, DONE_AT, Some(&now.to_string()))?;
                missing::is_due(conn, None)?;
            }
            rechecked.is_end = is_end;
            Ok((rechecked, is_end))
        })?;
        if is_end {
            self.forget_mended(fence)?;
            rechecked.again_in_ms = every_ms;
        }
        Ok(rechecked)
    }

    /// Forgets those that were put right since they were found.
    fn forget_mended(&mut self, fence: &Fence) -> Result<(), StoreError> {
        let mut after = Place::default();
        loop {
            let rows = self.read(|conn| different(conn, &after))?;
            let room = self.turns.room();
            let last = self.write(|tx| {
                lease::check(tx, fence)?;
                let mut last = None;
                for row in rows.iter().take_while(|_| room.take(tx)) {
                    forget_if_mended(tx, row)?;
                    last = Some(row.clone());
                }
                Ok(last)
            })?;
            match last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }

    /// Tells how long it is until the next pass, in milliseconds. The first one of a store is due after one period.
    fn next_pass_in_ms(&mut self, fence: &Fence, now: RowTime, every_ms: u64) -> Result<u64, StoreError> {
        let Some(done_at) = self.meta(DONE_AT)?.and_then(|text| RowTime::parse(&text)) else {
            return self.write(|tx| {
                lease::check(tx, fence)?;
                meta::set(tx, DONE_AT, Some(&now.to_string()))?;
                Ok(every_ms)
            });
        };
        // A clock that went back must not put a pass off for long.
        let since_ms = u64::try_from((now.unix_s() - done_at.unix_s()) * MS_PER_S).unwrap_or(every_ms);
        Ok(every_ms.saturating_sub(since_ms))
    }
}

/// What looking at a row found.
enum Look {
    Good,
    /// It shows what is known to be deleted.
    Undead,
    /// It shows something else than what is known, or nothing.
    Different,
}

/// Lists the next entities, and tells of each whether it was deleted for good.
fn next(conn: &Connection, (project, entity, key): &Place, rows_max: u32) -> Result<Vec<(Place, bool)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT project, entity, entity_key, state = 2 FROM engramd_version
         WHERE (project, entity, entity_key) > (?1, ?2, ?3) ORDER BY project, entity, entity_key LIMIT ?4",
    )?;
    let rows = statement.query_map(params![project, entity, key, rows_max], |row| {
        Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn look(conn: &Connection, project: &ProjectName, entity: Entity, key: &str) -> Result<Look, StoreError> {
    // A session's version is its own text, and its one row may show another project's.
    if entity == Entity::Session || versions::has_its_own_say(conn, project, entity, key)? {
        return Ok(Look::Good);
    }
    let Some(known) = versions::known(conn, project, entity, key)? else { return Ok(Look::Good) };
    let found = rows::find(conn, project, entity, key)?;
    if let (Version::Observation(known), Some(Found::Observation(found))) = (&known, &found)
        && known.key.kind != Kind::Upsert
    {
        return Ok(if found.is_live || known.key.kind == Kind::Hard { Look::Undead } else { Look::Good });
    }
    let row = found.map(|found| found.version(conn, project, key)).transpose()?.flatten();
    Ok(match (&known, &row) {
        // What is left of a deleted prompt is its tombstone.
        (known, Some(row)) if known.is_delete() && row.is_delete() => Look::Good,
        (known, Some(_)) if known.is_delete() => Look::Undead,
        (known, Some(row)) if known.hash() != row.hash() => Look::Different,
        (known, None) if !known.is_delete() && !is_elsewhere(conn, project, known)? => Look::Different,
        _ => Look::Good,
    })
}

/// Tells whether a version has no row for a reason: a prompt that went with its session, a relation that has no room.
fn is_elsewhere(conn: &Connection, project: &ProjectName, version: &Version) -> Result<bool, StoreError> {
    match version {
        Version::Prompt(prompt) => {
            let deleted_at = super::apply::sessions::deleted_at(conn, project, &prompt.session_id)?;
            Ok(deleted_at.is_some() && prompt.key.time <= deleted_at)
        }
        Version::Relation(_) => Ok(true),
        Version::Session(_) | Version::Observation(_) => Ok(false),
    }
}

/// Keeps in mind that an entity's row is to be looked at again.
pub(super) fn keep_in_mind(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR IGNORE INTO engramd_different (project, entity, entity_key) VALUES (?1, ?2, ?3)")?
        .execute([project.as_str(), entity.as_str(), key])?;
    Ok(())
}

/// Returns an entity whose row still shows something else than what is known.
pub(super) fn first_different(
    conn: &Connection,
    project: &ProjectName,
) -> Result<Option<(Entity, String)>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT entity, entity_key FROM engramd_different WHERE project = ?1")?;
    let mut rows = statement.query([project.as_str()])?;
    while let Some(row) = rows.next()? {
        let (entity, key): (String, String) = (row.get(0)?, row.get(1)?);
        if let Some(entity) = Entity::parse(&entity)
            && !matches!(look(conn, project, entity, &key)?, Look::Good)
        {
            return Ok(Some((entity, key)));
        }
    }
    Ok(None)
}

/// Lists the first entities that were found to be different behind one.
pub(super) fn different(conn: &Connection, (project, entity, key): &Place) -> Result<Vec<Place>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT project, entity, entity_key FROM engramd_different
         WHERE (project, entity, entity_key) > (?1, ?2, ?3) ORDER BY project, entity, entity_key LIMIT ?4",
    )?;
    let names = params![project, entity, key, DIFFERENT_ROWS];
    let rows = statement.query_map(names, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn forget_if_mended(conn: &Connection, (project, entity, key): &Place) -> Result<(), StoreError> {
    let is_mended = match ProjectName::parse(project).ok().zip(Entity::parse(entity)) {
        // What is in doubt was written over, so that nothing differs; whose it is must still be told.
        Some((project, entity)) => {
            matches!(look(conn, &project, entity, key)?, Look::Good)
                && !moved::may_have_moved(conn, &project, entity, key)?
        }
        None => true,
    };
    if is_mended {
        conn.prepare_cached("DELETE FROM engramd_different WHERE project = ?1 AND entity = ?2 AND entity_key = ?3")?
            .execute([project, entity, key])?;
    }
    Ok(())
}
