//! Rows set aside: visible, named, and released by a command (ISO-1, ISO-3, ACK-2).

use super::Store;
use super::error::StoreError;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{HeldDetail, HeldKind, HeldRow};
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeMap;

/// A row on its way aside.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetAside<'a> {
    pub(super) kind: HeldKind,
    pub(super) reason: ReasonCode,
    /// Blank where nothing tells it.
    pub(super) project: &'a str,
    pub(super) entity: &'a str,
    pub(super) key: &'a str,
    pub(super) op: &'a str,
    pub(super) journal_seq: Option<i64>,
    pub(super) cloud_seq: Option<u64>,
    pub(super) payload: &'a str,
    pub(super) evidence: &'a str,
    pub(super) waits_for: Option<&'a str>,
    pub(super) now: RowTime,
}

/// Keeps a row, and returns its number; a journal row that is held already stays as it is.
pub(super) fn set_aside(conn: &Connection, row: &SetAside<'_>) -> Result<Option<i64>, StoreError> {
    let inserted = conn
        .prepare_cached(
            "INSERT OR IGNORE INTO engramd_held (kind, reason_code, project, entity, entity_key, op, journal_seq,
                 cloud_seq, payload, evidence, waits_for, since)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            row.kind.as_str(),
            row.reason.as_str(),
            row.project,
            row.entity,
            row.key,
            row.op,
            row.journal_seq,
            row.cloud_seq.and_then(|seq| i64::try_from(seq).ok()),
            row.payload,
            row.evidence,
            row.waits_for,
            row.now.to_string(),
        ])?;
    if inserted == 0 {
        return Ok(None);
    }
    let id = conn.last_insert_rowid();
    conn.prepare_cached(
        "INSERT INTO engramd_held_count (project, kind, reason_code, held) VALUES (?1, ?2, ?3, 1)
         ON CONFLICT (project, kind, reason_code) DO UPDATE SET held = held + 1",
    )?
    .execute(params![row.project, row.kind.as_str(), row.reason.as_str()])?;
    Ok(Some(id))
}

/// A held row of this device's journal.
pub(super) struct Own {
    pub(super) id: i64,
    pub(super) journal_seq: i64,
    /// Whether another program pushed it meanwhile.
    pub(super) is_acknowledged: bool,
}

/// Lists the first held rows of this device's journal behind a row of that.
pub(super) fn own(conn: &Connection, through: i64, rows_max: u32) -> Result<Vec<Own>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT h.id, h.journal_seq, m.acked_at IS NOT NULL FROM engramd_held AS h INDEXED BY engramd_held_journal
             JOIN sync_mutations AS m ON m.seq = h.journal_seq
         WHERE h.journal_seq IS NOT NULL AND h.journal_seq > ?1 ORDER BY h.journal_seq LIMIT ?2",
    )?;
    let rows = statement.query_map(params![through, rows_max], |row| {
        Ok(Own { id: row.get(0)?, journal_seq: row.get(1)?, is_acknowledged: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes a held row.
pub(super) fn release(conn: &Connection, id: i64) -> Result<bool, StoreError> {
    let mut delete =
        conn.prepare_cached("DELETE FROM engramd_held WHERE id = ?1 RETURNING project, kind, reason_code")?;
    let row = delete.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let Some((project, kind, reason)) = row.optional()? else { return Ok(false) };
    let counter: [String; 3] = [project, kind, reason];
    conn.prepare_cached(
        "UPDATE engramd_held_count SET held = held - 1 WHERE project = ?1 AND kind = ?2 AND reason_code = ?3",
    )?
    .execute(counter)?;
    conn.prepare_cached("DELETE FROM engramd_held_chunk WHERE held = ?1")?.execute([id])?;
    Ok(true)
}

pub(super) const COLUMNS: &str = "id, kind, reason_code, project, entity, entity_key, op, evidence, waits_for, since, \
                       coalesce(journal_seq, cloud_seq, 0), payload";

pub(super) fn row_of(row: &Row<'_>) -> Result<HeldRow, StoreError> {
    let kind: String = row.get(1)?;
    let since: String = row.get(9)?;
    Ok(HeldRow {
        id: row.get(0)?,
        kind: HeldKind::parse(&kind).ok_or_else(|| StoreError::Corrupt(format!("a held row is {kind:?}")))?,
        reason_code: row.get(2)?,
        project: row.get(3)?,
        entity: row.get(4)?,
        entity_key: row.get(5)?,
        op: row.get(6)?,
        evidence: row.get(7)?,
        waits_for: row.get(8)?,
        since: RowTime::parse(&since).map_or(since, RowTime::rfc3339),
    })
}

impl Store {
    /// Lists all held rows, the oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn held(&self) -> Result<Vec<HeldRow>, StoreError> {
        let mut statement = self.conn.prepare_cached(&format!("SELECT {COLUMNS} FROM engramd_held ORDER BY id"))?;
        let mut rows = statement.query([])?;
        let mut held = Vec::new();
        while let Some(row) = rows.next()? {
            held.push(row_of(row)?);
        }
        Ok(held)
    }

    /// Counts the rows that are held because nothing tells their project, by the reason that they are held for.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn nameless(&self) -> Result<BTreeMap<ReasonCode, u64>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT reason_code, held FROM engramd_held_count WHERE project = '' AND held > 0")?;
        let mut rows = statement.query([])?;
        let mut counts = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let code: String = row.get(0)?;
            let Some(&code) = ReasonCode::ALL.iter().find(|known| known.as_str() == code) else { continue };
            *counts.entry(code).or_default() += row.get::<_, i64>(1)?.unsigned_abs();
        }
        Ok(counts)
    }

    /// Shows one held row with its payload.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn held_detail(&self, id: i64) -> Result<Option<HeldDetail>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM engramd_held WHERE id = ?1");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(HeldDetail { row: row_of(row)?, seq: row.get(10)?, payload: row.get(11)? }))
    }
}

/// Finds the deferred row of an entity: its number, payload and what it waits for.
pub(super) fn deferred(
    conn: &Connection,
    project: &ProjectName,
    entity: &str,
    key: &str,
) -> Result<Option<(i64, String, String)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, payload, coalesce(waits_for, '') FROM engramd_held
         WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND kind = 'deferred'",
    )?;
    let row = statement.query_row([project.as_str(), entity, key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    Ok(row.optional()?)
}

/// Changes what a deferred row holds and waits for.
pub(super) fn wait_anew(conn: &Connection, id: i64, payload: &str, waits_for: &str) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE engramd_held SET payload = ?2, waits_for = ?3, evidence = ?4 WHERE id = ?1")?
        .execute(params![id, payload, waits_for, waiting(waits_for)])?;
    Ok(())
}

/// Says in words what a row waits for.
pub(super) fn waiting(waits_for: &str) -> String {
    format!("its parent has not arrived: {waits_for}")
}

/// Tells whether this very row is kept as dead already.
pub(super) fn has_dead(
    conn: &Connection,
    project: &ProjectName,
    entity: &str,
    key: &str,
    payload: &str,
) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM engramd_held
         WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND kind = 'dead' AND payload = ?4)",
    )?;
    Ok(statement.query_row([project.as_str(), entity, key, payload], |row| row.get(0))?)
}

/// Tells whether this very row is kept without a project already.
pub(super) fn has_nameless(conn: &Connection, entity: &str, key: &str, payload: &str) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM engramd_held
         WHERE project = '' AND entity = ?1 AND entity_key = ?2 AND journal_seq IS NULL AND payload = ?3)",
    )?;
    Ok(statement.query_row([entity, key, payload], |row| row.get(0))?)
}

/// A row that waits for a parent.
pub(super) struct Child {
    pub(super) id: i64,
    /// `None` where nothing told it.
    pub(super) project: Option<ProjectName>,
    pub(super) entity: String,
    pub(super) key: String,
}

/// Lists the first rows behind a number that wait for a parent, in the order in which they came.
pub(super) fn children(
    conn: &Connection,
    waits_for: &str,
    through: i64,
    rows_max: usize,
) -> Result<Vec<Child>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, project, entity, entity_key FROM engramd_held INDEXED BY engramd_held_waits
         WHERE waits_for = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    )?;
    let mut rows = statement.query(params![waits_for, through, i64::try_from(rows_max).unwrap_or(i64::MAX)])?;
    let mut children = Vec::new();
    while let Some(row) = rows.next()? {
        let project = ProjectName::parse(&row.get::<_, String>(1)?).ok();
        children.push(Child { id: row.get(0)?, project, entity: row.get(2)?, key: row.get(3)? });
    }
    Ok(children)
}

/// Returns the next parent that children of a project wait for, behind another one by name, with the payload of the
/// first of them.
pub(super) fn next_parent(
    conn: &Connection,
    project: &ProjectName,
    after: &str,
) -> Result<Option<(String, String)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT waits_for, payload FROM engramd_held INDEXED BY engramd_held_parent
         WHERE project = ?1 AND kind = 'deferred' AND waits_for > ?2 ORDER BY waits_for, id LIMIT 1",
    )?;
    Ok(statement.query_row([project.as_str(), after], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Writes down that a parent came, and up to which row its children were looked at. So it is done for the prompts of a
/// session that was deleted (`apply/sessions.rs`).
pub(super) fn arrived(conn: &Connection, waits_for: &str, through: i64) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR REPLACE INTO engramd_arrived (parent, through) VALUES (?1, ?2)")?
        .execute(params![waits_for, through])?;
    Ok(())
}

/// Takes a parent that came for more children than were looked at.
pub(super) fn take_arrived(conn: &Connection) -> Result<Option<(String, i64)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "DELETE FROM engramd_arrived WHERE parent = (SELECT parent FROM engramd_arrived LIMIT 1)
         RETURNING parent, through",
    )?;
    Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}
