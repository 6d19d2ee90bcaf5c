//! The journal `sync_mutations`: one row per local write, in the transaction of that write.

use super::error::StoreError;
use super::foreign::TAKEN_UP;
use super::{Transaction, chunks, meta, versions};
use engram_proto::canonical::{Hash, Object};
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engram_proto::time::RowTime;
use rusqlite::{Connection, params};

/// The one target of the journal.
pub(super) const TARGET: &str = "cloud";
/// Why a row left the queue unsent: a merge that came in took its place.
pub(super) const SUPERSEDED: &str = "superseded";
/// Why a row left the queue unsent: what it wrote was deleted for good before any request carried it.
pub(super) const TAKEN_BACK: &str = "taken_back";
/// Why a row left the queue unsent: someone gave it up.
pub(super) const DROPPED: &str = "dropped";

/// One local write, as it goes into the journal.
#[derive(Clone, Copy, Debug)]
pub struct LocalWrite<'a> {
    /// The project, whether or not it is enrolled.
    pub project: &'a ProjectName,
    /// What was written.
    pub entity: Entity,
    /// Session id or sync id.
    pub key: &'a str,
    /// What was done.
    pub op: Op,
    /// What [`Version::read`](engram_proto::merge::Version::read) reads back.
    pub payload: &'a Object,
    /// The hash of the version that was edited.
    pub base: Option<Hash>,
    /// When it was written.
    pub at: RowTime,
}

/// Appends one row and returns its seq.
///
/// # Errors
/// What SQLite says.
pub fn append(tx: &Transaction<'_>, write: &LocalWrite<'_>) -> Result<i64, StoreError> {
    append_on(tx, write)
}

pub(super) fn append_on(conn: &Connection, write: &LocalWrite<'_>) -> Result<i64, StoreError> {
    let seq = append_untold(conn, write)?;
    enqueued(conn, write.project, seq, write.at)?;
    Ok(seq)
}

/// Appends one of many rows; [`enqueued`] has to be told of the last one of each project before the transaction ends.
pub(super) fn append_untold(conn: &Connection, write: &LocalWrite<'_>) -> Result<i64, StoreError> {
    let payload = serde_json::to_string(write.payload).map_err(|error| StoreError::Invalid(error.to_string()))?;
    let names = (write.entity.as_str(), write.key);
    let seq = insert(conn, write.project, names, (write.op.as_str(), &payload), write.at)?;
    if let Some(base) = write.base {
        conn.prepare_cached("INSERT INTO engramd_journal (seq, base) VALUES (?1, ?2)")?
            .execute(params![seq, base.to_string()])?;
    }
    Ok(seq)
}

/// Appends a row of an entity that only a newer program knows, as it came; does nothing where the same waits to be sent.
pub(super) fn append_unknown(
    conn: &Connection,
    project: &ProjectName,
    (entity, key): (&str, &str),
    (op, payload): (&str, &str),
    at: RowTime,
) -> Result<(), StoreError> {
    let waits: bool = conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM sync_mutations INDEXED BY engramd_mutations_entity
                 WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND op = ?4 AND payload = ?5 AND acked_at IS NULL)",
        )?
        .query_row(params![project.as_str(), entity, key, op, payload], |row| row.get(0))?;
    if !waits {
        let seq = insert(conn, project, (entity, key), (op, payload), at)?;
        enqueued(conn, project, seq, at)?;
    }
    Ok(())
}

fn insert(
    conn: &Connection,
    project: &ProjectName,
    (entity, key): (&str, &str),
    (op, payload): (&str, &str),
    at: RowTime,
) -> Result<i64, StoreError> {
    conn.prepare_cached(
        "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project)
         VALUES (?1, ?2, ?3, ?4, ?5, 'local', ?6, ?7)",
    )?
    .execute(params![TARGET, entity, key, op, payload, at.to_string(), project.as_str()])?;
    Ok(conn.last_insert_rowid())
}

/// Says in the state of a project, and of all, that rows up to this one wait to be sent.
pub(super) fn enqueued(conn: &Connection, project: &ProjectName, seq: i64, at: RowTime) -> Result<(), StoreError> {
    let at = at.to_string();
    for target in [TARGET.to_owned(), format!("{TARGET}:{project}")] {
        conn.prepare_cached(
            "INSERT INTO sync_state (target_key, lifecycle, last_enqueued_seq, updated_at)
             VALUES (?1, 'pending', ?2, ?3)
             ON CONFLICT (target_key) DO UPDATE SET last_enqueued_seq = ?2, updated_at = ?3,
                 lifecycle = CASE WHEN lifecycle IN ('idle', 'healthy') THEN 'pending' ELSE lifecycle END",
        )?
        .execute(params![target, seq, at])?;
    }
    Ok(())
}

/// Tells whether the journal has any row of an entity, whatever it says and in whatever state it is.
pub(super) fn names(conn: &Connection, project: &ProjectName, entity: Entity, key: &str) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM sync_mutations INDEXED BY engramd_mutations_entity
         WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)",
    )?;
    Ok(statement.query_row([project.as_str(), entity.as_str(), key], |row| row.get(0))?)
}

/// Tells whether a journal row of an entity was ever written, in whatever state it is now; a mark is none, and neither is
/// one that was taken back.
pub(super) fn tells_of(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM sync_mutations AS m INDEXED BY engramd_mutations_entity
             LEFT JOIN engramd_journal AS j ON j.seq = m.seq
         WHERE m.project = ?1 AND m.entity = ?2 AND m.entity_key = ?3
             AND j.void IS NOT 'mark' AND j.void IS NOT 'taken_back')",
    )?;
    Ok(statement.query_row([project.as_str(), entity.as_str(), key], |row| row.get(0))?)
}

/// The base of what was made over nothing, for it only says once more what this device has.
pub(super) const NO_EDIT: &str = "";

/// Says of a row that it is nobody's edit.
pub(super) fn is_no_edit(conn: &Connection, seq: i64) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO engramd_journal (seq, base) VALUES (?1, ?2)")?.execute(params![seq, NO_EDIT])?;
    Ok(())
}

/// Says of a row that it takes the time of a version that comes in with its winner's fields.
pub(super) fn takes_time(conn: &Connection, seq: i64) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO engramd_journal (seq, takes_time) VALUES (?1, 1) ON CONFLICT (seq) DO UPDATE SET takes_time = 1",
    )?
    .execute([seq])?;
    Ok(())
}

/// Takes back every pending row of an entity, where no request carried one and nothing of it is known; tells whether
/// it did (ACK-2: such rows are void).
///
/// # Errors
/// What SQLite says.
pub fn void_if_never_carried(
    tx: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<bool, StoreError> {
    let names = params![project.as_str(), entity.as_str(), key];
    let known = "SELECT EXISTS (SELECT 1 FROM engramd_version WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)";
    if tx.prepare_cached(known)?.query_row(names, |row| row.get(0))? {
        return Ok(false);
    }
    let carried: bool = tx
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM sync_mutations AS m LEFT JOIN engramd_journal AS j USING (seq)
             WHERE m.project = ?1 AND m.entity = ?2 AND m.entity_key = ?3
             AND (m.acked_at IS NOT NULL AND j.void IS NULL
                 OR m.seq <= coalesce((SELECT seq FROM engramd_carried WHERE project = ?1), 0)))",
        )?
        .query_row(names, |row| row.get(0))?;
    if carried || chunks::is_in_a_chunk(tx, project, entity, key)? {
        return Ok(false);
    }
    let mut statement = tx.prepare_cached(
        "SELECT seq FROM sync_mutations
         WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND acked_at IS NULL",
    )?;
    let seqs = statement.query_map(names, |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    for &seq in &seqs {
        void(tx, seq, TAKEN_BACK, None)?;
    }
    if !seqs.is_empty() {
        forget_texts(tx, project, entity, key)?;
        meta::recount(tx)?;
    }
    Ok(!seqs.is_empty())
}

/// Rows whose texts go at once; those of an entity that has more go with the daily slices (`recheck.rs`).
const FORGOTTEN_AT_ONCE: u32 = 200;

/// The field that stands for the text of a row whose entity was deleted for good: the version without it. The first one of
/// its row.
pub(super) const KEPT: &str = "engramd_kept";

/// How many fields such a row has.
pub(super) const KEPT_FIELDS: usize = 4;

/// Takes the texts out of the rows of an entity that was deleted for good and that nobody is to be told of any more.
///
/// What such a row is known again by stays in it (`versions::read`), with the fields that a Go process looks for; it sends
/// no such row. What one of those wrote and was not taken up yet is left, and so are marks, which say nothing.
pub(super) fn forget_texts(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<(), StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT m.seq, m.payload FROM sync_mutations AS m INDEXED BY engramd_mutations_entity
             LEFT JOIN engramd_journal AS j ON j.seq = m.seq
         WHERE m.project = ?1 AND m.entity = ?2 AND m.entity_key = ?3 AND m.op = 'upsert' AND m.acked_at IS NOT NULL
             AND j.void IS NOT 'mark' AND m.payload NOT GLOB '{?engramd_kept?:*' AND m.seq <= ?4
         LIMIT ?5",
    )?;
    let taken_up = meta::get_number(conn, TAKEN_UP)?;
    let params = params![project.as_str(), entity.as_str(), key, taken_up, FORGOTTEN_AT_ONCE];
    let rows = statement.query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (seq, payload) in rows.collect::<Result<Vec<(i64, String)>, _>>()? {
        let version = versions::read(entity, key, Op::Upsert.as_str(), &payload).map(|version| version.without_text());
        let kept = serde_json::json!({
            KEPT: version,
            "project": project.as_str(),
            "session_id": version.as_ref().and_then(Version::session_id),
            "sync_id": key,
        });
        rewrite(conn, seq, &kept.to_string())?;
    }
    Ok(())
}

/// Writes down that rows up to this one may be on their way to others.
pub(super) fn mark_carried_until(conn: &Connection, project: &ProjectName, seq: i64) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO engramd_carried (project, seq) VALUES (?1, ?2)
         ON CONFLICT (project) DO UPDATE SET seq = ?2 WHERE seq < ?2",
    )?
    .execute(params![project.as_str(), seq])?;
    Ok(())
}

/// Tells whether every row that there is was written down as such.
pub(super) fn all_are_carried(conn: &Connection, project: &ProjectName) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT coalesce((SELECT seq FROM engramd_carried WHERE project = ?1), 0)
             >= coalesce((SELECT max(seq) FROM sync_mutations), 0)",
    )?;
    Ok(statement.query_row([project.as_str()], |row| row.get(0))?)
}

/// Writes down that every row that there is may be on its way to others.
pub(super) fn mark_carried(conn: &Connection, project: &ProjectName) -> Result<(), StoreError> {
    let mut last = conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM sync_mutations")?;
    mark_carried_until(conn, project, last.query_row([], |row| row.get(0))?)
}

/// Puts another payload into a row: one that is still pending, or that nobody sends any more.
pub(super) fn rewrite(conn: &Connection, seq: i64, payload: &str) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE sync_mutations SET payload = ?2 WHERE seq = ?1")?.execute(params![seq, payload])?;
    Ok(())
}

/// Takes one row out of pending for ever, unsent. It is acknowledged too (without `at`, as of when it was written), so
/// that no Go process sends it.
pub(super) fn void(conn: &Connection, seq: i64, why: &str, at: Option<RowTime>) -> Result<bool, StoreError> {
    let left = conn
        .prepare_cached(
            "UPDATE sync_mutations SET acked_at = coalesce(?2, occurred_at) WHERE seq = ?1 AND acked_at IS NULL",
        )?
        .execute(params![seq, at.map(|at| at.to_string())])?;
    if left == 1 {
        conn.prepare_cached(
            "INSERT INTO engramd_journal (seq, void) VALUES (?1, ?2) ON CONFLICT (seq) DO UPDATE SET void = ?2",
        )?
        .execute(params![seq, why])?;
    }
    Ok(left == 1)
}

/// Takes one row out of pending because the cloud holds it, and keeps the receipt (ACK-1).
pub(super) fn acknowledge(
    conn: &Connection,
    seq: i64,
    receipt: Option<(u64, Option<&str>)>,
    at: RowTime,
) -> Result<bool, StoreError> {
    let left = conn
        .prepare_cached("UPDATE sync_mutations SET acked_at = ?2 WHERE seq = ?1 AND acked_at IS NULL")?
        .execute(params![seq, at.to_string()])?;
    if left == 1
        && let Some((cloud_seq, occurred_at)) = receipt
    {
        conn.prepare_cached(
            "INSERT INTO engramd_journal (seq, cloud_seq, cloud_occurred_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (seq) DO UPDATE SET cloud_seq = ?2, cloud_occurred_at = ?3",
        )?
        .execute(params![seq, i64::try_from(cloud_seq).ok(), occurred_at])?;
    }
    Ok(left == 1)
}
