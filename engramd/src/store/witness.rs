//! The highest row that each cloud told this device of, by page or receipt: what it must still hold (CUR-3).

use super::error::StoreError;
use super::{Store, meta};
use engram_proto::http::witness::Witness;
use engram_proto::time::RowTime;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

/// What a cloud told stands under this, followed by its identity.
const TOLD: &str = "told:";

fn key(cloud_id: &str) -> String {
    format!("{TOLD}{cloud_id}")
}

/// What is kept of what a cloud told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    #[serde(flatten)]
    witness: Witness,
    /// The latest time that it wrote on a row, where that is not the highest one: its clock was set back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latest: Option<String>,
}

impl Told {
    fn latest(&self) -> &str {
        self.latest.as_ref().unwrap_or(&self.witness.occurred_at)
    }

    fn with(self, told: Witness) -> Self {
        let latest = [self.latest(), told.occurred_at.as_str()].into_iter().max_by_key(|text| RowTime::parse(text));
        let latest = latest.unwrap_or_default().to_owned();
        let witness = Witness::later(Some(self.witness), told);
        Self { latest: Some(latest).filter(|latest| *latest != witness.occurred_at), witness }
    }
}

fn all(conn: &Connection, cloud_id: &str) -> Result<Option<Told>, StoreError> {
    Ok(meta::get(conn, &key(cloud_id))?.and_then(|text| serde_json::from_str(&text).ok()))
}

fn get(conn: &Connection, cloud_id: &str) -> Result<Option<Witness>, StoreError> {
    Ok(all(conn, cloud_id)?.map(|told| told.witness))
}

/// Returns the latest time that any cloud wrote on a row that it told of. A clock that says less was set back, or is behind
/// that of a cloud that may have what is pending already.
pub(super) fn latest(conn: &Connection) -> Result<Option<RowTime>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT value FROM engramd_meta WHERE key BETWEEN ?1 AND ?1 || char(1114111)")?;
    let told = statement.query_map([TOLD], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let told = told.iter().filter_map(|text| serde_json::from_str::<Told>(text).ok());
    Ok(told.filter_map(|told| RowTime::parse(told.latest())).max())
}

/// Keeps a row that the cloud told of, where it is the highest.
pub(super) fn told(conn: &Connection, cloud_id: &str, seq: u64, occurred_at: &str) -> Result<(), StoreError> {
    let told = Witness { seq, occurred_at: occurred_at.to_owned() };
    let known = all(conn, cloud_id)?;
    let later = match known.clone() {
        Some(known) => known.with(told),
        None => Told { witness: told, latest: None },
    };
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
