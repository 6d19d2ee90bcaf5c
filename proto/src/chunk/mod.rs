//! What a chunk is: a piece of a project's history as one JSON object, in git files and on the cloud's chunk routes.
//!
//! A chunk of a cloud has one canonical form, the same to the byte as the Go program's, because its id is the hash of
//! those bytes (chunks.md; peer page 9.1 and 9.3). A file's chunk may be any bytes that decode to a [`Chunk`].

mod canonical;
mod error;
mod id;
mod json;
mod manifest;
mod payload;
mod statement;

pub use canonical::{canonical_bytes, encode};
pub use error::{ChunkError, MutationError};
pub use id::{ChunkId, InvalidChunkId};
pub use manifest::{Manifest, ManifestEntry};
pub use payload::canonical_payload;
pub use statement::Statement;

use crate::canonical::Object;
use serde::{Deserialize, Deserializer, Serialize};

/// The content of a chunk. Rows keep fields that we do not know, so that nothing a newer program wrote is lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Rows of sessions, as a table of the Go program has them.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub sessions: Vec<Object>,
    /// Rows of observations; a deleted one has `deleted_at`.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub observations: Vec<Object>,
    /// Rows of prompts.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub prompts: Vec<Object>,
    /// What no row can say: relations and deletes; from the cloud's routes also the rows' own journal.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub mutations: Vec<ChunkMutation>,
}

/// A journal row inside a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkMutation {
    /// The writer's local number; it orders the mutations of one chunk and means nothing elsewhere.
    #[serde(default)]
    pub seq: i64,
    /// The Go program's word for where the row is queued to; of no use to a reader.
    #[serde(default)]
    pub target_key: String,
    /// A name of [`Entity`](crate::mutation::Entity), or of one to come.
    #[serde(default)]
    pub entity: String,
    /// Session id or sync id.
    #[serde(default)]
    pub entity_key: String,
    /// `upsert` or `delete`.
    #[serde(default)]
    pub op: String,
    /// A JSON object as text; some writers stringified it twice, which [`payload_text`] reads as well.
    ///
    /// [`payload_text`]: crate::mutation::payload_text
    #[serde(default)]
    pub payload: String,
    /// `local` from the Go program.
    #[serde(default)]
    pub source: String,
    /// The project, as the writer names it.
    #[serde(default)]
    pub project: String,
    /// The writer's time, `YYYY-MM-DD HH:MM:SS` UTC.
    #[serde(default)]
    pub occurred_at: String,
    /// When the writer's cloud took it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked_at: Option<String>,
}

/// The Go program writes an empty list as null.
fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
