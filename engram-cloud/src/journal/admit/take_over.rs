//! Rows that another program wrote into the journal (cloud.md, "Stores").
//!
//! They stay as they stand. Their join is the entity's current version; where the last of them is not that, the join
//! is appended. A row that makes no version merges with nothing.

use super::{Admission, Head, Name, NewHead, prompts};
use crate::journal::Told;
use engram_proto::merge::merge;

/// Who is named for a join that nobody pushed.
const JOINED_BY: &str = "engram-cloud";

/// A row that the peer wrote.
#[derive(Clone, Debug)]
pub struct PeerRow {
    /// Its number and time.
    pub told: Told,
    /// What it does, in its own word.
    pub op: String,
    /// Its payload as JSON text.
    pub payload: String,
}

impl Admission {
    /// Makes the rows that stand above an entity's head a part of its current version.
    pub fn take_over(&mut self, name: &Name, rows: &[PeerRow]) {
        let Some(last) = rows.last() else { return };
        let mut versions: Vec<Head> = self.facts.head(name).cloned().into_iter().collect();
        versions.extend(rows.iter().filter_map(|row| Head::read(name, row.told, &row.op, row.payload.clone())));
        let Some(joined) = versions.iter().map(|head| head.version.clone()).reduce(merge) else { return };
        match versions.pop().filter(|head| head.told == last.told && head.version == joined) {
            Some(head) => {
                self.changes.heads.insert(name.clone(), NewHead::of(head.told.seq.cast_signed(), &joined));
                self.facts.set_head(name.clone(), head);
                prompts::settle(self, name, &joined, JOINED_BY);
            }
            None => {
                self.append_version(name.clone(), &joined, JOINED_BY);
            }
        }
    }
}
