//! The stamp of a version that a Go process wrote (peers.md, "Stamps"), decided from the row and what it was written
//! over; no I/O.

use engram_proto::canonical::Object;
use engram_proto::merge::{EndRegister, Kind, SessionVersion, Version};
use engram_proto::mutation::Op;
use engram_proto::time::RowTime;

/// A row's own time and the time it was journalled lie no further apart, in seconds, if it was written just then.
const APART_MAX_S: i64 = 2;

/// A journal row of a Go process.
pub(super) struct Written<'a> {
    pub(super) op: Op,
    pub(super) version: &'a Version,
    pub(super) occurred_at: Option<RowTime>,
}

/// What becomes of it.
#[derive(Debug, PartialEq)]
pub(super) struct Stamp {
    /// Fields of the payload that change.
    pub(super) fields: Object,
    /// Whether it takes the time of a version that comes in with its winner's fields.
    pub(super) takes_time: bool,
}

/// Stamps a row by the rule of "Writing on a device" (merging.md), unless it was not written over what is known.
///
/// `before` is what is known joined with the entity's earlier rows; `known` tells whether anything was pulled or
/// acknowledged of it.
pub(super) fn stamp(row: &Written<'_>, before: Option<&Version>, known: bool) -> Stamp {
    let upsert = row.op == Op::Upsert && !row.version.is_delete();
    let keep = |takes_time: bool| Stamp { fields: Object::new(), takes_time: takes_time && upsert };
    let Some(before) = before else { return keep(true) };
    if let (Version::Session(own), Version::Session(before)) = (row.version, before) {
        return Stamp { fields: session(row, own, before), takes_time: false };
    }
    // A fold of a duplicate, or the same version once more: it changed nothing that counts.
    if row.version.hash() == before.hash() && row.version.is_delete() == before.is_delete() && same_kind(row, before) {
        return stamped(row, before.time(), !known && upsert);
    }
    if revision_is_not_greater(row.version, before) || is_old(row, row.version.time()) {
        return keep(true);
    }
    stamped(row, lifted(row.version, before).time(), !known && upsert)
}

/// Lifts a version above what it was made over, where its own time does not do that.
pub(in super::super) fn lifted(version: &Version, over: &Version) -> Version {
    let at = version.time().max(over.time());
    let lifted = with_time(version, at);
    if lifted.leads(over) { lifted } else { with_time(version, at.map(|at| at.plus_s(1))) }
}

/// Gives a version another time, where it has one for its key.
pub(in super::super) fn with_time(version: &Version, at: Option<RowTime>) -> Version {
    let mut version = version.clone();
    match &mut version {
        Version::Session(_) => {}
        Version::Observation(observation) => observation.key.time = at,
        Version::Prompt(prompt) => prompt.key.time = at,
        Version::Relation(relation) => relation.key.time = at,
    }
    version
}

/// Names the field of a payload that holds the time of the key.
pub(in super::super) fn time_field(version: &Version) -> Option<&'static str> {
    match version {
        Version::Session(_) => None,
        _ if version.is_delete() => Some("deleted_at"),
        Version::Prompt(_) => Some("created_at"),
        Version::Observation(_) | Version::Relation(_) => Some("updated_at"),
    }
}

fn stamped(row: &Written<'_>, at: Option<RowTime>, takes_time: bool) -> Stamp {
    let mut fields = Object::new();
    if let (Some(at), Some(field)) = (at, time_field(row.version))
        && Some(at) != row.version.time()
    {
        fields.insert(field.to_owned(), at.to_string().into());
    }
    Stamp { fields, takes_time }
}

fn same_kind(row: &Written<'_>, before: &Version) -> bool {
    match (row.version, before) {
        (Version::Observation(own), Version::Observation(before)) => own.key.kind == before.key.kind,
        _ => true,
    }
}

/// Made over an older text, queued again when a store was opened, or imported.
fn revision_is_not_greater(own: &Version, before: &Version) -> bool {
    match (own, before) {
        (Version::Observation(own), Version::Observation(before)) => {
            let upserts = own.key.kind == Kind::Upsert && before.key.kind == Kind::Upsert;
            upserts && own.key.revision <= before.key.revision
        }
        _ => false,
    }
}

/// Tells whether a row was journalled at another time than it was written.
fn is_old(row: &Written<'_>, own: Option<RowTime>) -> bool {
    match (own, row.occurred_at) {
        (Some(own), Some(occurred)) => own.unix_s().abs_diff(occurred.unix_s()) > APART_MAX_S.unsigned_abs(),
        _ => true,
    }
}

/// A session's end carries the known summary when it has none; a delete is not before what it deletes.
fn session(row: &Written<'_>, own: &SessionVersion, before: &SessionVersion) -> Object {
    let mut fields = Object::new();
    if row.op == Op::Delete {
        let at = own.deleted_at.max(Version::Session(before.clone()).time());
        if let Some(at) = at.filter(|_| !is_old(row, own.deleted_at)) {
            fields.insert("deleted_at".to_owned(), at.to_string().into());
        }
        return fields;
    }
    if own.end.ended_at.is_none() || own.end.hash == before.end.hash || is_old(row, own.end.ended_at) {
        return fields;
    }
    let summary = own.end.summary.as_deref().or(before.end.summary.as_deref());
    let at = own.end.ended_at.max(before.end.ended_at);
    let grows = EndRegister::new(summary, at) >= before.end;
    let at = if grows { at } else { at.map(|at| at.plus_s(1)) };
    if let Some(at) = at {
        fields.insert("ended_at".to_owned(), at.to_string().into());
    }
    if let Some(summary) = summary {
        fields.insert("summary".to_owned(), summary.into());
    }
    fields
}
