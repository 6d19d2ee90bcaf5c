//! The statements of the journal's tables, each a function.

use crate::journal::Told;
use crate::journal::admit::{Head, Loser, Name, NewHead, NewRow, Taken};
use crate::journal::compaction::read_kept;
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use rusqlite::{Connection, OptionalExtension, params};

fn told(seq: i64, occurred_at_us: i64) -> Told {
    Told { seq: seq.unsigned_abs(), occurred_at_us }
}

/// Returns the highest number there is; 0 in an empty journal.
pub(super) fn last_seq(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT coalesce(max(seq), 0) FROM cloud_mutations")?.query_row([], |row| row.get(0))
}

/// Returns when the row of a number was taken.
pub(super) fn taken_at(connection: &Connection, seq: u64) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT occurred_at FROM cloud_mutations WHERE seq = ?1
               UNION ALL SELECT occurred_at FROM cloud_compacted WHERE seq = ?1";
    connection.prepare_cached(sql)?.query_row([seq.cast_signed()], |row| row.get(0)).optional()
}

pub(super) fn append(connection: &Connection, row: &NewRow) -> rusqlite::Result<()> {
    let sql = "INSERT INTO cloud_mutations
               (seq, project, entity, entity_key, op, payload, occurred_at, version_hash, pushed_by)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    connection.prepare_cached(sql)?.execute(params![
        row.seq,
        row.name.project.as_str(),
        row.name.entity,
        row.name.key,
        row.op,
        row.payload,
        row.occurred_at_us,
        row.hash,
        row.pushed_by
    ])?;
    Ok(())
}

pub(super) fn head(connection: &Connection, name: &Name) -> rusqlite::Result<Option<Head>> {
    let sql = "SELECT m.seq, m.occurred_at, m.op, m.payload FROM cloud_heads h JOIN cloud_mutations m ON m.seq = h.seq
               WHERE h.project = ?1 AND h.entity = ?2 AND h.entity_key = ?3";
    let read = |row: &rusqlite::Row<'_>| {
        let op: String = row.get(2)?;
        Ok(Head::read(name, told(row.get(0)?, row.get(1)?), &op, row.get(3)?))
    };
    let params = params![name.project.as_str(), name.entity, name.key];
    Ok(connection.prepare_cached(sql)?.query_row(params, read).optional()?.flatten())
}

pub(super) fn set_head(connection: &Connection, name: &Name, head: &NewHead) -> rusqlite::Result<()> {
    let sql = "INSERT INTO cloud_heads (project, entity, entity_key, seq, session_id, is_deleted)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (project, entity, entity_key)
               DO UPDATE SET seq = ?4, session_id = ?5, is_deleted = ?6";
    let params = params![name.project.as_str(), name.entity, name.key, head.seq, head.session_id, head.is_deleted];
    connection.prepare_cached(sql)?.execute(params)?;
    Ok(())
}

/// Looks a mutation id up.
pub(super) fn by_id(
    connection: &Connection,
    (project, mutation_id): &(ProjectName, String),
) -> rusqlite::Result<Option<Taken>> {
    let sql = "SELECT i.seq, coalesce(m.occurred_at, c.occurred_at), i.is_superseded FROM cloud_mutation_ids i
               LEFT JOIN cloud_mutations m ON m.seq = i.seq LEFT JOIN cloud_compacted c ON c.seq = i.seq
               WHERE i.project = ?1 AND i.mutation_id = ?2";
    let read = |row: &rusqlite::Row<'_>| Ok(Taken { told: told(row.get(0)?, row.get(1)?), is_superseded: row.get(2)? });
    connection.prepare_cached(sql)?.query_row(params![project.as_str(), mutation_id], read).optional()
}

pub(super) fn keep_id(
    connection: &Connection,
    (project, mutation_id): &(ProjectName, String),
    taken: &Taken,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO cloud_mutation_ids (project, mutation_id, seq, is_superseded) VALUES (?1, ?2, ?3, ?4)";
    let seq = taken.told.seq.cast_signed();
    connection.prepare_cached(sql)?.execute(params![project.as_str(), mutation_id, seq, taken.is_superseded])?;
    Ok(())
}

/// Finds the last row of an entity of a newer program, and the hash of its content.
pub(super) fn last_foreign(connection: &Connection, name: &Name) -> rusqlite::Result<Option<(Told, Hash)>> {
    // Named, because the planner takes an index of another order where it knows no statistics.
    let sql = "SELECT seq, occurred_at, version_hash FROM cloud_mutations INDEXED BY cloud_mutations_foreign
               WHERE project = ?1 AND entity = ?2 AND entity_key = ?3
               AND entity NOT IN ('session', 'observation', 'prompt', 'relation')
               ORDER BY seq DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        let hash: String = row.get(2)?;
        let told = told(row.get(0)?, row.get(1)?);
        Ok(Hash::from_hex(&hash).map(|hash| (told, hash)))
    };
    let params = params![name.project.as_str(), name.entity, name.key];
    Ok(connection.prepare_cached(sql)?.query_row(params, read).optional()?.flatten())
}

/// Finds a row of an entity of a newer program that has just this content.
pub(super) fn seen_foreign(connection: &Connection, (name, hash): &(Name, Hash)) -> rusqlite::Result<Option<Told>> {
    let sql = "SELECT seq, occurred_at FROM cloud_mutations INDEXED BY cloud_mutations_foreign_hash
               WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND version_hash = ?4
               AND entity NOT IN ('session', 'observation', 'prompt', 'relation')
               ORDER BY seq DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok(told(row.get(0)?, row.get(1)?));
    let params = params![name.project.as_str(), name.entity, name.key, hash.to_string()];
    connection.prepare_cached(sql)?.query_row(params, read).optional()
}

/// Records a version that lost on arrival, once.
pub(super) fn keep_superseded(connection: &Connection, loser: &Loser) -> rusqlite::Result<()> {
    let sql = "INSERT INTO cloud_superseded
               (project, entity, entity_key, digest, op, payload, base, lost_to_seq, occurred_at, pushed_by, version)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![
        loser.name.project.as_str(),
        loser.name.entity,
        loser.name.key,
        loser.digest,
        loser.op,
        loser.payload,
        loser.base,
        loser.winner_seq,
        loser.occurred_at_us,
        loser.pushed_by,
        loser.kept
    ])?;
    Ok(())
}

/// Records the loser of a conflict with its text, once.
pub(super) fn keep_conflict(connection: &Connection, loser: &Loser) -> rusqlite::Result<()> {
    let sql = "INSERT INTO cloud_conflicts
               (project, entity, entity_key, digest, op, payload, base, winner_seq, occurred_at, pushed_by)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce(?7, ''), ?8, ?9, ?10) ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![
        loser.name.project.as_str(),
        loser.name.entity,
        loser.name.key,
        loser.digest,
        loser.op,
        loser.payload,
        loser.base,
        loser.winner_seq,
        loser.occurred_at_us,
        loser.pushed_by
    ])?;
    Ok(())
}

/// Lists the live prompts of a session.
pub(super) fn live_prompts(
    connection: &Connection,
    (project, session_id): &(ProjectName, String),
) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT entity_key FROM cloud_heads
               WHERE project = ?1 AND session_id = ?2 AND entity = 'prompt' AND is_deleted = 0 ORDER BY entity_key";
    let mut statement = connection.prepare_cached(sql)?;
    let keys = statement.query_map(params![project.as_str(), session_id], |row| row.get(0))?;
    keys.collect()
}

/// Asks for every version of an entity that was served or recorded as superseded.
pub(super) const HELD: &str = "SELECT op, payload, NULL FROM cloud_mutations INDEXED BY cloud_mutations_by_entity
    WHERE project = ?1 AND entity = ?2 AND entity_key = ?3
    UNION ALL
    SELECT 'upsert', NULL, version FROM cloud_compacted INDEXED BY cloud_compacted_by_entity
    WHERE project = ?1 AND entity = ?2 AND entity_key = ?3
    UNION ALL
    SELECT s.op, coalesce(s.payload, c.payload), s.version FROM cloud_superseded s
    LEFT JOIN cloud_conflicts c USING (project, entity, entity_key, digest)
    WHERE s.project = ?1 AND s.entity = ?2 AND s.entity_key = ?3";

/// Reads every version of an entity that was served or recorded as superseded.
pub(super) fn held(connection: &Connection, name: &Name) -> rusqlite::Result<Vec<Version>> {
    let mut statement = connection.prepare_cached(HELD)?;
    let rows = statement.query_map(params![name.project.as_str(), name.entity, name.key], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<String>>(2)?))
    })?;
    let mut held = Vec::new();
    for row in rows {
        let (op, payload, kept) = row?;
        held.extend(match payload {
            Some(payload) => Head::read(name, told(0, 0), &op, payload).map(|head| head.version),
            None => kept.as_deref().and_then(read_kept),
        });
    }
    Ok(held)
}
