//! Which held rows are in which chunks: an import of a place is whole once none of what lies there is held.

use super::super::Store;
use super::super::apply::Source;
use super::super::error::StoreError;
use super::super::held::{COLUMNS, row_of};
use super::place;
use engram_proto::http::pull::PulledMutation;
use engram_proto::ipc::reply::HeldRow;
use rusqlite::{Connection, params};

/// Writes down that a chunk holds what is held of a row: the row itself, or what waits of its entity. What was set aside
/// before is in the chunks that it was in then.
pub(in super::super) fn note_held(
    conn: &Connection,
    source: Source,
    project: &str,
    row: &PulledMutation,
) -> Result<(), StoreError> {
    let (sql, number) = match source {
        Source::Cloud => return Ok(()),
        Source::Chunk(chunk) => (
            "INSERT OR IGNORE INTO engramd_held_chunk (held, chunk) SELECT id, ?5 FROM engramd_held
             WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND journal_seq IS NULL
                 AND (kind = 'deferred' OR payload = ?4)",
            chunk,
        ),
        Source::Aside(held) => (
            "INSERT OR IGNORE INTO engramd_held_chunk (held, chunk)
             SELECT h.id, c.chunk FROM engramd_held_chunk AS c CROSS JOIN engramd_held AS h
             WHERE c.held = ?5 AND h.project = ?1 AND h.entity = ?2 AND h.entity_key = ?3 AND h.journal_seq IS NULL
                 AND (h.kind = 'deferred' OR h.payload = ?4)",
            held,
        ),
    };
    let values = params![project, row.entity, row.entity_key, row.payload.to_string(), number];
    conn.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Tells whether a row of a chunk is held.
pub(super) fn is_any_of(conn: &Connection, chunk: i64) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM engramd_held_chunk WHERE chunk = ?1)")?;
    Ok(statement.query_row([chunk], |row| row.get(0))?)
}

impl Store {
    /// Tells whether a row of the chunks that lie at a place is held; asked behind every frame, so nothing is counted.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn is_any_held_at(&self, path: &str) -> Result<bool, StoreError> {
        let Some(place) = self.read(|conn| place::find(conn, path))? else { return Ok(false) };
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM engramd_held_chunk AS l
                     CROSS JOIN engramd_place_chunk AS p INDEXED BY engramd_place_chunk_chunk
                 WHERE p.chunk = l.chunk AND p.place = ?1)",
            )?;
            Ok(statement.query_row([place], |row| row.get(0))?)
        })
    }

    /// Counts the held rows of the chunks that lie at a place, and lists the first of them.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn held_at(&self, path: &str, named_max: u32) -> Result<(u64, Vec<HeldRow>), StoreError> {
        let Some(place) = self.read(|conn| place::find(conn, path))? else { return Ok((0, Vec::new())) };
        // From the held rows, of which there are few, to where their chunks lie: of chunks there are many.
        self.read(|conn| {
            let mut count = conn.prepare_cached(
                "SELECT count(DISTINCT l.held) FROM engramd_held_chunk AS l
                     CROSS JOIN engramd_place_chunk AS p INDEXED BY engramd_place_chunk_chunk
                 WHERE p.chunk = l.chunk AND p.place = ?1",
            )?;
            let held: i64 = count.query_row([place], |row| row.get(0))?;
            let mut statement = conn.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM engramd_held WHERE id IN (
                     SELECT l.held FROM engramd_held_chunk AS l
                         CROSS JOIN engramd_place_chunk AS p INDEXED BY engramd_place_chunk_chunk
                     WHERE p.chunk = l.chunk AND p.place = ?1)
                 ORDER BY id LIMIT ?2"
            ))?;
            let mut rows = statement.query(params![place, named_max])?;
            let mut named = Vec::new();
            while let Some(row) = rows.next()? {
                named.push(row_of(row)?);
            }
            Ok((held.unsigned_abs(), named))
        })
    }
}
