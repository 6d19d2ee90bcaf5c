//! A relation whose end arrives after it (peers.md, "Go clients on our server").
//!
//! A Go client gives a relation up that waited five cycles for an end, and nothing revives it there. So what a relation
//! lacks is noted when it is appended, and when that arrives the relation is appended once more. An end may belong to
//! another project than its relation, so the note goes by its sync id alone.

use super::{Admission, Name};
use crate::journal::storable::KEY_BYTES_MAX;
use engram_proto::merge::{RelationVersion, Version};

impl Admission {
    /// Notes which ends of a relation the journal lacks. Of a copy no end is asked for: what it lacks is noted already.
    pub(super) fn note_missing_ends(&mut self, name: &Name, relation: &RelationVersion) {
        for end in super::facts::related(name, &Version::Relation(relation.clone())) {
            // No observation has a longer id: such an end never comes.
            if self.facts.lacks(&end) && end.key.len() <= KEY_BYTES_MAX {
                self.facts.waiting.entry(end.key.clone()).or_default().insert(name.clone());
                self.changes.waiting.insert((end.key, name.clone()), true);
            }
        }
    }

    /// Appends the relations once more that waited for an observation, which has just arrived.
    pub(super) fn show_waiting_relations(&mut self, observation: &Name, pushed_by: &str) {
        for relation in self.facts.waiting.remove(&observation.key).unwrap_or_default() {
            self.changes.waiting.insert((observation.key.clone(), relation.clone()), false);
            self.append_again(&relation, pushed_by);
        }
    }
}
