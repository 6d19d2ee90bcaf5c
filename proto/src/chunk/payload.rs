//! A mutation's payload in canonical form: the fields its entity is known by, in their order, trimmed and checked.

use super::error::MutationError;
use super::json;
use crate::canonical::Object;
use crate::mutation::{Entity, Op, payload_object};
use serde_json::Value;

/// How a known field is read and when it is written.
#[derive(Clone, Copy)]
enum Form {
    /// Text that is trimmed and always written.
    Required,
    /// Text that is trimmed and left out when blank.
    Trimmed,
    /// Text that is left out when empty.
    Plain,
    /// Text that may be null; an empty text is another thing than none.
    Nullable,
    /// A whole number, left out when 0.
    Count,
    /// A number that may be null.
    Float,
    /// A flag, left out when false.
    Flag,
    /// The project the chunk is made canonical for.
    Project,
}

const SESSION: &[(&str, Form)] = &[
    ("id", Form::Required),
    ("project", Form::Project),
    ("directory", Form::Trimmed),
    ("started_at", Form::Plain),
    ("ended_at", Form::Nullable),
    ("summary", Form::Nullable),
    ("deleted", Form::Flag),
    ("deleted_at", Form::Trimmed),
    ("hard_delete", Form::Flag),
];
const OBSERVATION: &[(&str, Form)] = &[
    ("sync_id", Form::Required),
    ("session_id", Form::Required),
    ("type", Form::Required),
    ("title", Form::Required),
    ("content", Form::Required),
    ("tool_name", Form::Nullable),
    ("project", Form::Project),
    ("scope", Form::Required),
    ("topic_key", Form::Nullable),
    ("revision_count", Form::Count),
    ("duplicate_count", Form::Count),
    ("last_seen_at", Form::Nullable),
    ("created_at", Form::Plain),
    ("updated_at", Form::Plain),
    ("deleted", Form::Flag),
    ("deleted_at", Form::Trimmed),
    ("hard_delete", Form::Flag),
];
const PROMPT: &[(&str, Form)] = &[
    ("sync_id", Form::Required),
    ("session_id", Form::Required),
    ("content", Form::Required),
    ("project", Form::Project),
    ("created_at", Form::Plain),
    ("deleted", Form::Flag),
    ("deleted_at", Form::Trimmed),
    ("hard_delete", Form::Flag),
];
const RELATION: &[(&str, Form)] = &[
    ("sync_id", Form::Required),
    ("source_id", Form::Required),
    ("target_id", Form::Required),
    ("relation", Form::Required),
    ("reason", Form::Nullable),
    ("evidence", Form::Nullable),
    ("confidence", Form::Float),
    ("judgment_status", Form::Required),
    ("marked_by_actor", Form::Required),
    ("marked_by_kind", Form::Required),
    ("marked_by_model", Form::Nullable),
    ("session_id", Form::Nullable),
    ("project", Form::Project),
    ("created_at", Form::Plain),
    ("updated_at", Form::Plain),
];

fn fields_of(entity: Entity) -> &'static [(&'static str, Form)] {
    match entity {
        Entity::Session => SESSION,
        Entity::Observation => OBSERVATION,
        Entity::Prompt => PROMPT,
        Entity::Relation => RELATION,
    }
}

/// A payload as the chunk writes it, with the key it is about.
pub(super) struct Canonical {
    pub(super) key: String,
    pub(super) payload: String,
    pub(super) session_id: Option<String>,
}

/// Brings a payload of `project` into the form that chunks carry, as JSON text.
///
/// `key` is the entity key beside the payload; blank, it is taken from the payload, and the other way round.
///
/// # Errors
/// A [`MutationError`]: not an object, a field of another type, a required one blank, a key that names another thing.
pub fn canonical_payload(
    project: &str,
    entity: Entity,
    key: &str,
    op: Op,
    payload: Value,
) -> Result<String, MutationError> {
    canonical(project, entity, key, op, payload).map(|canonical| canonical.payload)
}

pub(super) fn canonical(
    project: &str,
    entity: Entity,
    key: &str,
    op: Op,
    payload: Value,
) -> Result<Canonical, MutationError> {
    let payload = payload_object(payload).map_err(|_| MutationError::NotAnObject)?;
    let id_field = fields_of(entity)[0].0;
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    for &(name, form) in fields_of(entity) {
        let kept = (entity, op) != (Entity::Session, Op::Delete)
            || matches!(name, "id" | "project" | "deleted" | "deleted_at" | "hard_delete");
        if let Some(value) = read(&payload, name, form, project)?.filter(|_| kept) {
            fields.push((name, value));
        }
    }
    let key = agreed_key(key.trim(), &mut fields[0].1, id_field)?;
    if let Some(&field) = entity.required().iter().find(|&&field| op == Op::Upsert && blank(&fields, field)) {
        return Err(MutationError::Missing { field });
    }
    let mut text = String::new();
    json::write_members(fields.iter().map(|(name, value)| (*name, value)), &mut text);
    let session_id = fields.iter().find(|(name, _)| *name == "session_id").and_then(|(_, id)| id.as_str());
    let session_id = session_id.filter(|id| !id.is_empty()).map(str::to_owned);
    Ok(Canonical { key, payload: text, session_id })
}

/// Makes key and id one; the id field comes first in every table and is always written.
fn agreed_key(key: &str, id: &mut Value, field: &'static str) -> Result<String, MutationError> {
    let inner = id.as_str().unwrap_or_default().to_owned();
    match (key.is_empty(), inner.is_empty()) {
        (true, true) => Err(MutationError::Missing { field }),
        (true, false) => Ok(inner),
        (false, true) => {
            *id = key.into();
            Ok(key.to_owned())
        }
        (false, false) if key == inner => Ok(inner),
        (false, false) => Err(MutationError::KeyMismatch { key: key.to_owned(), inner }),
    }
}

fn blank(fields: &[(&'static str, Value)], field: &str) -> bool {
    !fields.iter().any(|(name, value)| *name == field && value.as_str().is_some_and(|text| !text.is_empty()))
}

/// Reads one field; `None` is one that is left out.
fn read(payload: &Object, name: &'static str, form: Form, project: &str) -> Result<Option<Value>, MutationError> {
    let value = payload.get(name).filter(|value| !value.is_null());
    let wrong = |expected| MutationError::Type { field: name, expected };
    let text = || value.map(|value| value.as_str().ok_or_else(|| wrong("text"))).transpose();
    Ok(match form {
        Form::Required => Some(text()?.unwrap_or_default().trim().into()),
        Form::Trimmed => text()?.map(str::trim).filter(|text| !text.is_empty()).map(Value::from),
        Form::Plain => text()?.filter(|text| !text.is_empty()).map(Value::from),
        Form::Nullable => text()?.map(Value::from),
        Form::Count => match value.map(|value| value.as_i64().ok_or_else(|| wrong("a whole number"))).transpose()? {
            None | Some(0) => None,
            Some(count) => Some(count.into()),
        },
        Form::Float => value.map(|value| value.as_f64().ok_or_else(|| wrong("a number"))).transpose()?.map(Value::from),
        Form::Flag => match value.map(|value| value.as_bool().ok_or_else(|| wrong("true or false"))).transpose()? {
            None | Some(false) => None,
            Some(true) => Some(true.into()),
        },
        Form::Project => Some(project.into()),
    })
}
