//! Names and identities: a project's normal form, mutation ids.

use crate::canonical::{Hash, Object};
use crate::mutation::{Entity, Op};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// A project's name in normal form: trimmed, lower case, runs of `-` and of `_` collapsed (cloud-http.md, part 1).
///
/// A value of this type is never blank, so nothing past the edge has to ask again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ProjectName(String);

/// The error of [`ProjectName::parse`]: nothing was left of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the project name is blank; give one with --project NAME")]
pub struct BlankProject;

impl ProjectName {
    /// Brings a name as someone typed it into normal form.
    ///
    /// # Errors
    /// [`BlankProject`] where nothing but white space was given.
    pub fn parse(text: &str) -> Result<Self, BlankProject> {
        let mut name = String::with_capacity(text.len());
        for c in text.trim().to_lowercase().chars() {
            if !(matches!(c, '-' | '_') && name.ends_with(c)) {
                name.push(c);
            }
        }
        if name.is_empty() { Err(BlankProject) } else { Ok(Self(name)) }
    }

    /// Tells whether another name differs in separators alone (`foo-bar`, `foo_bar`, `foobar`): worth a word to whoever
    /// typed one of them, and never a reason to take the two for one.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let letters = |name: &Self| name.0.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        self != other && letters(self) == letters(other) && !letters(self).is_empty()
    }

    /// Returns the name in normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::borrow::Borrow<str> for ProjectName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for ProjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Names one journal row of one device for ever: `<device uuid>:<local seq>:<hash>` (cloud-http.md, `mutation_ids`).
///
/// The hash is part of it because local seqs repeat after a restored backup, and an id must never name two contents.
#[must_use]
pub fn mutation_id(device_id: &str, seq: i64, entity: Entity, key: &str, op: Op, payload: &Object) -> String {
    let mut named = Object::new();
    named.insert("entity".to_owned(), entity.as_str().into());
    named.insert("key".to_owned(), key.into());
    named.insert("op".to_owned(), op.as_str().into());
    named.insert("payload".to_owned(), payload.clone().into());
    format!("{device_id}:{seq}:{}", Hash::of_object(&named).short(16))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn names_take_the_form_the_peer_gives_them() {
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../tests/fixtures/project-names.json")).unwrap();
        assert!(cases.len() > 10);
        for case in cases {
            let (typed, normal) = (case["in"].as_str().unwrap(), case["out"].as_str().unwrap());
            let parsed = ProjectName::parse(typed);
            assert_eq!(parsed.as_ref().map_or("", |name| name.as_str()), normal, "{typed:?}");
        }
    }

    #[test]
    fn names_that_differ_in_separators_alone_are_alike() {
        let name = |text: &str| ProjectName::parse(text).unwrap();
        assert!(name("foo-bar").is_like(&name("foo_bar")) && name("foo bar").is_like(&name("foobar")));
        assert!(!name("foo").is_like(&name("Foo")), "one name");
        assert!(!name("foo").is_like(&name("foo-bar")) && !name("--").is_like(&name("__")));
    }

    #[test]
    fn an_id_names_the_content() {
        let mut payload = Object::new();
        payload.insert("title".to_owned(), "a".into());
        let id = |payload: &Object| mutation_id("d", 7, Entity::Observation, "obs-1", Op::Upsert, payload);
        let first = id(&payload);
        payload.insert("tool_name".to_owned(), serde_json::Value::Null);
        assert_eq!(id(&payload), first, "an absent field and a null one are the same");
        payload.insert("title".to_owned(), "b".into());
        assert_ne!(id(&payload), first);
    }
}
