//! Pending versions whose time lies far ahead of the cloud's clock are stamped again, before they are merged or pushed
//! (merging.md, "Writing on a device"): else a device whose clock was wrong would win for years.
//!
//! Looked at where a version is about to be used, one entity at a time: nothing walks through what is pending (COST-1).

use super::apply::Applying;
use super::error::StoreError;
use super::{chunks, journal, versions};
use engram_proto::canonical::Object;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::{Entity, Op, payload_text, text_of};
use engram_proto::time::RowTime;
use rusqlite::Connection;

/// A time may be so far ahead of the cloud's clock, in seconds.
const AHEAD_MAX_S: i64 = 86_400;

/// Where a payload has times, and whether a version leads by it; the others are joined with what is known, and never go
/// forward.
const TIMES: [(&str, bool); 6] = [
    ("updated_at", true),
    ("deleted_at", true),
    ("created_at", false),
    ("last_seen_at", false),
    ("started_at", false),
    ("ended_at", true),
];

/// A pending row that can be read.
struct Open {
    seq: i64,
    op: Op,
    payload: Object,
    version: Version,
}

/// Tells whether a version is more than a day ahead of the cloud, as far as its clock is known.
pub(super) fn is_ahead(version: &Version, cloud_now: Option<RowTime>) -> bool {
    cloud_now.is_some_and(|cloud_now| version.time() > Some(limit(cloud_now)))
}

fn limit(cloud_now: RowTime) -> RowTime {
    cloud_now.plus_s(AHEAD_MAX_S)
}

impl Applying<'_> {
    /// Stamps the pending rows of an entity that are ahead, in their order, each above what it was written over (CONV-3).
    /// One that autosync pushed as well comes back as `remote`, stamped by the server: it is that one.
    pub(super) fn stamp_again(
        &self,
        project: &ProjectName,
        entity: Entity,
        key: &str,
        remote: Option<&Version>,
    ) -> Result<(), StoreError> {
        let Some(cloud_now) = self.cloud_now() else { return Ok(()) };
        let mut before = versions::known(self.conn(), project, entity, key)?;
        let open = open(self.conn(), project, entity, key)?;
        let came_back = remote.filter(|remote| open.iter().any(|row| row.version.hash() == remote.hash()));
        let from = came_back.and_then(Version::time).map_or(cloud_now, |at| at.min(cloud_now));
        for row in open {
            let version = if is_ahead(&row.version, Some(cloud_now)) {
                let (payload, version) = above(before.as_ref(), (entity, key), &row, (from, limit(cloud_now)))?;
                let text = serde_json::Value::Object(payload).to_string();
                journal::rewrite(self.conn(), row.seq, &text)?;
                chunks::due::note(self.conn(), project, entity, key)?;
                version
            } else {
                row.version
            };
            before = Some(before.map_or_else(|| version.clone(), |before| merge(before, version.clone())));
        }
        Ok(())
    }
}

fn open(conn: &Connection, project: &ProjectName, entity: Entity, key: &str) -> Result<Vec<Open>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, op, payload FROM sync_mutations INDEXED BY engramd_mutations_entity
         WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND acked_at IS NULL ORDER BY seq",
    )?;
    let mut rows = statement.query([project.as_str(), entity.as_str(), key])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (op, payload): (String, String) = (row.get(1)?, row.get(2)?);
        // What cannot be read is no version; pushing it sets it aside.
        let (Some(op), Ok(payload)) = (Op::parse(&op), payload_text(&payload)) else { continue };
        if let Ok(version) = Version::read(entity, key, op, &payload) {
            found.push(Open { seq: row.get(0)?, op, payload, version });
        }
    }
    Ok(found)
}

/// Finds the least time within two with which the version still beats what was before it.
fn above(
    before: Option<&Version>,
    (entity, key): (Entity, &str),
    row: &Open,
    (from, limit): (RowTime, RowTime),
) -> Result<(Object, Version), StoreError> {
    let mut at = before.and_then(Version::time).map_or(from, |before| before.max(from));
    loop {
        let mut payload = row.payload.clone();
        for (field, leads) in TIMES {
            if let Some(said) = text_of(&payload, field).and_then(RowTime::parse).filter(|&said| said > limit) {
                let again = if leads { at } else { at.min(said) };
                payload.insert(field.to_owned(), again.to_string().into());
            }
        }
        let version = Version::read(entity, key, row.op, &payload)
            .map_err(|error| StoreError::Invalid(format!("the pending {entity} {key}: {error}")))?;
        let beats = before.is_none_or(|before| version.leads(before));
        // A fold of what was before has its key and beats nothing; it needs no second more.
        let is_fold = before.is_some_and(|before| match (&version, before) {
            (Version::Session(_), _) => version.time() <= Some(from),
            _ => version.hash() == before.hash() && version.is_delete() == before.is_delete(),
        });
        if beats || is_fold || at > limit {
            return Ok((payload, version));
        }
        at = at.plus_s(1);
    }
}
