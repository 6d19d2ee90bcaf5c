//! Pending versions whose time lies far ahead of the cloud's clock are stamped again, before they are merged or pushed
//! (merging.md, "Writing on a device"): else a device whose clock was wrong would win for years.

use super::error::StoreError;
use super::{Store, lease, versions};
use engram_proto::canonical::Object;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::{Entity, Op, payload_text, text_of};
use engram_proto::time::RowTime;
use engramd_core::rows::{Batch, BatchLimits, Fence};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// A time may be so far ahead of the cloud's clock, in seconds.
const AHEAD_MAX_S: i64 = 86_400;

/// Where a payload has times.
const TIMES: [&str; 6] = ["updated_at", "deleted_at", "created_at", "last_seen_at", "started_at", "ended_at"];

/// A pending row that can be read.
struct Open {
    seq: i64,
    op: Op,
    payload: Object,
    version: Version,
}

impl Store {
    /// Reads the next pending rows of an enrolled project, as [`pending_batch`](Self::pending_batch) does; where one of
    /// them is more than a day ahead of the cloud's clock, what is pending is stamped again first.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn stamped_batch(
        &mut self,
        fence: &Fence,
        project: &ProjectName,
        limits: BatchLimits,
        cloud_now: Option<RowTime>,
        now: RowTime,
    ) -> Result<Batch, StoreError> {
        let batch = self.pending_batch(fence, project, limits, now)?;
        let Some(cloud_now) = cloud_now else { return Ok(batch) };
        let limit = cloud_now.plus_s(AHEAD_MAX_S);
        if !batch.rows.iter().any(|row| is_ahead(&row.payload, limit)) {
            return Ok(batch);
        }
        self.restamp(fence, cloud_now)?;
        self.pending_batch(fence, project, limits, now)
    }

    /// Stamps what is pending and more than a day ahead with the cloud's time; tells how many rows that was.
    ///
    /// Looks at every pending row: it is for what a batch shows to be ahead, and for the first merge after the server
    /// told its time.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn restamp(&mut self, fence: &Fence, cloud_now: RowTime) -> Result<u64, StoreError> {
        let enrolled = self.enrolled()?;
        // Looked for without the write lock: there is hardly ever one (OWN-3).
        let limit = cloud_now.plus_s(AHEAD_MAX_S);
        let any = self.read(|conn| {
            let mut any = false;
            for project in &enrolled {
                any |= open(conn, project)?.values().flatten().any(|row| row.version.time() > Some(limit));
            }
            Ok(any)
        })?;
        if !any {
            return Ok(0);
        }
        let (stamped, _) = self.applying(true, cloud_now, |applying| {
            lease::check(applying.conn(), fence)?;
            let mut stamped = 0;
            for project in &enrolled {
                for ((entity, key), rows) in open(applying.conn(), project)? {
                    let changed = stamp(applying.conn(), project, (entity, &key), rows, cloud_now)?;
                    if changed > 0 {
                        applying.place_again(project, entity, &key)?;
                        stamped += changed;
                    }
                }
            }
            Ok(stamped)
        })?;
        Ok(stamped)
    }
}

fn is_ahead(payload: &Object, limit: RowTime) -> bool {
    TIMES.iter().any(|field| is_later(payload, field, limit))
}

fn is_later(payload: &Object, field: &str, limit: RowTime) -> bool {
    text_of(payload, field).and_then(RowTime::parse) > Some(limit)
}

type Entities = BTreeMap<(Entity, String), Vec<Open>>;

fn open(conn: &Connection, project: &ProjectName) -> Result<Entities, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, entity, entity_key, op, payload FROM sync_mutations INDEXED BY engramd_mutations_pending
         WHERE project = ?1 AND acked_at IS NULL ORDER BY seq",
    )?;
    let mut rows = statement.query([project.as_str()])?;
    let mut entities = Entities::new();
    while let Some(row) = rows.next()? {
        let text = |at| row.get::<_, String>(at);
        let (entity, key, op, payload) = (text(1)?, text(2)?, text(3)?, text(4)?);
        // What cannot be read is no version; pushing it sets it aside.
        let (Some(entity), Some(op), Ok(payload)) = (Entity::parse(&entity), Op::parse(&op), payload_text(&payload))
        else {
            continue;
        };
        if let Ok(version) = Version::read(entity, &key, op, &payload) {
            entities.entry((entity, key)).or_default().push(Open { seq: row.get(0)?, op, payload, version });
        }
    }
    Ok(entities)
}

/// Stamps the rows of one entity in their order, each above what it was written over (CONV-3).
fn stamp(
    conn: &Connection,
    project: &ProjectName,
    (entity, key): (Entity, &str),
    rows: Vec<Open>,
    cloud_now: RowTime,
) -> Result<u64, StoreError> {
    let limit = cloud_now.plus_s(AHEAD_MAX_S);
    if rows.iter().all(|row| row.version.time() <= Some(limit)) {
        return Ok(0);
    }
    let mut before = versions::known(conn, project, entity, key)?;
    let mut stamped = 0;
    for row in rows {
        let version = if row.version.time() > Some(limit) {
            let (payload, version) = above(before.as_ref(), (entity, key), &row, (cloud_now, limit))?;
            let text = serde_json::Value::Object(payload).to_string();
            conn.prepare_cached("UPDATE sync_mutations SET payload = ?2 WHERE seq = ?1")?
                .execute(params![row.seq, text])?;
            stamped += 1;
            version
        } else {
            row.version
        };
        before = Some(before.map_or_else(|| version.clone(), |before| merge(before, version.clone())));
    }
    Ok(stamped)
}

/// Finds the least time from the cloud's now on with which the version still beats what was before it.
fn above(
    before: Option<&Version>,
    (entity, key): (Entity, &str),
    row: &Open,
    (cloud_now, limit): (RowTime, RowTime),
) -> Result<(Object, Version), StoreError> {
    let mut at = before.and_then(Version::time).map_or(cloud_now, |before| before.max(cloud_now));
    loop {
        let mut payload = row.payload.clone();
        for field in TIMES {
            if is_later(&payload, field, limit) {
                payload.insert(field.to_owned(), at.to_string().into());
            }
        }
        let version = Version::read(entity, key, row.op, &payload)
            .map_err(|error| StoreError::Invalid(format!("the pending {entity} {key}: {error}")))?;
        let beats = before.is_none_or(|before| version.leads(before));
        // A fold of what is known has its key and beats nothing; it needs no second more.
        if beats || version.time() <= Some(cloud_now) || at > limit {
            return Ok((payload, version));
        }
        at = at.plus_s(1);
    }
}
