//! Files of chunks that were read and cannot be used: each is named again, and not read again before it changes.

use super::super::Store;
use super::super::error::StoreError;
use super::place;
use engram_proto::ipc::chunks::RefusedFile;
use engram_proto::time::RowTime;
use rusqlite::params;

impl Store {
    /// Lists the files of a place that were refused, by their ids.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn refused_at(&self, path: &str) -> Result<Vec<RefusedFile>, StoreError> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT r.id, r.stamp, r.reason FROM engramd_place AS p JOIN engramd_refused AS r USING (place)
                 WHERE p.path = ?1 ORDER BY r.id",
            )?;
            let files = statement.query_map([path], |row| {
                Ok(RefusedFile { id: row.get(0)?, stamp: row.get(1)?, reason: row.get(2)? })
            })?;
            Ok(files.collect::<Result<_, _>>()?)
        })
    }

    /// Keeps which files of a place were refused, [as many](RefusedFile::KEPT_MAX) as are kept, instead of what was kept before.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn refuse_at(&mut self, path: &str, files: &[RefusedFile], now: RowTime) -> Result<(), StoreError> {
        let kept = self.applying(false, now, |applying| {
            let (conn, place) = (applying.conn(), place::ensure(applying.conn(), path)?);
            conn.prepare_cached("DELETE FROM engramd_refused WHERE place = ?1")?.execute([place])?;
            let mut insert = conn.prepare_cached(
                "INSERT OR REPLACE INTO engramd_refused (place, id, stamp, reason) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for RefusedFile { id, stamp, reason } in files.iter().take(RefusedFile::KEPT_MAX) {
                insert.execute(params![place, id, stamp, reason])?;
            }
            Ok(())
        });
        kept.map(drop)
    }
}
