//! Single values of this store: who it is, which fence was granted last, what the loop wants to find again.

use super::Store;
use super::error::StoreError;
use rusqlite::{Connection, OptionalExtension as _};

/// The uuid of this store, made when the file was.
pub(super) const DEVICE_ID: &str = "device_id";
/// The number of the last fence granted.
pub(super) const FENCE: &str = "fence";
/// How often rows became or ceased to be pending, or held, in a way that counts have to be made anew for.
pub(super) const RECOUNTS: &str = "recounts";

pub(super) fn get(conn: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT value FROM engramd_meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

pub(super) fn get_number(conn: &Connection, key: &str) -> Result<i64, StoreError> {
    Ok(get(conn, key)?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

pub(super) fn set(conn: &Connection, key: &str, value: Option<&str>) -> Result<(), StoreError> {
    match value {
        Some(value) => conn
            .prepare_cached(
                "INSERT INTO engramd_meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
            )?
            .execute([key, value])?,
        None => conn.prepare_cached("DELETE FROM engramd_meta WHERE key = ?1")?.execute([key])?,
    };
    Ok(())
}

/// Raises a number by one and returns it.
pub(super) fn raise(conn: &Connection, key: &str) -> Result<i64, StoreError> {
    let number = get_number(conn, key)? + 1;
    set(conn, key, Some(&number.to_string()))?;
    Ok(number)
}

/// Makes whoever counted pending and held rows before this count them anew.
pub(super) fn recount(conn: &Connection) -> Result<(), StoreError> {
    raise(conn, RECOUNTS).map(drop)
}

impl Store {
    /// Returns a value that was kept under this key.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        get(&self.conn, key)
    }

    /// Keeps a value under this key, or forgets it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_meta(&mut self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        self.write(|tx| set(tx, key, value))
    }
}
