//! What an entry without a mutation id means (peers.md, "The door").
//!
//! Its sender is a Go program: it stamps with its own clock, stamps again what it only folded or reviewed, queues what
//! it pulled, and overwrites in the order of arrival. Here the version it sent becomes the version it means, and it is
//! decided whether it must be shown once more what it lost to.

use super::Head;
use engram_proto::merge::{EndRegister, SessionVersion, StartRegister, Version};
use engram_proto::time::RowTime;

/// How far a version may be ahead of our clock.
const AHEAD_S: i64 = 24 * 60 * 60;

const US_PER_S: i64 = 1_000_000;

/// Returns the version that an arriving one means, beside every version of the entity that was ever held.
///
/// One that is more than a day ahead of our clock takes the time of receipt. An upsert with the winner's fields of a
/// version that was held takes that one's time, if it is less: a fold or a review is no edit, and the same version
/// again is that same one.
pub(super) fn meant(version: &Version, current: Option<&Version>, held: &[Version], now_us: i64) -> Version {
    let Some(now) = RowTime::from_unix_s(now_us.div_euclid(US_PER_S)) else { return version.clone() };
    let mut meant = version.clone();
    if let (Version::Session(session), current) = (&mut meant, current) {
        clamp_session(session, current, now);
        return meant;
    }
    let same = held.iter().filter(|other| !version.is_delete() && !other.is_delete() && other.hash() == version.hash());
    let first = same.map(Version::time).min();
    let same_delete = current.filter(|other| version.is_delete() && other.is_delete()).map(Version::time);
    if let Some(time) = first.filter(|&time| time < version.time()) {
        set_time(&mut meant, time);
    } else if is_ahead(version.time(), now) {
        set_time(&mut meant, same_delete.unwrap_or(Some(now)));
    }
    meant
}

fn is_ahead(time: Option<RowTime>, now: RowTime) -> bool {
    time > Some(now.plus_s(AHEAD_S))
}

fn set_time(version: &mut Version, time: Option<RowTime>) {
    match version {
        Version::Observation(version) => version.key.time = time,
        Version::Prompt(version) => version.key.time = time,
        Version::Relation(version) => version.key.time = time,
        Version::Session(_) => unreachable!("a session has no single time"),
    }
}

fn clamp_session(session: &mut SessionVersion, current: Option<&Version>, now: RowTime) {
    let current =
        current.and_then(|current| if let Version::Session(current) = current { Some(current) } else { None });
    if is_ahead(session.start.started_at, now) {
        let same = current.filter(|current| current.start.directory == session.start.directory);
        let at = same.map_or(Some(now), |current| current.start.started_at);
        let extra = std::mem::take(&mut session.start.extra);
        session.start = StartRegister::new(session.start.directory.as_deref(), at, extra);
    }
    if is_ahead(session.end.ended_at, now) {
        let same =
            current.filter(|current| current.end.summary == session.end.summary && current.end.ended_at.is_some());
        let at = same.map_or(Some(now), |current| current.end.ended_at);
        session.end = EndRegister::new(session.end.summary.as_deref(), at);
    }
    if is_ahead(session.deleted_at, now) {
        session.deleted_at = current.and_then(|current| current.deleted_at).or(Some(now));
    }
}

/// Tells whether the sender of a version that lost must be shown the current one once more, because its cursor may
/// have passed it. Only then: an append at every loss would never end.
pub(super) fn shows_again(lost: &Version, current: &Version, was_held: bool) -> bool {
    match (lost, current) {
        (Version::Session(lost), Version::Session(current)) => !was_held && lost.end != current.end,
        _ => lost.is_delete() || !was_held,
    }
}

/// Tells when the current version came, if that was before this request, whose rows are numbered after `after_seq`.
pub(super) fn came_before(head: &Head, after_seq: i64) -> Option<RowTime> {
    let is_of_another_request = head.told.seq.cast_signed() <= after_seq;
    let came_s = head.told.occurred_at_us.div_euclid(US_PER_S);
    is_of_another_request.then(|| RowTime::from_unix_s(came_s)).flatten()
}
