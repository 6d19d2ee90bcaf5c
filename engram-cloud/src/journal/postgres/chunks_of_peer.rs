//! What the peer's server was told in chunks and never made mutations of: deletes and relations (D4).
//!
//! Its chunks stay as they are, listed and served. One after the other, off the path of requests, they are read for what
//! its journal lacks, and that is admitted as if it came now; how far it came is kept in the same transaction.

use super::writer::{Done, admission, load_known};
use crate::journal::admit::{Changes, Facts};
use crate::journal::{Batch, Entry};
use engram_proto::canonical::Object;
use engram_proto::chunk::{Chunk, Statement, canonical_bytes};
use engram_proto::http::push::PushEntry;
use engram_proto::id::ProjectName;
use engram_proto::mutation::{Entity, Op};
use sqlx::{PgConnection, Row};

/// Who is named for it.
const TAKEN_BY: &str = "engram-cloud";

const NEXT: &str = "
    WITH kept AS (SELECT value::jsonb AS at FROM engram_meta WHERE name = 'chunks_taken_over_to')
    SELECT project_name, payload::text, jsonb_build_array(created_at, project_name, chunk_id)::text
    FROM cloud_chunks
    WHERE engram_hash IS NULL AND created_by NOT IN ('mutation-push', 'mutation-backfill')
          AND (created_at, project_name, chunk_id) > (
              coalesce((SELECT (at ->> 0)::timestamptz FROM kept), '-infinity'),
              coalesce((SELECT at ->> 1 FROM kept), ''),
              coalesce((SELECT at ->> 2 FROM kept), ''))
    ORDER BY created_at, project_name, chunk_id LIMIT 1";

const KEEP: &str = "
    INSERT INTO engram_meta (name, value) VALUES ('chunks_taken_over_to', $1)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";

/// Takes over the next chunk.
pub(super) async fn next(connection: &mut PgConnection, now_us: i64) -> Result<(Done, Changes), sqlx::Error> {
    let Some(row) = sqlx::query(NEXT).fetch_optional(&mut *connection).await? else {
        return Ok((Done::TakenOver(false), Changes::default()));
    };
    let (project, payload): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let batch = Batch { is_atomic: false, ..Batch::new(TAKEN_BY, lacking(&project, &payload)) };
    let batches = std::slice::from_ref(&batch);
    let mut facts = Facts::asked_by(batches);
    let peers = load_known(connection, &mut facts, batches).await?;
    // A pause refuses pushes; this came before it.
    facts.paused.values_mut().for_each(|paused| *paused = None);
    let mut admission = admission(facts, &peers, now_us);
    admission.batch(&batch);
    sqlx::query(KEEP).bind(row.try_get::<String, _>(2)?).execute(connection).await?;
    Ok((Done::TakenOver(true), admission.changes()))
}

/// Reads the deletes and relations of a chunk; what nobody can read is left as it is.
fn lacking(project: &str, payload: &str) -> Vec<Entry> {
    let Some(name) = ProjectName::parse(project).ok().filter(|name| name.as_str() == project) else {
        return Vec::new();
    };
    let object = serde_json::from_str::<Object>(payload).ok();
    let bytes = object.and_then(|object| canonical_bytes(object, project).ok());
    let chunk: Option<Chunk> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let said = chunk.unwrap_or_default().statements(project);
    let said = said.into_iter().filter(|one| one.op == Op::Delete.as_str() || one.entity == Entity::Relation.as_str());
    let read = |one: Statement| {
        let entry = PushEntry {
            project: project.to_owned(),
            entity: one.entity,
            entity_key: one.key,
            op: one.op,
            payload: one.payload.ok()?.into(),
            mutation_id: None,
            base: None,
        };
        Some(Entry::read(name.clone(), entry)).filter(|entry| entry.content.is_ok())
    };
    said.filter_map(read).collect()
}
