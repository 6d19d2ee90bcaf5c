//! Reading and writing single fields the same way for every entity.

use crate::canonical::{Hash, Object, canonical_object};
use crate::id::ProjectName;
use crate::mutation::{Entity, PayloadError, text_of};
use crate::time::{RowTime, row_text};
use serde_json::Value;

/// A text that the hash in its version's key already stands for.
///
/// It takes no part in equality, and the stored form leaves it out: a row lends it back (merging.md, "Pull").
#[derive(Clone, Debug)]
pub struct Lent<T>(pub Option<T>);

impl<T> Default for Lent<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> PartialEq for Lent<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Checks that key and payload name one thing.
pub(super) fn check_key(entity: Entity, key: &str, payload: &Object) -> Result<(), PayloadError> {
    let field = if entity == Entity::Session { "id" } else { "sync_id" };
    if key.trim().is_empty() {
        return Err(PayloadError::Field("entity_key"));
    }
    match text_of(payload, field).map(str::trim) {
        Some(inner) if !inner.is_empty() && inner != key => {
            Err(PayloadError::KeyMismatch { key: key.to_owned(), inner: inner.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Reads a text that may be blank.
pub(super) fn text(payload: &Object, field: &str) -> String {
    text_of(payload, field).unwrap_or_default().to_owned()
}

/// Reads a text where null and empty mean that there is none.
pub(super) fn optional(payload: &Object, field: &str) -> Option<String> {
    text_of(payload, field).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Reads a time in either form.
pub(super) fn time(payload: &Object, field: &str) -> Option<RowTime> {
    text_of(payload, field).and_then(RowTime::parse)
}

/// Reads a counter; zero and less are no value, as in a peer's deletes.
pub(super) fn counter(payload: &Object, field: &str) -> Option<i64> {
    let number = payload.get(field)?;
    #[expect(clippy::cast_possible_truncation, reason = "a counter that came as a float; out of range saturates")]
    number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).filter(|&n| n > 0)
}

/// Returns the smaller of two values, where a missing one never wins.
pub(super) fn min_known<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Collects the fields a newer peer added, as the last part of a key; none is the smallest.
pub(super) fn extra(payload: &Object, known: &[&str]) -> String {
    let extra: Object = payload
        .iter()
        .filter(|(name, _)| !known.contains(&name.as_str()))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let text = canonical_object(&extra);
    if text == "{}" { String::new() } else { text }
}

/// Returns the digest of a newer peer's fields; that of none, or of what is a digest already, is the same.
pub(super) fn extra_digest(extra: &str) -> String {
    if extra.starts_with('{') { Hash::of_bytes(extra.as_bytes()).to_string() } else { extra.to_owned() }
}

/// Builds a payload, field by field.
#[derive(Default)]
pub(super) struct Fields(Object);

impl Fields {
    pub(super) fn of(project: &ProjectName, key_field: &str, key: &str) -> Self {
        Self::default().text(key_field, key).text("project", project.as_str())
    }

    pub(super) fn value(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    pub(super) fn text(self, field: &str, text: &str) -> Self {
        self.value(field, text)
    }

    pub(super) fn optional(self, field: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(field, text),
            None => self,
        }
    }

    pub(super) fn counter(self, field: &str, count: Option<i64>) -> Self {
        match count {
            Some(count) => self.value(field, count),
            None => self,
        }
    }

    /// Writes a time that a reader expects to find: an unknown one is the epoch.
    pub(super) fn time(self, field: &str, time: Option<RowTime>) -> Self {
        self.value(field, row_text(time))
    }

    pub(super) fn optional_time(self, field: &str, time: Option<RowTime>) -> Self {
        if time.is_some() { self.time(field, time) } else { self }
    }

    /// Adds a newer peer's fields; they never replace one of ours.
    pub(super) fn extra(mut self, extra: &str) -> Self {
        if let Ok(Value::Object(extra)) = serde_json::from_str(extra) {
            for (name, value) in extra {
                self.0.entry(name).or_insert(value);
            }
        }
        self
    }

    pub(super) fn done(self) -> Object {
        self.0
    }
}
