//! How many rows are pending and held, by project.
//!
//! Pending rows are counted once, over their partial index; from then on by what came (rows behind the last one
//! counted) and what left. Held ones are counted by a table as they come and go. No save and no page costs a scan
//! (COST-1).

use super::error::StoreError;
use super::{Store, meta, reread};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::reason::ReasonCode;
use engramd_core::rows::{Counts, ProjectCounts};
use rusqlite::{Connection, OptionalExtension as _};
use std::collections::BTreeMap;

/// Held reasons, the most important first.
const REASONS: [ReasonCode; 4] =
    [ReasonCode::RowRejected, ReasonCode::PayloadTooLarge, ReasonCode::RowUndeliverable, ReasonCode::DeferredWaiting];

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Cache {
    recounts: i64,
    pending: Option<Pending>,
}

/// Rows that are not acknowledged, held ones included.
#[derive(Debug, Default)]
struct Pending {
    through_seq: i64,
    rows: BTreeMap<ProjectName, u64>,
}

impl Cache {
    /// Hears that rows left pending; those that were not counted yet never will be.
    pub(super) fn left(&mut self, rows: &[(ProjectName, i64)]) {
        let Some(pending) = &mut self.pending else { return };
        for (project, seq) in rows {
            if *seq <= pending.through_seq
                && let Some(count) = pending.rows.get_mut(project)
            {
                *count = count.saturating_sub(1);
            }
        }
    }
}

impl Store {
    /// Counts what is pending and held, by project, and names what has to be read again; other projects are left out.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn counts(&mut self) -> Result<Counts, StoreError> {
        let conn = &self.conn;
        let (recounts, last_seq) = stand(conn)?;
        if recounts != self.counts.recounts {
            self.counts = Cache { recounts, ..Cache::default() };
        }
        let mut pending = match self.counts.pending.take() {
            Some(pending) => pending,
            None => count_all(conn, last_seq)?,
        };
        count_new(conn, last_seq, &mut pending)?;
        pending.rows.retain(|_, count| *count > 0);
        let mut counts = held_and_reread(conn)?;
        for (project, &unacked) in &pending.rows {
            let entry = counts.entry(project.clone()).or_default();
            entry.pending = unacked.saturating_sub(entry.quarantined);
            if entry.pending > 0 {
                entry.oldest_pending_at = oldest_at(conn, project)?;
            }
        }
        self.counts.pending = Some(pending);
        Ok(counts)
    }

    /// Forgets what was counted, after another process acknowledged rows.
    pub fn recount(&mut self) {
        self.counts = Cache::default();
    }
}

/// Reads how often rows had to be counted anew, and how far the journal goes.
fn stand(conn: &Connection) -> Result<(i64, i64), StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT coalesce((SELECT CAST(value AS INTEGER) FROM engramd_meta WHERE key = ?1), 0),
             (SELECT coalesce(max(seq), 0) FROM sync_mutations)",
    )?;
    Ok(statement.query_row([meta::RECOUNTS], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn count_all(conn: &Connection, last_seq: i64) -> Result<Pending, StoreError> {
    let mut pending = Pending { through_seq: last_seq, rows: BTreeMap::new() };
    let mut statement = conn.prepare_cached(
        "SELECT project, count(*) FROM sync_mutations INDEXED BY engramd_mutations_pending
         WHERE acked_at IS NULL GROUP BY project",
    )?;
    add_rows(&mut statement, [], &mut pending)?;
    Ok(pending)
}

fn count_new(conn: &Connection, last_seq: i64, pending: &mut Pending) -> Result<(), StoreError> {
    if last_seq <= pending.through_seq {
        return Ok(());
    }
    let mut statement = conn.prepare_cached(
        "SELECT project, count(*) FROM sync_mutations NOT INDEXED
         WHERE seq > ?1 AND acked_at IS NULL GROUP BY project",
    )?;
    add_rows(&mut statement, [pending.through_seq], pending)?;
    pending.through_seq = last_seq;
    Ok(())
}

fn add_rows(
    statement: &mut rusqlite::Statement<'_>,
    params: impl rusqlite::Params,
    pending: &mut Pending,
) -> Result<(), StoreError> {
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if let Ok(project) = ProjectName::parse(&name) {
            *pending.rows.entry(project).or_default() += count_at(row, 1)?;
        }
    }
    Ok(())
}

fn held_and_reread(conn: &Connection) -> Result<Counts, StoreError> {
    let mut counts = held(conn)?;
    for (project, mark) in reread::all(conn)? {
        counts.entry(project).or_default().reread = Some(mark);
    }
    Ok(counts)
}

fn held(conn: &Connection) -> Result<Counts, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT project, kind, reason_code, held FROM engramd_held_count WHERE held > 0")?;
    let mut rows = statement.query([])?;
    let mut counts = Counts::new();
    while let Some(row) = rows.next()? {
        let (name, kind, reason): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (Ok(project), Some(kind)) = (ProjectName::parse(&name), HeldKind::parse(&kind)) else { continue };
        let entry: &mut ProjectCounts = counts.entry(project).or_default();
        let count = match kind {
            HeldKind::Deferred => &mut entry.deferred,
            HeldKind::Quarantined => &mut entry.quarantined,
            HeldKind::Dead => &mut entry.dead,
        };
        *count += count_at(row, 3)?;
        let rank = |code: ReasonCode| REASONS.iter().position(|&other| other == code).unwrap_or(REASONS.len());
        let reason = REASONS.into_iter().find(|code| code.as_str() == reason);
        entry.held_reason = [entry.held_reason, reason].into_iter().flatten().min_by_key(|&code| rank(code));
    }
    Ok(counts)
}

fn oldest_at(conn: &Connection, project: &ProjectName) -> Result<Option<String>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT occurred_at FROM sync_mutations AS m INDEXED BY engramd_mutations_pending
         WHERE project = ?1 AND acked_at IS NULL
             AND NOT EXISTS (SELECT 1 FROM engramd_held AS h WHERE h.journal_seq = m.seq)
         ORDER BY seq LIMIT 1",
    )?;
    Ok(statement.query_row([project.as_str()], |row| row.get(0)).optional()?)
}

fn count_at(row: &rusqlite::Row<'_>, column: usize) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}
