//! Canonical JSON and the hashes over it (merging.md, "Times").
//!
//! Keys are sorted and null or empty fields left out, so that two programs that mean the same write the same bytes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt;

/// A JSON object: the form every payload has once it was decoded.
pub type Object = Map<String, Value>;

/// A SHA-256 digest; printed and stored as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Hashes raw bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hashes the canonical JSON of an object.
    #[must_use]
    pub fn of_object(object: &Object) -> Self {
        Self::of_bytes(canonical_object(object).as_bytes())
    }

    /// Reads 64 hex digits; anything else is `None`.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(bytes))
    }

    /// Returns the first `digits` hex digits, as used where a whole digest is more than is needed.
    #[must_use]
    pub fn short(&self, digits: usize) -> String {
        let mut text = self.to_string();
        text.truncate(digits);
        text
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            (pair[0], pair[1]) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.short(16))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("a digest is 64 hex digits"))
    }
}

/// Writes an object with sorted keys and without its null and empty fields.
#[must_use]
pub fn canonical_object(object: &Object) -> String {
    let mut out = String::new();
    write_object(object, &mut out);
    out
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn write_object(object: &Object, out: &mut String) {
    // Sorted here and not left to the map's own order: another crate may switch that order for the whole build.
    let mut fields: Vec<_> = object.iter().filter(|(_, value)| !is_empty(value)).collect();
    fields.sort_by_key(|(name, _)| name.as_str());
    out.push('{');
    for (i, (name, value)) in fields.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_text(name, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => write_object(object, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        // 1 and 1.0 are one number in JSON; programs that carry numbers as floats must not make two versions of it.
        Value::Number(number) => match whole(number) {
            Some(whole) => out.push_str(&whole.to_string()),
            None => out.push_str(&number.to_string()),
        },
        Value::String(text) => write_text(text, out),
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// Writes a text as JSON does; most have nothing to escape, and to find that out is cheaper than to write them.
fn write_text(text: &str, out: &mut String) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.extend(["\"", text, "\""]);
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        let exact = float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 2^53")]
        exact.then_some(float as i64)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_emptiness_and_float_form_do_not_change_the_text() {
        let a = json!({"b":1.0,"a":"x","c":null,"d":"","e":{"z":[],"y":2}});
        let b = json!({"e":{"y":2},"a":"x","b":1});
        assert_eq!(canonical_object(a.as_object().unwrap()), r#"{"a":"x","b":1,"e":{"y":2}}"#);
        assert_eq!(Hash::of_object(a.as_object().unwrap()), Hash::of_object(b.as_object().unwrap()));
    }

    #[test]
    fn a_digest_survives_its_text() {
        let hash = Hash::of_bytes(b"x");
        assert_eq!(Hash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(Hash::from_hex("zz"), None);
        assert_eq!(hash.short(16).len(), 16);
    }
}
