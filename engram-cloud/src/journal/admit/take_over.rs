//! Rows that another program wrote into the journal (cloud.md, "Stores").
//!
//! They stay as they stand. Their join is the entity's current version; where the last of them is not that, the join
//! is appended. A row that makes no version merges with nothing.

use super::{Admission, Head, Name};
use crate::journal::Told;
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::Entity;

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
                let is_left_out = self.is_left_out(name, &head);
                self.stands(name.clone(), head, JOINED_BY);
                if is_left_out {
                    self.append_again(name, JOINED_BY);
                }
            }
            None => {
                self.append_version(name.clone(), &joined, JOINED_BY);
            }
        }
    }

    /// Tells whether the `GET` form leaves a row of the peer's out.
    fn is_left_out(&self, name: &Name, head: &Head) -> bool {
        let session = session_of_child(name, &head.version);
        session.is_some_and(|session| !is_brought(self.facts.opened.get(&session).copied(), head.told.seq))
    }
}

/// Names the session of an observation or prompt that is live.
#[must_use]
pub fn session_of_child(name: &Name, version: &Version) -> Option<Name> {
    let session_id = version.session_id().filter(|_| !version.is_delete())?;
    matches!(version, Version::Observation(_) | Version::Prompt(_))
        .then(|| Name::known(&name.project, Entity::Session, session_id))
}

/// Tells whether a session was there before its child, of which the peer wrote a row at `seq` (peers.md, "Go clients on
/// our server"): between dense rows there is no room to put a session in.
///
/// What it is decided from never changes, so a child that the `GET` form leaves out is one that was appended again.
#[must_use]
pub fn is_brought(opened: Option<u64>, seq: u64) -> bool {
    opened.is_some_and(|opened| opened < seq)
}
