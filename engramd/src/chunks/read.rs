//! Reading a row of a chunk, whoever wrote it.

use crate::store::{Store, StoreError};
use engram_proto::canonical::Object;
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::ipc::chunks::{ChunkPart, ChunkRow};
use engram_proto::mutation::{Entity, Op, text_of};
use rusqlite::OptionalExtension as _;
use serde_json::Value;

/// Fields of the Go program's rows that say nothing to others: its local number, and a date that no payload carries.
const LOCAL_FIELDS: [&str; 2] = ["id", "review_after"];

/// A row, and the project it belongs to.
pub(super) type Entry = (ProjectName, PulledMutation);

/// A row that was read without the store.
#[derive(Debug)]
pub(super) struct Read {
    part: ChunkPart,
    /// It may name no project.
    mutation: PulledMutation,
}

/// Reads a row; the error says why there is nothing that could be applied or held.
pub(super) fn read(row: &ChunkRow) -> Result<Read, String> {
    let part = row.part.as_str();
    let mut object: Object =
        serde_json::from_str(&row.json).map_err(|error| format!("a row of {part} is no JSON object: {error}"))?;
    let mut mutation = PulledMutation {
        seq: 0,
        project: text(&object, "project"),
        entity: String::new(),
        entity_key: String::new(),
        op: Op::Upsert.to_string(),
        payload: Value::Null,
        occurred_at: text(&object, "occurred_at"),
    };
    match row.part {
        ChunkPart::Session => {
            Entity::Session.as_str().clone_into(&mut mutation.entity);
            mutation.entity_key = text(&object, "id");
        }
        ChunkPart::Observation | ChunkPart::Prompt => {
            let entity = if row.part == ChunkPart::Observation { Entity::Observation } else { Entity::Prompt };
            entity.as_str().clone_into(&mut mutation.entity);
            mutation.entity_key = text(&object, "sync_id");
            for field in LOCAL_FIELDS {
                object.remove(field);
            }
        }
        ChunkPart::Mutation => {
            mutation.entity = text(&object, "entity");
            mutation.op = text(&object, "op");
            mutation.entity_key = text(&object, "entity_key");
            let payload = object.remove("payload").unwrap_or_default();
            // What cannot be read stays as it is: it is held with its evidence.
            let decoded = engram_proto::mutation::payload_object(payload.clone());
            mutation.payload = decoded.map_or(payload, Value::Object);
        }
    }
    if row.part != ChunkPart::Mutation {
        mutation.payload = Value::Object(object);
    }
    if mutation.entity_key.is_empty() {
        let id = inner(&mutation, "sync_id");
        mutation.entity_key = if id.is_empty() { inner(&mutation, "id") } else { id };
    }
    if mutation.project.is_empty() {
        mutation.project = inner(&mutation, "project");
    }
    Ok(Read { part: row.part, mutation })
}

/// Finds the project of a row that names none; the inner error says that there is none.
///
/// # Errors
/// What SQLite says.
pub(super) fn entry(store: &Store, Read { part, mut mutation }: Read) -> Result<Result<Entry, String>, StoreError> {
    if mutation.project.is_empty() {
        mutation.project = project_of_session(store, &inner(&mutation, "session_id"))?.unwrap_or_default();
    }
    Ok(match ProjectName::parse(&mutation.project) {
        Ok(project) => Ok((project, mutation)),
        Err(_) => Err(format!("{} {:?} of {} names no project", mutation.entity, mutation.entity_key, part.as_str())),
    })
}

fn inner(mutation: &PulledMutation, field: &str) -> String {
    mutation.payload.get(field).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
}

fn text(object: &Object, field: &str) -> String {
    text_of(object, field).unwrap_or_default().trim().to_owned()
}

/// A row that names no project belongs to that of its session.
fn project_of_session(store: &Store, id: &str) -> Result<Option<String>, StoreError> {
    store.read(|conn| {
        let mut statement = conn.prepare_cached("SELECT project FROM sessions WHERE id = ?1")?;
        Ok(statement.query_row([id], |row| row.get(0)).optional()?)
    })
}
