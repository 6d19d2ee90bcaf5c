//! `POST /sync/mutations/push`.

use super::witness::Witness;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A batch of mutations; a device of ours sends one project's, all with ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PushRequest {
    /// The mutations, in the order they were written.
    pub entries: Vec<PushEntry>,
    /// The sender's own name for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// What the server must still hold; `None` from a device that was told no row yet, and from a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
    /// Which cloud is meant, from a device that has no witness; another one takes nothing (CUR-3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_id: Option<String>,
}

/// One mutation on its way in. Entity and operation are text: a newer program may send words we do not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PushEntry {
    /// The project, as the sender writes it.
    #[serde(default)]
    pub project: String,
    /// A name of [`Entity`](crate::mutation::Entity), or of one to come.
    #[serde(default)]
    pub entity: String,
    /// Session id or sync id.
    #[serde(default)]
    pub entity_key: String,
    /// `upsert` or `delete`.
    #[serde(default)]
    pub op: String,
    /// An object, or a string holding one.
    #[serde(default)]
    pub payload: Value,
    /// The row's name for ever ([`mutation_id`](crate::id::mutation_id)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutation_id: Option<String>,
    /// The hash of the version that was edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// The answer: one seq per entry, in order; 0 for a rejected one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PushReply {
    /// One number per entry.
    pub accepted_seqs: Vec<u64>,
    /// The project of the first entry.
    #[serde(default)]
    pub project: String,
    /// Always `request_body`.
    #[serde(default)]
    pub project_source: String,
    /// Always empty.
    #[serde(default)]
    pub project_path: String,
    /// One per entry, where the entries carried ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<Receipt>,
}

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The id it came with.
    pub mutation_id: String,
    /// What became of it.
    pub status: ReceiptStatus,
    /// Its number, or that of the version it lost to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The server's time of that row, RFC 3339 to the microsecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// Why it was rejected, such as `validation_error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    /// Which field is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The server's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of one entry: outcomes of the protocol, not errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptStatus {
    /// A new row was appended.
    Accepted,
    /// Nothing new: this id, or this very version, was there.
    Duplicate,
    /// It lost to the current version and is not served.
    Superseded,
    /// It was refused; its neighbours were not.
    Rejected,
}
