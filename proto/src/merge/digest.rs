//! The digest by which two replicas prove that they agree (cloud-http.md, "digest").
//!
//! It is a sum over what each current version says, so one more version, one less or another one moves it by a difference
//! that is known at once, and the order in which versions came plays no part.

use super::fields::Fields;
use super::{Kind, Version};
use crate::canonical::{Hash, Object};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A sum modulo 2^128; printed as 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u128);

impl Digest {
    /// Returns what one current version adds: the first 16 bytes of the hash of its entity, key and merged fields, of
    /// which the winner's are told by their own hash.
    ///
    /// Stand-ins and relations that nobody judged add nothing: they do not travel everywhere.
    #[must_use]
    pub fn of(key: &str, version: &Version) -> Self {
        let Some(fields) = fields(version) else { return Self::default() };
        let object = fields.text("entity", version.entity().as_str()).text("key", key).done();
        Self::first_bytes(&object)
    }

    /// Reads what [`Display`](fmt::Display) writes; anything else is `None`.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is_hex).map(Self)
    }

    /// Reads a number, for stores that count in numbers.
    #[must_use]
    pub fn from_number(number: u128) -> Self {
        Self(number)
    }

    /// Returns it as a number.
    #[must_use]
    pub fn number(self) -> u128 {
        self.0
    }

    /// Adds what another version adds.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// Takes away what another version added.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    fn first_bytes(object: &Object) -> Self {
        Self(u128::from_str_radix(&Hash::of_object(object).short(32), 16).unwrap_or_default())
    }
}

fn fields(version: &Version) -> Option<Fields> {
    let hashed = |hash: Hash| Fields::default().text("hash", &hash.to_string());
    Some(match version {
        Version::Session(session) if session.is_stand_in() => return None,
        Version::Relation(relation) if !relation.key.judged => return None,
        Version::Session(session) => hashed(session.hash()).optional_time("deleted_at", session.deleted_at),
        Version::Observation(observation) => hashed(observation.key.hash)
            .text("kind", kind(observation.key.kind))
            .optional_time("time", observation.key.time)
            .value("revision_count", observation.key.revision)
            .text("session_id", &observation.session_id)
            .counter("duplicate_count", observation.duplicate_count)
            .optional_time("last_seen_at", observation.last_seen_at)
            .optional_time("created_at", observation.created_at),
        Version::Prompt(prompt) => hashed(prompt.key.hash)
            .text("kind", kind(if prompt.key.deleted { Kind::Hard } else { Kind::Upsert }))
            .optional_time("time", prompt.key.time)
            .text("session_id", &prompt.session_id),
        Version::Relation(relation) => hashed(relation.key.hash)
            .optional_time("time", relation.key.time)
            .optional_time("created_at", relation.created_at),
    })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Upsert => "upsert",
        Kind::Soft => "soft",
        Kind::Hard => "hard",
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("a digest is 32 hex digits"))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::mutation::{Entity, Op};
    use serde_json::{Value, json};

    fn version(entity: Entity, op: Op, payload: &Value) -> Version {
        let key = payload["sync_id"].as_str().or(payload["id"].as_str()).unwrap();
        Version::read(entity, key, op, payload.as_object().unwrap()).unwrap()
    }

    fn memory(field: &str, value: Value) -> Digest {
        let mut payload = json!({"sync_id": "m", "session_id": "s", "type": "note", "title": "t", "content": "c",
            "scope": "project", "revision_count": 1, "duplicate_count": 1, "last_seen_at": "2026-11-22 10:00:00",
            "created_at": "2026-11-22 10:00:00", "updated_at": "2026-11-22 10:00:00"});
        payload[field] = value;
        Digest::of("m", &version(Entity::Observation, Op::Upsert, &payload))
    }

    /// Whatever merges shows, and text alone as well; the other form of a time, or a null, does not.
    #[test]
    fn conv_1_every_merged_field_moves_the_digest() {
        let plain = memory("title", json!("t"));
        for (field, value) in [
            ("title", json!("u")),
            ("session_id", json!("s2")),
            ("duplicate_count", json!(2)),
            ("last_seen_at", json!("2026-11-22 10:00:01")),
            ("created_at", json!("2026-11-22 09:00:00")),
            ("updated_at", json!("2026-11-22 10:00:01")),
            ("revision_count", json!(2)),
        ] {
            assert_ne!(memory(field, value), plain, "{field}");
        }
        assert_eq!(memory("updated_at", json!("2026-11-22T10:00:00Z")), plain);
        assert_eq!(memory("tool_name", json!(null)), plain);
        let stand_in =
            json!({"id": "s", "directory": "(recovered-missing-session)", "started_at": "2026-11-22 10:00:00"});
        assert_eq!(Digest::of("s", &version(Entity::Session, Op::Upsert, &stand_in)), Digest::default());
    }

    #[test]
    fn a_sum_is_read_back_and_does_not_depend_on_order() {
        let (a, b) = (memory("title", json!("a")), memory("title", json!("b")));
        assert_eq!(a.plus(b), b.plus(a));
        assert_eq!(a.plus(b).minus(a), b);
        assert_eq!(Digest::from_hex(&a.to_string()), Some(a));
        assert_eq!((Digest::from_hex("+1"), Digest::from_hex(&"g".repeat(32))), (None, None));
    }
}
