//! The chunk rail in `SQLite`.

use super::page::{head, signed};
use super::writer::Job;
use super::{Embedded, controls, facts};
use crate::clock::US_PER_S;
use crate::journal::JournalError;
use crate::journal::admit::Admission;
use crate::journal::rail::{ChunkPush, ChunkPushed, NewChunk, Rail, RailState, Slice};
use engram_proto::chunk::{ChunkId, ManifestEntry};
use engram_proto::id::ProjectName;
use engram_proto::time::rfc3339_from_ms;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeSet;

impl Rail for Embedded {
    async fn rail(&self, project: &ProjectName) -> Result<RailState, JournalError> {
        let project = project.clone();
        self.0.readers.read(move |connection| state(connection, &project)).await
    }

    async fn tell(&self, slice: Slice) -> Result<bool, JournalError> {
        self.0.writer.ask(|answer| Job::Slice(slice, answer)).await
    }

    async fn push_chunk(&self, push: ChunkPush) -> Result<ChunkPushed, JournalError> {
        self.0.writer.ask(|answer| Job::Chunk(Box::new(push), answer)).await
    }

    async fn chunks(&self, project: &ProjectName) -> Result<Vec<ManifestEntry>, JournalError> {
        let project = project.clone();
        self.0.readers.read(move |connection| list(connection, &project)).await
    }

    async fn chunk(&self, project: &ProjectName, id: &ChunkId) -> Result<Option<String>, JournalError> {
        let (project, id) = (project.clone(), id.clone());
        self.0.readers.read(move |connection| text(connection, &project, &id)).await
    }

    async fn standing(
        &self,
        project: &ProjectName,
        observations: BTreeSet<String>,
        upto: u64,
    ) -> Result<BTreeSet<String>, JournalError> {
        let project = project.clone();
        self.0.readers.read(move |connection| standing(connection, &project, &observations, upto)).await
    }
}

fn state(connection: &Connection, project: &ProjectName) -> rusqlite::Result<RailState> {
    let sql = "SELECT told_to FROM cloud_rails WHERE project = ?1";
    let told: Option<i64> =
        connection.prepare_cached(sql)?.query_row([project.as_str()], |row| row.get(0)).optional()?;
    let head = head(connection, project)?.unsigned_abs();
    Ok(RailState { told_to: told.unwrap_or(0).unsigned_abs(), head })
}

fn set_told_to(connection: &Connection, project: &ProjectName, told_to: u64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO cloud_rails (project, told_to) VALUES (?1, ?2)
               ON CONFLICT (project) DO UPDATE SET told_to = ?2";
    connection.prepare_cached(sql)?.execute(params![project.as_str(), signed(told_to)])?;
    Ok(())
}

/// Appends a slice to the list, if the list still ends where the slice begins.
pub(super) fn tell(connection: &Connection, slice: &Slice, now_us: i64) -> rusqlite::Result<bool> {
    if state(connection, &slice.project)?.told_to != slice.after {
        return Ok(false);
    }
    if let Some(chunk) = &slice.chunk
        && let Place::Free(id) = place(connection, chunk)?
    {
        keep(connection, chunk, &id, true, now_us)?;
    }
    set_told_to(connection, &slice.project, slice.upto)?;
    Ok(true)
}

/// Admits a pushed chunk, and tells which projects have new rows.
pub(super) fn push(
    connection: &Connection,
    push: &ChunkPush,
    now_us: i64,
) -> rusqlite::Result<(ChunkPushed, BTreeSet<ProjectName>)> {
    let (project, nothing) = (&push.chunk.project, BTreeSet::new());
    if let Some(control) = controls::paused(connection, project)? {
        return Ok((ChunkPushed::Paused(control), nothing));
    }
    let id = match place(connection, &push.chunk)? {
        Place::Kept(id) => return Ok((ChunkPushed::Kept(id), nothing)),
        Place::Free(id) => id,
    };
    let batches = std::slice::from_ref(&push.batch);
    let mut admission = Admission::new(facts::load(connection, push.asks(), batches)?, now_us);
    let missing = admission.missing_sessions(push);
    if !missing.is_empty() {
        return Ok((ChunkPushed::MissingSessions(missing), nothing));
    }
    let before = state(connection, project)?;
    admission.batch(&push.batch);
    let is_listed = before.told_to >= before.head && admission.is_told_by(push);
    let changes = admission.changes();
    facts::write(connection, &changes)?;
    keep(connection, &push.chunk, &id, is_listed, now_us)?;
    if is_listed {
        let last = changes.rows.last().map_or(before.head, |row| row.seq.unsigned_abs());
        set_told_to(connection, project, last)?;
    }
    Ok((ChunkPushed::Kept(id), changes.touched()))
}

/// Where a chunk is kept already, or may be kept.
enum Place {
    Kept(ChunkId),
    Free(ChunkId),
}

fn place(connection: &Connection, chunk: &NewChunk) -> rusqlite::Result<Place> {
    let ids = chunk.ids();
    for id in &ids {
        match text(connection, &chunk.project, id)? {
            None => return Ok(Place::Free(id.clone())),
            Some(kept) if kept == chunk.text => return Ok(Place::Kept(id.clone())),
            Some(_) => {}
        }
    }
    // A whole SHA-256 is the same: so are the bytes.
    let [.., longest] = ids;
    Ok(Place::Kept(longest))
}

fn keep(connection: &Connection, chunk: &NewChunk, id: &ChunkId, is_listed: bool, now_us: i64) -> rusqlite::Result<()> {
    // Never before the last one of its project: the list is read, and imported, in this order.
    let sql = "INSERT INTO cloud_chunks (project_name, chunk_id, created_by, client_created_at, created_at,
               sessions_count, observations_count, prompts_count, is_listed, payload)
               VALUES (?1, ?2, ?3, ?4,
               max(?5, coalesce((SELECT max(created_at) + 1 FROM cloud_chunks WHERE project_name = ?1), ?5)),
               ?6, ?7, ?8, ?9, ?10)";
    let [sessions, observations, prompts] = chunk.counts.map(signed);
    connection.prepare_cached(sql)?.execute(params![
        chunk.project.as_str(),
        id.as_str(),
        chunk.created_by,
        chunk.client_created_at_us,
        now_us,
        sessions,
        observations,
        prompts,
        is_listed,
        chunk.text
    ])?;
    Ok(())
}

fn text(connection: &Connection, project: &ProjectName, id: &ChunkId) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT payload FROM cloud_chunks WHERE project_name = ?1 AND chunk_id = ?2";
    connection.prepare_cached(sql)?.query_row([project.as_str(), id.as_str()], |row| row.get(0)).optional()
}

fn list(connection: &Connection, project: &ProjectName) -> rusqlite::Result<Vec<ManifestEntry>> {
    let sql = "SELECT chunk_id, created_by, created_at, sessions_count, observations_count, prompts_count
               FROM cloud_chunks WHERE project_name = ?1 AND is_listed ORDER BY created_at";
    let entry = |row: &Row<'_>| {
        let count = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
        Ok(ManifestEntry {
            id: row.get(0)?,
            created_by: row.get(1)?,
            created_at: rfc3339_from_ms(row.get::<_, i64>(2)?.div_euclid(US_PER_S).saturating_mul(1_000)),
            sessions: count(3)?,
            memories: count(4)?,
            prompts: count(5)?,
        })
    };
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map([project.as_str()], entry)?.collect()
}

fn standing(
    connection: &Connection,
    project: &ProjectName,
    observations: &BTreeSet<String>,
    upto: u64,
) -> rusqlite::Result<BTreeSet<String>> {
    let sql = "SELECT 1 FROM cloud_heads h JOIN cloud_mutations m ON m.seq = h.seq
               WHERE h.project = ?1 AND h.entity = 'observation' AND h.entity_key = ?2
                     AND (h.is_deleted = 0 OR m.payload ->> 'hard_delete' IS NOT 1)
                     AND EXISTS (SELECT 1 FROM cloud_mutations u INDEXED BY cloud_mutations_by_entity
                                 WHERE u.project = ?1 AND u.entity = 'observation' AND u.entity_key = ?2
                                       AND u.op = 'upsert' AND u.seq <= ?3)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut standing = BTreeSet::new();
    for key in observations {
        if statement.exists(params![project.as_str(), key, signed(upto)])? {
            standing.insert(key.clone());
        }
    }
    Ok(standing)
}
