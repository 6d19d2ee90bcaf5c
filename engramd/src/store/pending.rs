//! Reading what is to be pushed: pending rows of one project in the order they were written.

use super::error::StoreError;
use super::held::{SetAside, set_aside};
use super::{Store, chunks, desired, foreign, journal, lease, reread, restamp, rows, versions};
use engram_proto::canonical::{Hash, Object};
use engram_proto::id::{ProjectName, mutation_id};
use engram_proto::ipc::reply::HeldKind;
use engram_proto::merge::{RECOVERED_DIRECTORY, Version};
use engram_proto::mutation::{Entity, Op, payload_text, text_of};
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use engramd_core::rows::{Batch, BatchLimits, Clocks, Fence, PendingRow};
use rusqlite::{Connection, params};

/// What an entry has on the wire beside payload, key and project.
const ENTRY_BYTES: usize = 256;

/// One row as the journal has it.
struct Raw {
    seq: i64,
    entity: String,
    key: String,
    op: String,
    payload: String,
    base: Option<String>,
}

impl Store {
    /// Reads the next pending rows of an enrolled project.
    ///
    /// Before it returns, it is on disk that these rows may have been carried: from here on a hard delete can no longer
    /// take them back. Fields that a row lacks are filled from the tables, once; a row that cannot be sent is held. What a
    /// Go process wrote over their entities behind the journal goes, and times that are more than a day ahead of the
    /// cloud's are its time for now. Nothing is read of a project that has to be read to the head first.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn pending_batch(
        &mut self,
        fence: &Fence,
        project: &ProjectName,
        limits: BatchLimits,
        clocks: impl Into<Clocks>,
    ) -> Result<Batch, StoreError> {
        let clocks = clocks.into();
        loop {
            let batch = self.load_batch(fence, project, limits, clocks)?;
            // Where every row that there was room for was held, the next ones are looked at.
            if !(batch.rows.is_empty() && batch.more) {
                return Ok(batch);
            }
        }
    }

    /// Reads them in one transaction, as far as there is room.
    fn load_batch(
        &mut self,
        fence: &Fence,
        project: &ProjectName,
        limits: BatchLimits,
        clocks: Clocks,
    ) -> Result<Batch, StoreError> {
        let device_id = self.device_id.clone();
        let (batch, _) = self.applying(true, clocks.own, |applying| {
            let tx = applying.conn();
            applying.set_cloud_now(clocks.cloud)?;
            lease::check(tx, fence)?;
            let mut batch = Batch { project: project.clone(), rows: Vec::new(), more: false };
            if !desired::is_enrolled(tx, project)? || reread::is_due(tx, project)? {
                return Ok(batch);
            }
            let (mut bytes, mut after) = (0, 0);
            while let Some(mut raw) = next(tx, project, after)? {
                if !applying.takes() {
                    batch.more = true;
                    break;
                }
                after = raw.seq;
                let entity = Entity::parse(&raw.entity);
                if let Some(entity) = entity.filter(|&entity| raw.is_ahead(entity, applying.cloud_now())) {
                    applying.stamp_again(project, entity, &raw.key, None)?;
                    raw = next(tx, project, raw.seq - 1)?.unwrap_or(raw);
                }
                match prepare(tx, &device_id, project, &raw)? {
                    Ok(row) => {
                        if let Some(entity) = entity {
                            applying.show_again(project, entity, &raw.key)?;
                        }
                        // One that is larger than a request may be goes with the next: where it is refused, that proves the
                        // server well (ISO-1).
                        let is_alone = batch.rows.len() == 1 && bytes > limits.body_bytes_max;
                        let full = batch.rows.len() >= limits.rows_max as usize
                            || bytes + row.body_bytes > limits.body_bytes_max && !is_alone;
                        if full && !batch.rows.is_empty() {
                            batch.more = true;
                            break;
                        }
                        bytes += row.body_bytes;
                        batch.rows.push(row);
                    }
                    Err(evidence) => hold(tx, project, &raw, &evidence, clocks.own)?,
                }
            }
            if let Some(last) = batch.rows.last() {
                journal::mark_carried_until(tx, project, last.seq)?;
            }
            Ok(batch)
        })?;
        Ok(batch)
    }
}

impl Raw {
    fn is_ahead(&self, entity: Entity, cloud_now: Option<RowTime>) -> bool {
        let version = || versions::read(entity, &self.key, &self.op, &self.payload);
        cloud_now.is_some() && version().is_some_and(|version| restamp::is_ahead(&version, cloud_now))
    }
}

fn next(conn: &Connection, project: &ProjectName, after: i64) -> Result<Option<Raw>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT m.seq, m.entity, m.entity_key, m.op, m.payload, j.base
         FROM sync_mutations AS m INDEXED BY engramd_mutations_pending LEFT JOIN engramd_journal AS j ON j.seq = m.seq
         WHERE m.project = ?1 AND m.acked_at IS NULL AND m.seq > ?2
             AND NOT EXISTS (SELECT 1 FROM engramd_held AS h WHERE h.journal_seq = m.seq)
         ORDER BY m.seq LIMIT 1",
    )?;
    let mut rows = statement.query(params![project.as_str(), after])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Raw {
        seq: row.get(0)?,
        entity: row.get(1)?,
        key: row.get(2)?,
        op: row.get(3)?,
        payload: row.get(4)?,
        base: row.get(5)?,
    }))
}

/// Makes a row ready to be sent; the inner error says why it cannot be.
fn prepare(
    conn: &Connection,
    device_id: &str,
    project: &ProjectName,
    raw: &Raw,
) -> Result<Result<PendingRow, String>, StoreError> {
    let Some(op) = Op::parse(&raw.op) else { return Ok(Err(format!("the operation {:?} is not known", raw.op))) };
    let mut payload = match payload_text(&raw.payload) {
        Ok(payload) => payload,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let (mut payload_bytes, mut base) = (raw.payload.len(), raw.base.clone());
    let mutation_id = match Entity::parse(&raw.entity) {
        Some(entity) => {
            if fill(conn, project, entity, &raw.key, op, &mut payload)? {
                let text = serde_json::Value::Object(payload.clone()).to_string();
                payload_bytes = text.len();
                journal::rewrite(conn, raw.seq, &text)?;
                chunks::due::note(conn, project, entity, &raw.key)?;
            }
            let version = match Version::read(entity, &raw.key, op, &payload) {
                Ok(version) => version,
                Err(error) => return Ok(Err(error.to_string())),
            };
            if base.is_none() {
                base = foreign::base_by_now(conn, (project, entity, &raw.key), (raw.seq, &version))?
                    .map(|hash| hash.to_string());
            }
            if let Some(field) = entity.missing_field(&payload).filter(|_| op == Op::Upsert) {
                return Ok(Err(format!("the field {field} is blank, and nothing here fills it")));
            }
            mutation_id(device_id, raw.seq, entity, &raw.key, op, &payload)
        }
        None => foreign_id(device_id, raw, &payload),
    };
    let bytes = payload_bytes + raw.key.len() + project.as_str().len() + ENTRY_BYTES;
    Ok(Ok(PendingRow {
        seq: raw.seq,
        entity: raw.entity.clone(),
        entity_key: raw.key.clone(),
        op,
        payload,
        mutation_id,
        base: base.filter(|base| base != journal::NO_EDIT),
        body_bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    }))
}

/// Names a row of an entity that only a newer program knows.
fn foreign_id(device_id: &str, raw: &Raw, payload: &Object) -> String {
    let mut named = Object::new();
    for (field, text) in [("entity", &raw.entity), ("key", &raw.key), ("op", &raw.op)] {
        named.insert(field.to_owned(), text.as_str().into());
    }
    named.insert("payload".to_owned(), payload.clone().into());
    format!("{device_id}:{}:{}", raw.seq, Hash::of_object(&named).short(16))
}

/// Fills the fields that must not be blank from key, journal and row; tells whether it did.
fn fill(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
    op: Op,
    payload: &mut Object,
) -> Result<bool, StoreError> {
    let wanted: &[&str] = match (op, entity) {
        (Op::Upsert, _) => entity.required(),
        (Op::Delete, Entity::Observation | Entity::Prompt) => &["sync_id", "session_id"],
        (Op::Delete, _) => &["id"],
    };
    let blank = |payload: &Object, field: &str| text_of(payload, field).is_none_or(|text| text.trim().is_empty());
    let mut filled = blank(payload, "project");
    if filled {
        payload.insert("project".to_owned(), project.as_str().into());
    }
    let missing: Vec<&str> = wanted.iter().copied().filter(|field| blank(payload, field)).collect();
    if missing.is_empty() {
        return Ok(filled);
    }
    let row = rows::payload(conn, project, entity, key)?;
    for field in missing {
        let text = match field {
            "id" | "sync_id" => Some(key.to_owned()),
            "directory" => Some(RECOVERED_DIRECTORY.to_owned()),
            _ => None,
        };
        let text = row.as_ref().and_then(|row| text_of(row, field)).map(str::to_owned).or(text);
        if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
            payload.insert(field.to_owned(), text.into());
            filled = true;
        }
    }
    Ok(filled)
}

fn hold(conn: &Connection, project: &ProjectName, raw: &Raw, evidence: &str, now: RowTime) -> Result<(), StoreError> {
    set_aside(
        conn,
        &SetAside {
            kind: HeldKind::Quarantined,
            reason: ReasonCode::RowRejected,
            project: project.as_str(),
            entity: &raw.entity,
            key: &raw.key,
            op: &raw.op,
            journal_seq: Some(raw.seq),
            cloud_seq: None,
            payload: &raw.payload,
            evidence,
            waits_for: None,
            now,
        },
    )
    .map(drop)
}
