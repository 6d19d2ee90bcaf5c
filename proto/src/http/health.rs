//! `GET /health`: who answers and what it can do.

use serde::{Deserialize, Serialize};

/// What an engram-cloud can do beyond part 1 of the contract.
pub mod capability {
    /// Entries carry ids and get receipts.
    pub const MUTATION_IDS: &str = "mutation_ids";
    /// `POST /sync/mutations/pull` with a cursor per project.
    pub const PROJECT_PULL: &str = "project_pull";
    /// Requests carry a row that the server must still hold.
    pub const WITNESS: &str = "witness";
    /// A page at a head says what the current versions add up to.
    pub const DIGEST: &str = "digest";
    /// A pull may wait for rows.
    pub const LONG_POLL: &str = "long_poll";
    /// Bodies may be compressed.
    pub const GZIP: &str = "gzip";
    /// `limits` apply instead of 100 entries.
    pub const LARGE_BATCH: &str = "large_batch";
}

/// The answer to `GET /health`. A peer answers with the first two fields alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReply {
    /// `ok`.
    pub status: String,
    /// `engram-cloud`.
    pub service: String,
    /// The server's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The uuid of the data set; another one means another cloud (CUR-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_id: Option<String>,
    /// Names of [`capability`].
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What one request may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The server's clock, RFC 3339 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// What one request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of a push, decompressed.
    pub push_bytes: u64,
    /// Entries of a push.
    pub push_entries: u32,
    /// Rows of a pull.
    pub pull_entries: u32,
}

/// What a peer allows, and what holds until a server has said otherwise.
pub const PEER_LIMITS: Limits = Limits { push_bytes: 8 * 1024 * 1024, push_entries: 100, pull_entries: 100 };
