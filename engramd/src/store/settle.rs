//! What a reply says about pushed rows, in one transaction (ACK-1, ACK-2).

use super::error::StoreError;
use super::held::{SetAside, set_aside};
use super::journal::TARGET;
use super::{Store, belonging, digest, journal, lease, versions, witness};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::merge::{Digest, merge};
use engram_proto::mutation::Entity;
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use engramd_core::rows::{Fence, Settled, Settlement};
use rusqlite::{Connection, OptionalExtension as _, params};

/// A row that is still pending.
struct Open {
    entity: String,
    key: String,
    op: String,
    payload: String,
}

impl Store {
    /// Records what became of rows; one that left pending before counts nowhere, whatever a late reply says.
    ///
    /// Many are recorded in several transactions (OWN-3); each receipt holds by itself.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says; what was recorded before stays.
    pub fn settle(
        &mut self,
        fence: &Fence,
        project: &ProjectName,
        settlements: &[Settlement],
        now: RowTime,
    ) -> Result<Settled, StoreError> {
        let (mut settled, mut rest) = (Settled::default(), settlements);
        loop {
            let done = self.settle_some(fence, project, rest, now, &mut settled)?;
            rest = rest.get(done..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(settled);
            }
        }
    }

    /// Records the first ones in one transaction; returns how many.
    fn settle_some(
        &mut self,
        fence: &Fence,
        project: &ProjectName,
        settlements: &[Settlement],
        now: RowTime,
        all: &mut Settled,
    ) -> Result<usize, StoreError> {
        let room = self.turns.room();
        let (settled, left, done) = self.write(|tx| {
            lease::check(tx, fence)?;
            let (mut settled, mut left, mut done) = (Settled::default(), Vec::new(), 0);
            let mut moved = Digest::default();
            for settlement in settlements {
                if !room.take(tx) {
                    break;
                }
                done += 1;
                match settlement {
                    Settlement::Acked { seq, cloud_seq, occurred_at } => {
                        let Some(row) = open(tx, project, *seq)? else { continue };
                        journal::acknowledge(tx, *seq, Some((*cloud_seq, occurred_at.as_deref())), now)?;
                        moved = moved.plus(learn(tx, project, &row)?);
                        digest::told(tx, project, *cloud_seq)?;
                        settled.acked += 1;
                        left.push((project.clone(), *seq));
                    }
                    Settlement::Held { seq, reason, evidence } => {
                        let Some(row) = open(tx, project, *seq)? else { continue };
                        settled.held += u64::from(hold(tx, project, *seq, &row, (*reason, evidence), now)?);
                    }
                }
            }
            digest::add(tx, project, moved)?;
            tell_witness(tx, &settlements[..done])?;
            if let Some(last) = left.iter().map(|&(_, seq)| seq).max() {
                refresh_state(tx, project, last, now)?;
            }
            Ok((settled, left, done))
        })?;
        self.counts.left(&left);
        (all.acked, all.held) = (all.acked + settled.acked, all.held + settled.held);
        Ok(done)
    }
}

/// Keeps the highest row that the receipts told of.
fn tell_witness(conn: &Connection, settlements: &[Settlement]) -> Result<(), StoreError> {
    let told = settlements.iter().filter_map(|settlement| match settlement {
        Settlement::Acked { cloud_seq, occurred_at: Some(occurred_at), .. } => Some((*cloud_seq, occurred_at)),
        _ => None,
    });
    match (told.max(), belonging::cloud_id(conn)?) {
        (Some((seq, occurred_at)), Some(cloud)) => witness::told(conn, &cloud, seq, occurred_at),
        _ => Ok(()),
    }
}

fn open(conn: &Connection, project: &ProjectName, seq: i64) -> Result<Option<Open>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT entity, entity_key, op, payload FROM sync_mutations AS m
         WHERE seq = ?1 AND project = ?2 AND acked_at IS NULL
             AND NOT EXISTS (SELECT 1 FROM engramd_held AS h WHERE h.journal_seq = m.seq)",
    )?;
    let row = statement.query_row(params![seq, project.as_str()], |row| {
        Ok(Open { entity: row.get(0)?, key: row.get(1)?, op: row.get(2)?, payload: row.get(3)? })
    });
    Ok(row.optional()?)
}

/// Joins what the cloud now has into what is known; returns by how much the project's digest moves.
fn learn(conn: &Connection, project: &ProjectName, row: &Open) -> Result<Digest, StoreError> {
    let Some(entity) = Entity::parse(&row.entity) else { return Ok(Digest::default()) };
    let Some(version) = versions::read(entity, &row.key, &row.op, &row.payload) else { return Ok(Digest::default()) };
    let known = versions::known(conn, project, entity, &row.key)?;
    let joined = match known.clone() {
        Some(known) => merge(known, version),
        None => version,
    };
    versions::learn(conn, (project, &row.key), known.as_ref(), &joined)
}

fn hold(
    conn: &Connection,
    project: &ProjectName,
    seq: i64,
    row: &Open,
    (reason, evidence): (ReasonCode, &str),
    now: RowTime,
) -> Result<bool, StoreError> {
    set_aside(
        conn,
        &SetAside {
            kind: HeldKind::Quarantined,
            reason,
            project: project.as_str(),
            entity: &row.entity,
            key: &row.key,
            op: &row.op,
            journal_seq: Some(seq),
            cloud_seq: None,
            payload: &row.payload,
            evidence,
            waits_for: None,
            now,
        },
    )
    .map(|held| held.is_some())
}

/// Moves the acknowledged seq of both targets, and says of the project whether anything is left.
pub(super) fn refresh_state(
    conn: &Connection,
    project: &ProjectName,
    acked_seq: i64,
    now: RowTime,
) -> Result<(), StoreError> {
    let at = now.to_string();
    conn.prepare_cached(
        "UPDATE sync_state SET last_acked_seq = ?2, updated_at = ?3 WHERE target_key = ?1 AND last_acked_seq < ?2",
    )?
    .execute(params![TARGET, acked_seq, at])?;
    conn.prepare_cached(
        "UPDATE sync_state SET last_acked_seq = max(last_acked_seq, ?2), updated_at = ?3,
             lifecycle = CASE WHEN EXISTS (SELECT 1 FROM sync_mutations INDEXED BY engramd_mutations_pending
                 WHERE project = ?4 AND acked_at IS NULL) THEN 'pending' ELSE 'healthy' END
         WHERE target_key = ?1",
    )?
    .execute(params![format!("{TARGET}:{project}"), acked_seq, at, project.as_str()])?;
    Ok(())
}
