//! Rows that another program wrote into the journal (cloud.md, "Stores").
//!
//! They stay as they stand. Their join is the entity's current version; where the last of them is not that, the join
//! is appended. A row that makes no version merges with nothing.
//!
//! What devices of ours sent to a Go server in a form of its own (peers.md, "Our devices on a Go server") counts as what it
//! says, as every pull of a device takes it, or the two would add up to other digests.

use super::{Admission, Head, Name};
use crate::journal::Told;
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::{Entity, Op, payload_text, text_of};
use engram_proto::stand_in;
use serde_json::Value;

/// Who is named for a row that nobody pushed.
pub(super) const JOINED_BY: &str = "engram-cloud";

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

impl PeerRow {
    /// Reads the row as a version of its entity; tells too whether it stands there in another form.
    #[must_use]
    pub fn read(&self, name: &Name) -> Option<(Head, bool)> {
        let (entity, op) = (Entity::parse(&name.entity)?, Op::parse(&self.op)?);
        let mut fields = payload_text(&self.payload).ok()?;
        if !stand_in::take_back(&name.project, entity, &mut fields) {
            return Some((Head::read(name, self.told, &self.op, self.payload.clone())?, false));
        }
        let version = Version::read(entity, &name.key, op, &fields).ok()?;
        Some((Head { told: self.told, version, op, payload: Value::Object(fields).to_string() }, true))
    }

    /// Reads the end of the session that it stands in for; a stand-in without one says nothing.
    fn read_end(&self, name: &Name, own: &str) -> Option<Version> {
        let mut fields = payload_text(&self.payload).ok()?;
        let says = |field| text_of(&fields, field).is_some_and(|text| !text.trim().is_empty());
        if !says("summary") && !says("ended_at") {
            return None;
        }
        fields.insert("id".to_owned(), own.into());
        Version::read(Entity::parse(&name.entity)?, own, Op::parse(&self.op)?, &fields).ok()
    }
}

/// Names the session that one stands in for, where it does.
#[must_use]
pub fn stood_in_for(name: &Name) -> Option<Name> {
    let own = stand_in::session_id_of(&name.project, &name.key);
    let is_stand_in = name.entity == Entity::Session.as_str() && own != name.key;
    is_stand_in.then(|| Name::known(&name.project, Entity::Session, own))
}

impl Admission {
    /// Makes the rows that stand above an entity's head a part of its current version.
    pub fn take_over(&mut self, name: &Name, rows: &[PeerRow]) {
        let Some(last) = rows.last() else { return };
        if let Some(own) = stood_in_for(name) {
            return self.take_over_ends(&own, rows.iter().filter_map(|row| row.read_end(name, &own.key)));
        }
        let mut versions: Vec<(Head, bool)> =
            self.facts.head(name).cloned().map(|head| (head, false)).into_iter().collect();
        versions.extend(rows.iter().filter_map(|row| row.read(name)));
        let Some(joined) = versions.iter().map(|(head, _)| head.version.clone()).reduce(merge) else { return };
        match versions.pop().filter(|(head, _)| head.told == last.told && head.version == joined) {
            Some((head, false)) => {
                let is_left_out = self.is_left_out(name, &head);
                self.stands(name.clone(), head, JOINED_BY);
                if is_left_out {
                    self.append_again(name, JOINED_BY);
                }
            }
            _ => {
                self.append_version(name.clone(), &joined, JOINED_BY);
            }
        }
    }

    /// Makes what a stand-in says a part of the session that it stands in for.
    fn take_over_ends(&mut self, own: &Name, ends: impl Iterator<Item = Version>) {
        let current = self.facts.head(own).map(|head| head.version.clone());
        let joined = current.clone().into_iter().chain(ends).reduce(merge);
        if let Some(joined) = joined.filter(|joined| Some(joined) != current.as_ref()) {
            self.append_version(own.clone(), &joined, JOINED_BY);
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
