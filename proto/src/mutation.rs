//! What a mutation is about: entities, operations, required fields.

use crate::canonical::Object;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// The kinds of things that travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entity {
    /// A working session, parent of observations and prompts.
    Session,
    /// A memory.
    Observation,
    /// What a user asked.
    Prompt,
    /// A judged relation between two observations.
    Relation,
}

impl Entity {
    /// All entities, parents before children.
    pub const ALL: [Self; 4] = [Self::Session, Self::Observation, Self::Prompt, Self::Relation];

    /// Returns the wire's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Observation => "observation",
            Self::Prompt => "prompt",
            Self::Relation => "relation",
        }
    }

    /// Reads the wire's word; `None` is an entity of a newer program.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|entity| entity.as_str() == text.trim())
    }

    /// Names the fields an upsert must not leave blank (cloud-http.md, part 1).
    #[must_use]
    pub fn required(self) -> &'static [&'static str] {
        match self {
            Self::Session => &["id", "directory"],
            Self::Observation => &["sync_id", "session_id", "type", "title", "content", "scope"],
            Self::Prompt => &["sync_id", "session_id", "content"],
            Self::Relation => &[
                "sync_id",
                "source_id",
                "target_id",
                "relation",
                "judgment_status",
                "marked_by_actor",
                "marked_by_kind",
            ],
        }
    }

    /// Returns the first required field that an upsert's payload leaves blank.
    #[must_use]
    pub fn missing_field(self, payload: &Object) -> Option<&'static str> {
        self.required().iter().copied().find(|&field| text_of(payload, field).is_none_or(|text| text.trim().is_empty()))
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a mutation does to its entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Creates or changes.
    Upsert,
    /// Deletes, softly or for good.
    Delete,
}

impl Op {
    /// Returns the wire's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Delete => "delete",
        }
    }

    /// Reads the wire's word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Upsert, Self::Delete].into_iter().find(|op| op.as_str() == text.trim())
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a payload could not be read as a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Neither an object nor a string that holds one.
    #[error("the payload is not a JSON object")]
    NotAnObject,
    /// A field that decides what the row is about is missing or of another type.
    #[error("the field {0} is missing, blank or not text")]
    Field(&'static str),
    /// The key beside the payload names another thing than the payload.
    #[error("the entity key {key:?} and the payload's {inner:?} name different things")]
    KeyMismatch {
        /// The key beside the payload.
        key: String,
        /// The id inside the payload.
        inner: String,
    },
    /// A delete of something that has none.
    #[error("a relation cannot be deleted, only judged again")]
    RelationDelete,
}

/// Decodes a payload that is an object, or a string holding one (some stored rows are stringified).
///
/// # Errors
/// [`PayloadError::NotAnObject`] for everything else.
pub fn payload_object(payload: Value) -> Result<Object, PayloadError> {
    match payload {
        Value::Object(object) => Ok(object),
        Value::String(text) => payload_text(&text),
        _ => Err(PayloadError::NotAnObject),
    }
}

/// Decodes a payload from its text, stringified or not.
///
/// # Errors
/// [`PayloadError::NotAnObject`] where it is not JSON or not an object.
pub fn payload_text(text: &str) -> Result<Object, PayloadError> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::String(inner)) => match serde_json::from_str(&inner) {
            Ok(Value::Object(object)) => Ok(object),
            _ => Err(PayloadError::NotAnObject),
        },
        _ => Err(PayloadError::NotAnObject),
    }
}

/// Reads a text field; `None` where it is absent, null or not text.
#[must_use]
pub fn text_of<'a>(payload: &'a Object, field: &str) -> Option<&'a str> {
    payload.get(field).and_then(Value::as_str)
}
