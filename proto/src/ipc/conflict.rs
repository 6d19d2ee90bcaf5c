//! Versions that lost a conflict, as the socket tells of them (CONV-6).

use serde::{Deserialize, Serialize};

/// A version that lost to one that had not seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictRow {
    /// Its number, for `conflicts show|restore`; no other conflict ever gets it.
    pub id: i64,
    /// Its project.
    pub project: String,
    /// Its entity.
    pub entity: String,
    /// Its key.
    pub entity_key: String,
    /// What the lost version did: `upsert` or `delete`.
    pub op: String,
    /// The lost version in a line: a title, the beginning of a prompt, a verb, a summary; empty for a delete.
    pub title: String,
    /// Since when it is known here, RFC 3339 UTC.
    pub since: String,
}

/// A lost version in full, and what is shown in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictDetail {
    /// The lost version in a line.
    pub row: ConflictRow,
    /// Its payload as JSON text.
    pub payload: String,
    /// What this device holds instead; none where its text is not at hand.
    pub current: Option<CurrentVersion>,
}

/// The version that this device holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentVersion {
    /// `upsert` or `delete`.
    pub op: String,
    /// Its payload as JSON text.
    pub payload: String,
}

/// A lost version that was brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The conflict's number; it is not listed any more.
    pub id: i64,
    /// Its project.
    pub project: String,
    /// Its entity.
    pub entity: String,
    /// Its key.
    pub entity_key: String,
    /// `restored`, `deleted`, or `unchanged` where the current version said the same already.
    pub outcome: String,
}
