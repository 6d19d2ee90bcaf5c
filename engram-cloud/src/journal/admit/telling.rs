//! Whether a pushed chunk tells just what the journal holds after it (`journal/rail.rs`).
//!
//! A client that imports it applies it as it is: what lost, mixed or drew other rows after it would be another truth
//! there, and a row whose parent such a client lacks stops its import for ever. One that overwrites anything is left to the
//! slices, which its sender imports too.

use super::{Admission, Name};
use crate::journal::rail::{ChunkPush, Telling};
use engram_proto::merge::Version;
use engram_proto::mutation::Entity;
use std::collections::BTreeSet;

impl Admission {
    /// Names the sessions that a chunk refers to and its project does not know.
    #[must_use]
    pub fn missing_sessions(&self, push: &ChunkPush) -> BTreeSet<String> {
        let is_missing = |id: &&String| self.facts.head(&session(push, id)).is_none();
        push.references.iter().filter(is_missing).cloned().collect()
    }

    /// Tells whether the chunk, which was just admitted, tells it all.
    #[must_use]
    pub fn is_told_by(&self, push: &ChunkPush) -> bool {
        let Some(Telling { statements, ends }) = &push.telling else { return false };
        let version_of = |name: &Name| self.facts.head(name).map(|head| &head.version);
        let stands = |name: Name| version_of(&name).is_some_and(|version| !version.is_delete());
        let known = |id: &String| match version_of(&session(push, id)) {
            Some(Version::Session(session)) => session.start.known && session.deleted_at.is_none(),
            _ => false,
        };
        // Who pushed it counts it as imported, and never applies it again over an older row that is told before it.
        let is_first = |name: &Name, version: &Version| {
            let version = version.without_text();
            self.facts.held(name).iter().all(|held| held.without_text() == version)
        };
        statements.iter().all(|(name, version)| version_of(name) == Some(version) && is_first(name, version))
            && self.changes.rows.iter().all(|row| statements.contains_key(&row.name))
            && push.references.iter().all(known)
            && ends.iter().all(|key| stands(Name::known(&push.chunk.project, Entity::Observation, key)))
    }
}

fn session(push: &ChunkPush, id: &str) -> Name {
    Name::known(&push.chunk.project, Entity::Session, id)
}
