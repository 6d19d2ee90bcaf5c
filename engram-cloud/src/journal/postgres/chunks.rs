//! The chunk rail in Postgres, in the peer's tables.
//!
//! A chunk is kept as `jsonb`, as the peer keeps it, and served in canonical form: what was canonical when it came has
//! the same bytes again, whoever wrote it (D68).

use super::Postgres;
use super::load::storable;
use super::page::signed;
use super::writer::{Done, Job, admission, ask, load_known};
use crate::clock::US_PER_S;
use crate::journal::JournalError;
use crate::journal::admit::Changes;
use crate::journal::rail::{ChunkPush, ChunkPushed, NewChunk, Rail, RailState, Slice};
use engram_proto::chunk::{ChunkId, ManifestEntry, encode};
use engram_proto::id::ProjectName;
use engram_proto::time::rfc3339_from_ms;
use serde_json::Value;
use sqlx::postgres::{PgExecutor, PgRow};
use sqlx::{PgConnection, Row};
use std::collections::BTreeSet;

const STATE: &str = "
    SELECT coalesce((SELECT told_to FROM engram_rails WHERE project = $1),
                    (SELECT value::bigint FROM engram_meta WHERE name = 'peer_told_to'), 0),
           coalesce((SELECT seq FROM cloud_mutations WHERE project = $1 ORDER BY seq DESC LIMIT 1), 0)";

const SET_TOLD_TO: &str = "
    INSERT INTO engram_rails (project, told_to) VALUES ($1, $2)
    ON CONFLICT (project) DO UPDATE SET told_to = excluded.told_to";

// Never before the last one of its project: the list is read, and imported, in this order.
const KEEP: &str = "
    WITH known AS (
        INSERT INTO cloud_project_sessions (project_name, session_id)
        SELECT $1, id FROM unnest($10::text[]) AS id ON CONFLICT DO NOTHING
    )
    INSERT INTO cloud_chunks (project_name, chunk_id, created_by, client_created_at, created_at, payload,
                              sessions_count, observations_count, prompts_count, engram_listed, engram_hash)
    VALUES ($1, $2, $3, timestamptz 'epoch' + $4 * interval '1 microsecond',
            greatest(timestamptz 'epoch' + $5 * interval '1 microsecond',
                     (SELECT created_at + interval '1 microsecond' FROM cloud_chunks
                      WHERE project_name = $1 ORDER BY created_at DESC LIMIT 1)),
            $6::jsonb, $7[1], $7[2], $7[3], $8, $9)";

const TEXT: &str = "SELECT payload::text FROM cloud_chunks WHERE project_name = $1 AND chunk_id = $2";

const LIST: &str = "
    SELECT chunk_id, created_by, (extract(epoch FROM created_at) * 1000000)::bigint,
           sessions_count, observations_count, prompts_count
    FROM cloud_chunks WHERE project_name = $1 AND engram_listed ORDER BY created_at, chunk_id";

const STANDING: &str = "
    SELECT asked.key FROM unnest($2::text[]) AS asked (key)
    WHERE EXISTS (SELECT 1 FROM cloud_mutations u
                  WHERE u.project = $1 AND u.entity = 'observation' AND u.entity_key = asked.key
                        AND octet_length(u.entity_key) <= 1024 AND octet_length(u.entity) <= 128
                        AND u.op = 'upsert' AND u.seq <= $3)
      AND NOT EXISTS (SELECT 1 FROM engram_heads h JOIN cloud_mutations m ON m.seq = h.seq
                      WHERE h.project = $1 AND h.entity = 'observation' AND h.entity_key = asked.key
                            AND h.is_deleted AND coalesce(m.payload ->> 'hard_delete', 'false') IN ('true', '1'))";

const KNOWN_SESSIONS: &str = "
    SELECT session_id FROM cloud_project_sessions WHERE project_name = $1 AND session_id = ANY ($2::text[])";

impl Rail for Postgres {
    async fn rail(&self, project: &ProjectName) -> Result<RailState, JournalError> {
        self.read(state(&self.0.pool, project)).await
    }

    async fn tell(&self, slice: Slice) -> Result<bool, JournalError> {
        ask(&self.0.jobs, |answer| Job::Slice(slice, answer)).await
    }

    async fn push_chunk(&self, push: ChunkPush) -> Result<ChunkPushed, JournalError> {
        ask(&self.0.jobs, |answer| Job::Chunk(Box::new(push), answer)).await
    }

    async fn chunks(&self, project: &ProjectName) -> Result<Vec<ManifestEntry>, JournalError> {
        let rows = async { sqlx::query(LIST).bind(storable(project)).fetch_all(&self.0.pool).await };
        let entries = async { rows.await?.iter().map(entry).collect() };
        self.read(entries).await
    }

    async fn chunk(&self, project: &ProjectName, id: &ChunkId) -> Result<Option<String>, JournalError> {
        self.read(text(&self.0.pool, project, id)).await
    }

    async fn standing(
        &self,
        project: &ProjectName,
        observations: BTreeSet<String>,
        upto: u64,
    ) -> Result<BTreeSet<String>, JournalError> {
        let keys: Vec<String> = observations.into_iter().filter(|key| !key.contains('\0')).collect();
        let question = sqlx::query(STANDING).bind(storable(project)).bind(keys).bind(signed(upto));
        self.read(async { question.fetch_all(&self.0.pool).await?.iter().map(|row| row.try_get(0)).collect() }).await
    }
}

async fn state(executor: impl PgExecutor<'_>, project: &ProjectName) -> Result<RailState, sqlx::Error> {
    let row = sqlx::query(STATE).bind(storable(project)).fetch_one(executor).await?;
    let number = |at| row.try_get::<i64, _>(at).map(i64::unsigned_abs);
    Ok(RailState { told_to: number(0)?, head: number(1)? })
}

async fn set_told_to(connection: &mut PgConnection, project: &ProjectName, to: u64) -> Result<(), sqlx::Error> {
    sqlx::query(SET_TOLD_TO).bind(project.as_str()).bind(signed(to)).execute(connection).await.map(drop)
}

/// Appends a slice to the list, if the list still ends where the slice begins.
pub(super) async fn tell(
    connection: &mut PgConnection,
    slice: &Slice,
    now_us: i64,
) -> Result<(Done, Changes), sqlx::Error> {
    if state(&mut *connection, &slice.project).await?.told_to != slice.after {
        return Ok((Done::Told(false), Changes::default()));
    }
    if let Some(chunk) = &slice.chunk
        && let Place::Free(id) = place(connection, chunk).await?
    {
        keep(connection, chunk, &id, true, now_us).await?;
    }
    set_told_to(connection, &slice.project, slice.upto).await?;
    Ok((Done::Told(true), Changes::default()))
}

/// Admits a pushed chunk.
pub(super) async fn push(
    connection: &mut PgConnection,
    push: &ChunkPush,
    now_us: i64,
) -> Result<(Done, Changes), sqlx::Error> {
    let done = |done| Ok((Done::Chunk(done), Changes::default()));
    let project = &push.chunk.project;
    let mut facts = push.asks();
    let batches = std::slice::from_ref(&push.batch);
    let peers = load_known(connection, &mut facts, batches).await?;
    if let Some(control) = facts.paused.get(project).cloned().flatten() {
        return done(ChunkPushed::Paused(control));
    }
    let id = match place(connection, &push.chunk).await? {
        Place::Kept(id) => return done(ChunkPushed::Kept(id)),
        Place::Free(id) => id,
    };
    let mut admission = admission(facts, &peers, now_us);
    let mut missing = admission.missing_sessions(push);
    if !missing.is_empty() {
        let asked: Vec<String> = missing.iter().cloned().collect();
        for row in sqlx::query(KNOWN_SESSIONS).bind(project.as_str()).bind(asked).fetch_all(&mut *connection).await? {
            missing.remove(row.try_get::<&str, _>(0)?);
        }
    }
    if !missing.is_empty() {
        return done(ChunkPushed::MissingSessions(missing));
    }
    let before = state(&mut *connection, project).await?;
    admission.batch(&push.batch);
    let is_listed = before.told_to >= before.head && admission.is_told_by(push);
    let changes = admission.changes();
    keep(connection, &push.chunk, &id, is_listed, now_us).await?;
    if is_listed {
        let last = changes.rows.last().map_or(before.head, |row| row.seq.unsigned_abs());
        set_told_to(connection, project, last).await?;
    }
    Ok((Done::Chunk(ChunkPushed::Kept(id)), changes))
}

/// Where a chunk is kept already, or may be kept.
enum Place {
    Kept(ChunkId),
    Free(ChunkId),
}

async fn place(connection: &mut PgConnection, chunk: &NewChunk) -> Result<Place, sqlx::Error> {
    let ids = chunk.ids();
    for id in &ids {
        match text(&mut *connection, &chunk.project, id).await? {
            None => return Ok(Place::Free(id.clone())),
            Some(kept) if kept == chunk.text => return Ok(Place::Kept(id.clone())),
            Some(_) => {}
        }
    }
    // A whole SHA-256 is the same: so are the bytes.
    let [.., longest] = ids;
    Ok(Place::Kept(longest))
}

async fn keep(
    connection: &mut PgConnection,
    chunk: &NewChunk,
    id: &ChunkId,
    is_listed: bool,
    now_us: i64,
) -> Result<(), sqlx::Error> {
    let [.., hash] = chunk.ids();
    let count = |count| i32::try_from(count).unwrap_or(i32::MAX);
    sqlx::query(KEEP)
        .bind(chunk.project.as_str())
        .bind(id.as_str())
        .bind(&chunk.created_by)
        .bind(chunk.client_created_at_us)
        .bind(now_us)
        .bind(&chunk.text)
        .bind(chunk.counts.map(count).to_vec())
        .bind(is_listed)
        .bind(hash.as_str())
        .bind(chunk.sessions.iter().map(String::as_str).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(drop)
}

async fn text(
    executor: impl PgExecutor<'_>,
    project: &ProjectName,
    id: &ChunkId,
) -> Result<Option<String>, sqlx::Error> {
    let found = sqlx::query(TEXT).bind(storable(project)).bind(id.as_str()).fetch_optional(executor).await?;
    let stored = found.map(|row| row.try_get::<String, _>(0)).transpose()?;
    Ok(stored.map(|stored| canonical(&stored).unwrap_or(stored)))
}

/// Writes what `jsonb` shows in the form it had when it came.
fn canonical(stored: &str) -> Option<String> {
    String::from_utf8(encode(&serde_json::from_str::<Value>(stored).ok()?)).ok()
}

fn entry(row: &PgRow) -> Result<ManifestEntry, sqlx::Error> {
    let count = |at| row.try_get::<i32, _>(at).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(ManifestEntry {
        id: row.try_get(0)?,
        created_by: row.try_get(1)?,
        created_at: rfc3339_from_ms(row.try_get::<i64, _>(2)?.div_euclid(US_PER_S).saturating_mul(1_000)),
        sessions: count(3)?,
        memories: count(4)?,
        prompts: count(5)?,
    })
}
