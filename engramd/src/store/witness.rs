//! The highest row that each cloud told this device of, by page or receipt: what it must still hold (CUR-3).

use super::error::StoreError;
use super::{Store, meta};
use engram_proto::http::witness::Witness;
use rusqlite::Connection;

fn key(cloud_id: &str) -> String {
    format!("told:{cloud_id}")
}

pub(super) fn get(conn: &Connection, cloud_id: &str) -> Result<Option<Witness>, StoreError> {
    Ok(meta::get(conn, &key(cloud_id))?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Keeps a row that the cloud told of, where it is the highest.
pub(super) fn told(conn: &Connection, cloud_id: &str, seq: u64, occurred_at: &str) -> Result<(), StoreError> {
    let told = Witness { seq, occurred_at: occurred_at.to_owned() };
    let known = get(conn, cloud_id)?;
    let later = Witness::later(known.clone(), told);
    if known.as_ref() == Some(&later) {
        return Ok(());
    }
    let text = serde_json::to_string(&later).map_err(|error| StoreError::Invalid(error.to_string()))?;
    meta::set(conn, &key(cloud_id), Some(&text))
}

/// Forgets it: the cloud lost it.
pub(super) fn forget(conn: &Connection, cloud_id: &str) -> Result<(), StoreError> {
    meta::set(conn, &key(cloud_id), None)
}

impl Store {
    /// Returns the highest row that a cloud told of; `None` where it told of none yet.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn witness(&self, cloud_id: &str) -> Result<Option<Witness>, StoreError> {
        self.read(|conn| get(conn, cloud_id))
    }
}
