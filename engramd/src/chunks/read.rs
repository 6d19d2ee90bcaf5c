//! Reading a row of a chunk, whoever wrote it.

use engram_proto::canonical::Object;
use engram_proto::http::pull::PulledMutation;
use engram_proto::ipc::chunks::{ChunkPart, ChunkRow};
use engram_proto::mutation::{Entity, Op, text_of};
use serde_json::Value;

/// Fields of the Go program's rows that say nothing to others: its local number, and a date that no payload carries.
const LOCAL_FIELDS: [&str; 2] = ["id", "review_after"];

/// Reads a row; it may name no project. What cannot be read stays as it is: it is held with its evidence.
pub(super) fn read(row: &ChunkRow) -> PulledMutation {
    let mut object: Object = match serde_json::from_str(&row.json) {
        Ok(object) => object,
        Err(_) => return unread(row),
    };
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
    mutation
}

/// Takes a row that is no JSON object by its text.
fn unread(row: &ChunkRow) -> PulledMutation {
    let entity = match row.part {
        ChunkPart::Session => Entity::Session.as_str(),
        ChunkPart::Observation => Entity::Observation.as_str(),
        ChunkPart::Prompt => Entity::Prompt.as_str(),
        ChunkPart::Mutation => "",
    };
    PulledMutation {
        seq: 0,
        project: String::new(),
        entity: entity.to_owned(),
        entity_key: String::new(),
        op: Op::Upsert.to_string(),
        payload: Value::String(row.json.clone()),
        occurred_at: String::new(),
    }
}

fn inner(mutation: &PulledMutation, field: &str) -> String {
    mutation.payload.get(field).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
}

fn text(object: &Object, field: &str) -> String {
    text_of(object, field).unwrap_or_default().trim().to_owned()
}
