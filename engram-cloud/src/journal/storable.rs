//! What every store can keep.
//!
//! Postgres keeps no NUL in text and no key in an index beyond some 2,700 bytes. That is the entry's fault wherever it
//! is stored: a row that one server takes and another refuses would stop its device at the move.

use super::entry::{Content, Entry, Fault};
use serde_json::Value;

/// Bytes of an entity's key, a session's id or a mutation id.
pub(super) const KEY_BYTES_MAX: usize = 1024;

/// Bytes of a project's name.
const PROJECT_BYTES_MAX: usize = 512;

/// Bytes of an entity's or operation's word.
const WORD_BYTES_MAX: usize = 128;

/// Refuses a payload with a NUL in it, and names the field.
pub(crate) fn payload(payload: &Value) -> Result<(), Fault> {
    let fields = match payload {
        Value::Object(object) => object,
        Value::String(text) if text.contains("\\u0000") => {
            // Stringified: the NUL is one once it is read.
            return match serde_json::from_str::<Value>(text) {
                Ok(inner @ Value::Object(_)) => self::payload(&inner),
                _ => Ok(()),
            };
        }
        _ => return Ok(()),
    };
    match fields.iter().find(|(field, value)| field.contains('\0') || has_nul(value)) {
        Some((field, _)) => Err(nul(&field.replace('\0', ""))),
        None => Ok(()),
    }
}

/// Refuses names with a NUL in them, and names that are too long.
pub(super) fn names(entry: &Entry, op: &str) -> Result<(), Fault> {
    let session_id = match &entry.content {
        Ok(Content::Known(known)) => known.version.session_id().unwrap_or_default(),
        _ => "",
    };
    for (field, text, bytes_max) in [
        ("project", entry.project.as_str(), PROJECT_BYTES_MAX),
        ("entity", &entry.entity, WORD_BYTES_MAX),
        ("op", op, WORD_BYTES_MAX),
        ("entity_key", &entry.key, KEY_BYTES_MAX),
        ("session_id", session_id, KEY_BYTES_MAX),
        ("mutation_id", entry.mutation_id.as_deref().unwrap_or_default(), KEY_BYTES_MAX),
        ("base", entry.base.as_deref().unwrap_or_default(), KEY_BYTES_MAX),
    ] {
        if text.contains('\0') {
            return Err(nul(field));
        }
        if text.len() > bytes_max {
            return Err(Fault::new(field, format!("{field} has {} bytes, more than {bytes_max}", text.len())));
        }
    }
    Ok(())
}

fn nul(field: &str) -> Fault {
    Fault::new(field, format!("{field} holds a NUL character, which no text may"))
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(object) => object.iter().any(|(field, value)| field.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
