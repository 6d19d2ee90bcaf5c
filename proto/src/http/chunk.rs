//! `GET /sync/pull`, `GET /sync/pull/{chunkID}` and `POST /sync/push`: a project's history as chunks.
//!
//! The manifest is a [`Manifest`](crate::chunk::Manifest), a chunk the very bytes that its id is the hash of.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A chunk on its way in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkPushRequest {
    /// The id by the sender's own count; of no consequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_id: Option<String>,
    /// The sender's own name for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When the sender made it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_created_at: Option<String>,
    /// The project; a query `?project=` may name it instead.
    #[serde(default)]
    pub project: Option<String>,
    /// The chunk.
    #[serde(default)]
    pub data: Option<Value>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkPushReply {
    /// Always `ok`.
    pub status: String,
    /// The id under which the chunk is kept.
    pub chunk_id: String,
}
