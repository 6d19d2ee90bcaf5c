//! What other processes wrote into the journal: taken up once, before anything is merged over it or pushed (peers.md,
//! "Go processes on our store").
//!
//! Every transaction of ours begins with [`take_up`] and ends with [`ours_to_here`]: it holds the write lock from its
//! start, so what is in the journal above the mark at the beginning is theirs, and what is added later is ours.

mod stamp;

use super::error::StoreError;
use super::{Store, meta, versions};
use engram_proto::canonical::{Hash, Object};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Kind, Version};
use engram_proto::mutation::{Entity, Op, payload_text};
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, params};
use stamp::Written;
pub(super) use stamp::{time_field, with_time};

/// Up to which seq the journal was taken up.
const TAKEN_UP: &str = "taken_up_seq";

/// A journal row of another process that is still pending.
struct Row {
    seq: i64,
    project: ProjectName,
    entity: Entity,
    key: String,
    op: Op,
    payload: Object,
    version: Version,
    occurred_at: Option<RowTime>,
}

impl Store {
    /// Takes up at most `rows_max` journal rows that other processes wrote; tells whether more are left. For the start,
    /// and for when another process was seen to write: no transaction then has many to take up itself (OWN-3).
    ///
    /// # Errors
    /// What SQLite says.
    pub fn take_up(&mut self, rows_max: u32) -> Result<bool, StoreError> {
        if self.read(|conn| Ok(last_seq(conn)? <= meta::get_number(conn, TAKEN_UP)?))? {
            return Ok(false);
        }
        let tx = self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let more = take_up_some(&tx, i64::from(rows_max))?;
        tx.commit()?;
        self.commits += 1;
        Ok(more)
    }
}

/// Takes up everything that other processes wrote; a transaction of ours begins with it.
pub(super) fn take_up(conn: &Connection) -> Result<(), StoreError> {
    if last_seq(conn)? > meta::get_number(conn, TAKEN_UP)? {
        take_up_some(conn, i64::MAX)?;
    }
    Ok(())
}

/// Says that every row is ours or was taken up; a transaction of ours ends with it.
pub(super) fn ours_to_here(conn: &Connection) -> Result<(), StoreError> {
    let last = last_seq(conn)?;
    if last > meta::get_number(conn, TAKEN_UP)? {
        meta::set(conn, TAKEN_UP, Some(&last.to_string()))?;
    }
    Ok(())
}

fn last_seq(conn: &Connection) -> Result<i64, StoreError> {
    let mut statement = conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM sync_mutations")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

fn take_up_some(conn: &Connection, rows_max: i64) -> Result<bool, StoreError> {
    let after = meta::get_number(conn, TAKEN_UP)?;
    let (seqs, rows) = theirs(conn, after, rows_max)?;
    for row in rows {
        take_up_row(conn, &row)?;
    }
    let more = i64::try_from(seqs.len()).is_ok_and(|read| read >= rows_max);
    let through = if more { seqs.last().copied().unwrap_or(after) } else { last_seq(conn)? };
    meta::set(conn, TAKEN_UP, Some(&through.to_string()))?;
    Ok(more)
}

/// Reads the next rows: the numbers of all, and those that are pending and say something.
fn theirs(conn: &Connection, after: i64, rows_max: i64) -> Result<(Vec<i64>, Vec<Row>), StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, project, entity, entity_key, op, payload, occurred_at, acked_at IS NULL FROM sync_mutations
         WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = statement.query([after, rows_max])?;
    let (mut seqs, mut found) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        seqs.push(seq);
        if !row.get::<_, bool>(7)? {
            continue;
        }
        let text = |at| row.get::<_, String>(at);
        let (project, entity, key, op) = (text(1)?, text(2)?, text(3)?, text(4)?);
        let (Ok(project), Some(entity), Some(op), Ok(payload)) =
            (ProjectName::parse(&project), Entity::parse(&entity), Op::parse(&op), payload_text(&text(5)?))
        else {
            // What cannot be read is no version; pushing it sets it aside.
            continue;
        };
        if let Ok(version) = Version::read(entity, &key, op, &payload) {
            let occurred_at = RowTime::parse(&text(6)?);
            found.push(Row { seq, project, entity, key, op, payload, version, occurred_at });
        }
    }
    Ok((seqs, found))
}

fn take_up_row(conn: &Connection, row: &Row) -> Result<(), StoreError> {
    let known = versions::known(conn, &row.project, row.entity, &row.key)?;
    let mut before = known.clone();
    for earlier in versions::pending_until(conn, &row.project, row.entity, &row.key, row.seq)? {
        before = versions::join(before, earlier);
    }
    let written = Written { op: row.op, version: &row.version, occurred_at: row.occurred_at };
    let stamp = stamp::stamp(&written, before.as_ref(), known.is_some());
    if !stamp.fields.is_empty() {
        let mut payload = row.payload.clone();
        payload.extend(stamp.fields);
        let text = serde_json::Value::Object(payload).to_string();
        conn.prepare_cached("UPDATE sync_mutations SET payload = ?2 WHERE seq = ?1")?
            .execute(params![row.seq, text])?;
    }
    let base = base(conn, row, known.as_ref())?;
    if base.is_some() || stamp.takes_time {
        conn.prepare_cached(
            "INSERT INTO engramd_journal (seq, base, takes_time) VALUES (?1, ?2, ?3)
             ON CONFLICT (seq) DO UPDATE SET base = ?2, takes_time = ?3",
        )?
        .execute(params![row.seq, base.map(|hash| hash.to_string()), stamp.takes_time])?;
    }
    Ok(())
}

/// Finds the version that a row was written over: the journal row before it or else the known one, if that has one
/// revision less.
fn base(conn: &Connection, row: &Row, known: Option<&Version>) -> Result<Option<Hash>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT m.op, m.payload FROM sync_mutations AS m INDEXED BY engramd_mutations_entity
             LEFT JOIN engramd_journal AS j ON j.seq = m.seq
         WHERE m.project = ?1 AND m.entity = ?2 AND m.entity_key = ?3 AND m.seq < ?4 AND j.void IS NULL
         ORDER BY m.seq DESC LIMIT 1",
    )?;
    let names = params![row.project.as_str(), row.entity.as_str(), row.key, row.seq];
    let before: Option<(String, String)> =
        statement.query_row(names, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let before = before.and_then(|(op, payload)| versions::read(row.entity, &row.key, &op, &payload));
    let one_less = |version: &&Version| match (*version, &row.version) {
        (Version::Observation(before), Version::Observation(own)) => {
            own.key.kind == Kind::Upsert
                && before.key.kind == Kind::Upsert
                && before.key.revision + 1 == own.key.revision
        }
        _ => false,
    };
    Ok(before.iter().chain(known).find(one_less).map(Version::hash))
}
