//! Marks: what keeps the Go program from queueing pulled rows as edits of its own (D1).
//!
//! Its store-open asks two questions of the journal: is there any row of this key, and of what is deleted, is there a
//! delete row. One acknowledged row answers both. It is never sent or exported and counts in no set of ACK-2.

use super::error::StoreError;
use super::journal::TARGET;
use engram_proto::id::ProjectName;
use engram_proto::mutation::{Entity, Op};
use engram_proto::time::RowTime;
use rusqlite::{Connection, params};

/// Why a mark is no pending row; the words in `engramd_journal.void`.
pub(super) const MARK: &str = "mark";

/// Leaves the mark of an entity that no journal row tells of.
pub(super) fn leave(
    conn: &Connection,
    (project, key): (&ProjectName, &str),
    entity: Entity,
    at: RowTime,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, acked_at, project)
         VALUES (?1, ?2, ?3, ?4, '{}', 'local', ?5, ?5, ?6)",
    )?
    .execute(params![TARGET, entity.as_str(), key, op(entity).as_str(), at.to_string(), project.as_str()])?;
    let seq = conn.last_insert_rowid();
    conn.prepare_cached("INSERT INTO engramd_journal (seq, void) VALUES (?1, ?2)")?.execute(params![seq, MARK])?;
    Ok(())
}

/// Leaves the mark unless a row answers already.
pub(super) fn ensure(
    conn: &Connection,
    name: (&ProjectName, &str),
    entity: Entity,
    at: RowTime,
) -> Result<(), StoreError> {
    let answered: bool = conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM sync_mutations
             WHERE target_key = ?1 AND entity = ?2 AND entity_key = ?3 AND source = 'local' AND op = ?4)",
        )?
        .query_row([TARGET, entity.as_str(), name.1, op(entity).as_str()], |row| row.get(0))?;
    if answered { Ok(()) } else { leave(conn, name, entity, at) }
}

/// The operation that answers; no relation is ever deleted.
fn op(entity: Entity) -> Op {
    if entity == Entity::Relation { Op::Upsert } else { Op::Delete }
}
