//! Why a chunk has no canonical form. The words name the place as the Go program does, so that its users know them.

/// What is wrong with a chunk, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A list is something else.
    #[error("{list} must be an array")]
    NotAList {
        /// The member of the chunk.
        list: &'static str,
    },
    /// An item of a list is something else.
    #[error("{list}[{index}] must be an object")]
    NotAnObject {
        /// The member of the chunk.
        list: &'static str,
        /// The item's place, from 0.
        index: usize,
    },
    /// A mutation cannot be read.
    #[error("mutations[{index}]: {source}")]
    Mutation {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        source: MutationError,
    },
}

/// What is wrong with one mutation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MutationError {
    /// No chunk carries this: an unknown entity or operation, or the delete of a relation.
    #[error("unsupported mutation {entity:?}/{op:?}")]
    Unsupported {
        /// The entity, trimmed.
        entity: String,
        /// The operation, trimmed.
        op: String,
    },
    /// The payload holds no JSON object.
    #[error("payload must be a JSON object")]
    NotAnObject,
    /// A known field has another type than its own.
    #[error("payload {field} is not {expected}")]
    Type {
        /// The field.
        field: &'static str,
        /// Its type.
        expected: &'static str,
    },
    /// A field that the mutation cannot do without is blank.
    #[error("payload {field} is required")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// The key beside the payload names another thing than the payload.
    #[error("entity_key {key:?} does not match payload key {inner:?}")]
    KeyMismatch {
        /// The key beside the payload.
        key: String,
        /// The id inside the payload.
        inner: String,
    },
}
