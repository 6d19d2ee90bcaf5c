//! `GET` and `POST /sync/mutations/pull`.

use super::witness::Witness;
use crate::id::ProjectName;
use crate::merge::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest a pull may wait for rows.
pub const WAIT_SECONDS_MAX: u32 = 55;

/// `remaining` is counted no further than this.
pub const REMAINING_MAX: u64 = 10_000;

/// Several projects, each from its own cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Rows with a greater seq are asked for.
    pub cursors: BTreeMap<ProjectName, u64>,
    /// Rows at most; 0 asks for heads and denials alone.
    pub limit: u32,
    /// How long the server may hold the request until there is a row, in seconds.
    #[serde(default)]
    pub wait_seconds: u32,
    /// What the server must still hold; `None` from a device that was told no row yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
    /// Which cloud is meant, from a device that has no witness; another one answers as one that was replaced does (CUR-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_id: Option<String>,
}

/// One row on its way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PulledMutation {
    /// Its number; a project's rows are read in this order.
    pub seq: u64,
    /// The project it was authorised and stored for.
    pub project: String,
    /// A name of [`Entity`](crate::mutation::Entity), or of one to come.
    pub entity: String,
    /// Session id or sync id.
    pub entity_key: String,
    /// `upsert` or `delete`.
    pub op: String,
    /// An object, or a string holding one.
    pub payload: Value,
    /// When the server took it, RFC 3339 UTC.
    #[serde(default)]
    pub occurred_at: String,
}

/// A page for several projects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PullReply {
    /// The rows, in the order of their numbers.
    pub mutations: Vec<PulledMutation>,
    /// What to store after applying the page; never later than the page's last row of that project.
    pub cursors: BTreeMap<ProjectName, u64>,
    /// Where each project ends.
    pub heads: BTreeMap<ProjectName, u64>,
    /// How many rows lie between the two, counted to [`REMAINING_MAX`].
    #[serde(default)]
    pub remaining: BTreeMap<ProjectName, u64>,
    /// Whether some project has more rows now.
    pub has_more: bool,
    /// Projects the caller may not read; the others are served.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub denied: BTreeMap<ProjectName, Denial>,
    /// Of each project that ends here at its head: what its current versions add up to, read together with the page.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<ProjectName, Digest>,
    /// Rows that no number orders, of a history that came in chunks: they are applied first and move no cursor.
    #[serde(skip)]
    pub unnumbered: Vec<PulledMutation>,
    /// What became of the chunks that those rows are of: kept in the transaction of the page's last row.
    #[serde(skip)]
    pub chunks: BTreeMap<ProjectName, ChunksRead>,
}

/// What became of chunks that a server lists for a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunksRead {
    /// What tells this list from any other, where nothing of it is left but what was passed over.
    pub list: Option<String>,
    /// Read to the end, by their ids.
    pub read: Vec<String>,
    /// Not to be had, or no chunk: the ids, each with the reason in words.
    pub passed_over: Vec<(String, String)>,
    /// Passed over once, and not listed any more.
    pub unlisted: Vec<String>,
}

impl PullReply {
    /// Returns all its rows, those without a number first.
    pub fn rows(&self) -> impl Iterator<Item = &PulledMutation> {
        self.unnumbered.iter().chain(&self.mutations)
    }
}

/// Why one project of several was not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// `policy_forbidden`.
    pub reason_code: String,
    /// In words.
    pub message: String,
}

/// The page of the `GET` form: the whole grant, in one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantPage {
    /// The rows, in the order of their numbers.
    pub mutations: Vec<PulledMutation>,
    /// Whether more follow.
    pub has_more: bool,
    /// The seq of the page's last row; 0 when it is empty, and never the head.
    pub latest_seq: u64,
    /// The first project of the grant.
    #[serde(default)]
    pub project: String,
    /// Always `request_body`.
    #[serde(default)]
    pub project_source: String,
    /// Always empty.
    #[serde(default)]
    pub project_path: String,
}
