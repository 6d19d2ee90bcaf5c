//! Which versions lost to one that had not seen them, where no `base` says so (peers.md, "The door").
//!
//! A Go program tells no `base`. Its server keeps no conflicts, so on our server the door decides by these rules, and on
//! a Go server our devices do.

use super::Version;
use crate::time::RowTime;

/// Tells whether a version with just this key is among those that a journal ever held, with its text or without.
#[must_use]
pub fn was_held(version: &Version, held: &[Version]) -> bool {
    let version = version.without_text();
    held.iter().map(Version::without_text).any(|other| !version.leads(&other) && !other.leads(&version))
}

/// Tells whether what a version overwrites is lost to one that had not seen it.
///
/// A peer's edit raises the revision by one: it saw the version below it, unless two were ever held with that revision.
/// A delete saw what had been there at its own time, and what came with it in one request; `came_at` is when the current
/// version came in another one.
#[must_use]
pub fn overwrites_unseen(version: &Version, current: &Version, came_at: Option<RowTime>, held: &[Version]) -> bool {
    let revision = |version: &Version| match version {
        Version::Observation(version) => Some(version.key.revision),
        _ => None,
    };
    let (Some(arriving), Some(seen)) = (revision(version), revision(current)) else { return false };
    if version.is_delete() {
        return !current.is_delete() && came_at.is_some_and(|came_at| Some(came_at) >= version.time());
    }
    let mut rivals = held.iter().filter(|other| revision(other) == Some(seen) && other.hash() != current.hash());
    version.hash() != current.hash() && (seen + 1 != arriving || rivals.next().is_some())
}
