//! Directories that hold chunk files: which of the files there are news, and up to where a project was exported.

use super::super::error::StoreError;
use super::super::turn::Room;
use super::super::{Store, journal};
use super::{APPLIED, Mark, READ, due, learn};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::HashMap;

/// So many rows that were due are forgotten in one transaction (OWN-3).
const DUE_ROWS: u32 = 200;

/// The target of chunk files in the table shared with the Go program.
const FILES: &str = "local";

/// Which of the files at a place are news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Nothing is known of what is in them.
    pub unknown: Vec<String>,
    /// What is in them is known, but was not applied.
    pub unread: Vec<String>,
}

/// Finds a place by its path.
pub(super) fn find(conn: &Connection, path: &str) -> Result<Option<i64>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT place FROM engramd_place WHERE path = ?1")?;
    Ok(statement.query_row([path], |row| row.get(0)).optional()?)
}

fn ensure(conn: &Connection, path: &str) -> Result<i64, StoreError> {
    if let Some(place) = find(conn, path)? {
        return Ok(place);
    }
    conn.prepare_cached("INSERT INTO engramd_place (path) VALUES (?1)")?.execute([path])?;
    Ok(conn.last_insert_rowid())
}

/// Writes down that a chunk lies at a place.
pub(super) fn lies_at(
    conn: &Connection,
    (path, id): (&str, &str),
    chunk: i64,
    applied: bool,
    now: RowTime,
) -> Result<(), StoreError> {
    let place = ensure(conn, path)?;
    conn.prepare_cached("INSERT OR REPLACE INTO engramd_place_chunk (place, id, chunk) VALUES (?1, ?2, ?3)")?
        .execute(params![place, id, chunk])?;
    if applied {
        conn.prepare_cached(
            "INSERT OR IGNORE INTO sync_chunks (target_key, chunk_id, imported_at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![FILES, id, now.to_string()])?;
    }
    Ok(())
}

impl Store {
    /// Compares the files that lie at a place with what was read there before. What a file held that is gone is due
    /// again; where none is gone, nothing is written.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn chunks_meet(&mut self, path: &str, ids: &[String]) -> Result<Met, StoreError> {
        let Some(place) = self.read(|conn| find(conn, path))? else {
            return Ok(Met { unknown: ids.to_vec(), unread: Vec::new() });
        };
        let mut known = self.read(|conn| lying_at(conn, place))?;
        let mut met = Met::default();
        for id in ids {
            match known.remove(id) {
                None => met.unknown.push(id.clone()),
                Some((_, state)) if state < APPLIED => met.unread.push(id.clone()),
                Some(_) => {}
            }
        }
        let gone: Vec<_> = known.into_iter().map(|(id, (chunk, _))| (id, chunk)).collect();
        let mut at = (0, due::Named::default());
        while at.0 < gone.len() {
            let room = self.turns.room();
            at = self.write(|tx| forget_files(tx, place, &gone, at, &room))?;
        }
        Ok(met)
    }

    /// Tells whether the rows of a chunk that was found at a place are wanted; where the same content was read
    /// elsewhere, they are not.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn chunk_wanted(
        &mut self,
        names: (&str, &str),
        hash: Hash,
        to_apply: bool,
        now: RowTime,
    ) -> Result<bool, StoreError> {
        let wanted = self.applying(false, now, |applying| {
            let (chunk, state) = learn::chunk(applying.conn(), hash)?;
            if state < if to_apply { APPLIED } else { READ } {
                return Ok(true);
            }
            lies_at(applying.conn(), names, chunk, state == APPLIED, now)?;
            Ok(false)
        });
        Ok(wanted?.0)
    }

    /// Writes down that all of these projects may be in a file from now on: what is deleted for good after this is sent
    /// as a delete, never taken back.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn export_begins(&mut self, projects: &[ProjectName]) -> Result<(), StoreError> {
        self.write(|tx| {
            for project in projects {
                journal::mark_carried(tx, project)?;
            }
            Ok(())
        })
    }

    /// Writes down up to where projects were exported to a place, after the files are written. Marks only grow.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn exported(&mut self, path: &str, marks: &[Mark], now: RowTime) -> Result<(), StoreError> {
        let (due, lists): (Vec<_>, Vec<_>) = marks.iter().partition(|mark| mark.list == super::candidates::DUE);
        for mark in due {
            while self.write(|tx| forget_due(tx, path, mark))? {}
        }
        let kept = self.applying(false, now, |applying| {
            let conn = applying.conn();
            let place = ensure(conn, path)?;
            for mark in lists {
                conn.prepare_cached(
                    "INSERT INTO engramd_place_mark (place, project, list, through) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (place, project, list) DO UPDATE SET through = max(through, ?4)",
                )?
                .execute(params![place, mark.project.as_str(), mark.list, mark.through])?;
            }
            Ok(())
        });
        kept.map(drop)
    }
}

/// Notes what files held that are gone, and forgets them, as far as there is room; goes on at a file, behind an entity,
/// and returns where it ended.
fn forget_files(
    conn: &Connection,
    place: i64,
    gone: &[(String, i64)],
    (mut at, mut after): (usize, due::Named),
    room: &Room,
) -> Result<(usize, due::Named), StoreError> {
    while let Some((id, chunk)) = gone.get(at) {
        let rows = due::held_by(conn, *chunk, &after)?;
        if !room.take(conn) {
            break;
        }
        if rows.is_empty() {
            conn.prepare_cached("DELETE FROM engramd_place_chunk WHERE place = ?1 AND id = ?2")?
                .execute(params![place, id])?;
            (at, after) = (at + 1, due::Named::default());
        }
        for row in rows {
            if !room.take(conn) {
                return Ok((at, after));
            }
            due::note_at(conn, place, &row)?;
            after = row;
        }
    }
    Ok((at, after))
}

/// Forgets some of what was due at a place up to a mark; tells whether there may be more.
fn forget_due(conn: &Connection, path: &str, mark: &Mark) -> Result<bool, StoreError> {
    let Some(place) = find(conn, path)? else { return Ok(false) };
    let forgotten = conn
        .prepare_cached(
            "DELETE FROM engramd_due WHERE n IN
                 (SELECT n FROM engramd_due WHERE place = ?1 AND project = ?2 AND n <= ?3 LIMIT ?4)",
        )?
        .execute(params![place, mark.project.as_str(), mark.through, DUE_ROWS])?;
    Ok(forgotten >= DUE_ROWS as usize)
}

/// Reads which files were read at a place: by id, the chunk and its state.
fn lying_at(conn: &Connection, place: i64) -> Result<HashMap<String, (i64, i64)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT p.id, p.chunk, c.state FROM engramd_place_chunk AS p JOIN engramd_chunk AS c USING (chunk)
         WHERE p.place = ?1",
    )?;
    let rows = statement.query_map([place], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
