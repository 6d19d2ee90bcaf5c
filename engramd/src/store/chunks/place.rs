//! Directories that hold chunk files: which of the files there are news, and up to where a project was exported.

use super::super::error::StoreError;
use super::super::room::Room;
use super::super::{Store, journal};
use super::{APPLIED, Mark, Part, READ, due, held, learn};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, params};

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

/// Returns the number of a place, giving it one.
pub(super) fn ensure(conn: &Connection, path: &str) -> Result<i64, StoreError> {
    if let Some(place) = find(conn, path)? {
        return Ok(place);
    }
    conn.prepare_cached("INSERT INTO engramd_place (path) VALUES (?1)")?.execute([path])?;
    Ok(conn.last_insert_rowid())
}

/// Writes down that a chunk lies at a place.
fn lies_at(
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

/// Writes down that a chunk was read to its end, whether the tables have its rows, and where it lies.
///
/// A Go process on this store passes over a chunk that is listed as imported.
pub(in super::super) fn read_through(
    conn: &Connection,
    part: &Part,
    (chunk, state): (i64, i64),
    now: RowTime,
) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE engramd_chunk SET state = max(state, ?2) WHERE chunk = ?1")?.execute([chunk, state])?;
    lies_at(conn, (&part.place, &part.id), chunk, state == APPLIED, now)
}

impl Store {
    /// Tells whether a place is in the state that was [settled](Self::place_settle).
    ///
    /// # Errors
    /// What SQLite says.
    pub fn place_is_settled(&self, path: &str, stamp: &str) -> Result<bool, StoreError> {
        self.read(|conn| {
            let mut statement =
                conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM engramd_place WHERE path = ?1 AND stamp = ?2)")?;
            Ok(statement.query_row([path, stamp], |row| row.get(0))?)
        })
    }

    /// Writes down that every chunk that lies at a place in this state was applied, and is listed; not where a row of them
    /// is held: that is said again by every import.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn place_settle(&mut self, path: &str, stamp: &str, now: RowTime) -> Result<(), StoreError> {
        if self.held_at(path, 0)?.0 > 0 {
            return Ok(());
        }
        let kept = self.applying(false, now, |applying| {
            let (conn, place) = (applying.conn(), ensure(applying.conn(), path)?);
            conn.prepare_cached("UPDATE engramd_place SET stamp = ?2 WHERE place = ?1")?
                .execute(params![place, stamp])?;
            Ok(())
        });
        kept.map(drop)
    }

    /// Compares the files that lie at a place with what was read there before. What a file held that is gone is due
    /// again; where none is gone, nothing is written.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn chunks_meet(&mut self, path: &str, ids: &[impl AsRef<str>]) -> Result<Met, StoreError> {
        let mut there: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
        if !there.is_sorted() {
            there.sort_unstable();
        }
        let Some(place) = self.read(|conn| find(conn, path))? else {
            return Ok(Met { unknown: there.into_iter().map(str::to_owned).collect(), unread: Vec::new() });
        };
        let (unknown, gone) = self.read(|conn| compare(conn, place, &there))?;
        let mut unread = self.read(|conn| unread_at(conn, place))?;
        unread.retain(|id| there.binary_search(&id.as_str()).is_ok());
        let mut at = (0, due::Named::default());
        while at.0 < gone.len() {
            let room = self.turns.room();
            at = self.write(|tx| forget_files(tx, place, &gone, at, &room))?;
        }
        Ok(Met { unknown, unread })
    }

    /// Tells whether nothing is known of any of these chunks (id and hash).
    ///
    /// # Errors
    /// What SQLite says.
    fn knows_none(&self, chunks: &[(String, Hash)]) -> Result<bool, StoreError> {
        self.read(|conn| {
            let mut known = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM engramd_chunk WHERE hash = ?1)")?;
            for (_, hash) in chunks {
                if known.query_row([hash.to_string()], |row| row.get(0))? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Tells of which chunks (id and hash) that were found at a place the rows are wanted; where the same content was
    /// read elsewhere, they are not, unless a row of it is held.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn chunks_wanted(
        &mut self,
        path: &str,
        chunks: &[(String, Hash)],
        to_apply: bool,
        now: RowTime,
    ) -> Result<Vec<bool>, StoreError> {
        // What waits for their memories may travel now. It is looked for before the lock is taken.
        let leads = |(_, hash): &(String, Hash)| self.read(|conn| due::waiting_for_all_of(conn, hash));
        let leading = chunks.iter().map(leads).collect::<Result<Vec<_>, _>>()?;
        let mut wanted = Vec::with_capacity(chunks.len());
        // Of most chunks that are brought nothing was heard before, and then nothing is written here.
        if self.knows_none(chunks)? {
            wanted.resize(chunks.len(), true);
        }
        while let Some(rest) = chunks.get(wanted.len()..).filter(|rest| !rest.is_empty()) {
            let (part, _) = self.applying(false, now, |applying| {
                let conn = applying.conn();
                let rest = rest.iter().zip(leading.iter().skip(wanted.len()));
                let part = rest.take_while(|_| applying.takes()).map(|((id, hash), leading)| {
                    let (chunk, state) = learn::chunk(conn, *hash)?;
                    let is_whole = state >= if to_apply { APPLIED } else { READ };
                    if !is_whole || to_apply && held::is_any_of(conn, chunk)? {
                        return Ok(true);
                    }
                    lies_at(conn, (path, id), chunk, state == APPLIED, now)?;
                    if let Some(place) = find(conn, path)? {
                        leading.iter().try_for_each(|relation| due::note_at(conn, place, relation))?;
                    }
                    Ok(false)
                });
                part.collect::<Result<Vec<_>, StoreError>>()
            })?;
            wanted.extend(part);
        }
        Ok(wanted)
    }

    /// Writes down that all of these projects may be in a file from now on: what is deleted for good after this is sent
    /// as a delete, never taken back.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn export_begins(&mut self, projects: &[ProjectName]) -> Result<(), StoreError> {
        let mut new = Vec::new();
        for project in projects {
            if !self.read(|conn| journal::all_are_carried(conn, project))? {
                new.push(project);
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            for project in new {
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
    gone: &[String],
    (mut at, mut after): (usize, due::Named),
    room: &Room,
) -> Result<(usize, due::Named), StoreError> {
    while let Some(id) = gone.get(at) {
        let mut chunk = conn.prepare_cached("SELECT chunk FROM engramd_place_chunk WHERE place = ?1 AND id = ?2")?;
        let rows = due::held_by(conn, chunk.query_row(params![place, id], |row| row.get(0))?, &after)?;
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

/// Compares the ids of the files there, in order, with those that were read at a place: which are new, and which gone.
fn compare(conn: &Connection, place: i64, there: &[&str]) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let mut statement = conn.prepare_cached("SELECT id FROM engramd_place_chunk WHERE place = ?1 ORDER BY id")?;
    let mut rows = statement.query([place])?;
    let (mut unknown, mut gone, mut there) = (Vec::new(), Vec::new(), there.iter().peekable());
    while let Some(row) = rows.next()? {
        let id = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        while let Some(new) = there.next_if(|&&other| other < id) {
            unknown.push((*new).to_owned());
        }
        if there.next_if(|&&other| other == id).is_none() {
            gone.push(id.to_owned());
        }
    }
    unknown.extend(there.map(|&new| new.to_owned()));
    Ok((unknown, gone))
}

/// Lists the files that were read at a place, and not applied.
fn unread_at(conn: &Connection, place: i64) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT p.id FROM engramd_chunk AS c INDEXED BY engramd_chunk_unread
             CROSS JOIN engramd_place_chunk AS p INDEXED BY engramd_place_chunk_chunk
         WHERE c.state < 2 AND p.chunk = c.chunk AND p.place = ?1 ORDER BY p.id",
    )?;
    let ids = statement.query_map([place], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}
