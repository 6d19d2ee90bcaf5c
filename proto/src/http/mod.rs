//! The bodies of the HTTP contract between a device and a cloud (cloud-http.md).
//!
//! Both parts stand in the same types: what part 2 adds is optional, so that a peer's bodies decode too.

pub mod chunk;
pub mod error;
pub mod health;
pub mod pull;
pub mod push;
pub mod witness;

/// Where the routes are.
pub mod path {
    /// Who answers, and what it can do; needs no token.
    pub const HEALTH: &str = "/health";
    /// Whether the store answers; needs no token.
    pub const READY: &str = "/ready";
    /// Mutations in.
    pub const PUSH: &str = "/sync/mutations/push";
    /// Mutations out.
    pub const PULL: &str = "/sync/mutations/pull";
    /// The list of a project's chunks.
    pub const CHUNKS: &str = "/sync/pull";
    /// One chunk, by its id.
    pub const CHUNK: &str = "/sync/pull/{chunk_id}";
    /// A chunk in.
    pub const CHUNK_PUSH: &str = "/sync/push";
}
