//! The list of a project's chunks: `manifest.json` in a repository, `GET /sync/pull` on a cloud.

use serde::{Deserialize, Serialize};

/// A list of chunks. It is a table of contents and proves nothing: the chunks are the truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the form, 1.
    pub version: u32,
    /// The chunks, oldest first.
    #[serde(default, deserialize_with = "super::null_is_empty")]
    pub chunks: Vec<ManifestEntry>,
}

/// One chunk as a manifest names it. The id is text here: a hostile manifest is refused entry by entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// What a [`ChunkId`](super::ChunkId) is read from.
    pub id: String,
    /// Who made it, in its own words.
    #[serde(default)]
    pub created_by: String,
    /// When, RFC 3339 UTC to the second.
    #[serde(default)]
    pub created_at: String,
    /// Rows of sessions in it.
    #[serde(default)]
    pub sessions: u64,
    /// Rows of observations in it.
    #[serde(default)]
    pub memories: u64,
    /// Rows of prompts in it.
    #[serde(default)]
    pub prompts: u64,
}

impl Manifest {
    /// The version that everybody writes.
    pub const VERSION: u32 = 1;
}
