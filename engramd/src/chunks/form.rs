//! The rows that a version becomes in a chunk: what the Go program has a list for stands in that list, deletions,
//! relations and what its lists have no room for are mutations.

use crate::store::chunks::Travelling;
use engram_proto::canonical::Object;
use engram_proto::chunk::ChunkMutation;
use engram_proto::id::ProjectName;
use engram_proto::ipc::chunks::{ChunkPart, ChunkRow};
use engram_proto::merge::{RelationVersion, SessionVersion, Version};
use engram_proto::mutation::{Entity, Op};
use engram_proto::time::row_text;
use serde_json::Value;

/// Fields that a relation which nobody judged lacks.
const JUDGE: [&str; 3] = ["marked_by_actor", "marked_by_kind", "marked_by_model"];

/// Writes the rows of one entity.
pub(super) fn rows(key: &str, travelling: &Travelling) -> Vec<ChunkRow> {
    let (project, version) = (&travelling.project, &travelling.version);
    let mut rows = Vec::new();
    if let Version::Session(session) = version {
        if !session.is_stand_in() {
            rows.extend(upsert(project, key, version));
        }
        // The Go program's sessions have no deletion in their list.
        if session.deleted_at.is_some() && (travelling.session_is_deleted || session.is_stand_in()) {
            rows.push(mutation(
                project,
                (Entity::Session, key),
                Op::Delete,
                session_delete(project, key, session),
                version,
            ));
        }
        return rows;
    }
    rows.extend(upsert(project, key, version));
    rows
}

fn upsert(project: &ProjectName, key: &str, version: &Version) -> Option<ChunkRow> {
    let (op, mut payload) = version.write(project, key)?;
    let part = match version {
        Version::Session(session) if session.start.extra.is_empty() => ChunkPart::Session,
        Version::Observation(observation) if op == Op::Upsert && observation.key.extra.is_empty() => {
            ChunkPart::Observation
        }
        Version::Prompt(prompt) if op == Op::Upsert && prompt.key.extra.is_empty() => ChunkPart::Prompt,
        _ => ChunkPart::Mutation,
    };
    if let Version::Relation(RelationVersion { key, .. }) = version
        && !key.judged
    {
        for field in JUDGE {
            payload.remove(field);
        }
    }
    Some(match part {
        ChunkPart::Mutation => mutation(project, (version.entity(), key), op, payload, version),
        part => ChunkRow { part, json: Value::Object(payload).to_string() },
    })
}

fn session_delete(project: &ProjectName, key: &str, session: &SessionVersion) -> Object {
    let mut payload = Object::new();
    payload.insert("id".to_owned(), key.into());
    payload.insert("project".to_owned(), project.as_str().into());
    payload.insert("deleted".to_owned(), true.into());
    payload.insert("deleted_at".to_owned(), row_text(session.deleted_at).into());
    payload
}

/// Writes a mutation as the Go program does, with the payload as a string; its journal's numbers say nothing to others.
fn mutation(
    project: &ProjectName,
    (entity, key): (Entity, &str),
    op: Op,
    payload: Object,
    version: &Version,
) -> ChunkRow {
    let row = ChunkMutation {
        entity: entity.to_string(),
        entity_key: key.to_owned(),
        op: op.to_string(),
        payload: Value::Object(payload).to_string(),
        project: project.to_string(),
        occurred_at: row_text(version.time()),
        ..ChunkMutation::default()
    };
    // Texts and numbers alone always have a JSON form.
    let json = serde_json::to_string(&row).unwrap_or_default();
    ChunkRow { part: ChunkPart::Mutation, json }
}
