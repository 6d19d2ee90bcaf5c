//! What the store knows of chunk files: which version of what is in which of them, and which lie where.
//!
//! What a chunk holds is known by its content's hash, wherever it lies: an export to a place is what is in none of the
//! chunks there (chunks.md, "Export by absence"), whatever was exported elsewhere or is older.

mod candidates;
pub(super) mod due;
mod held;
mod learn;
pub(super) mod of_server;
mod place;
mod refused;
mod travel;

pub use candidates::{Candidates, Mark};
pub(super) use held::note_held;
pub(super) use learn::{is_in_a_chunk, is_in_any, learn, number_of};
pub use of_server::Unread;
pub use place::Met;
pub(super) use place::read_through;
pub use travel::Travelling;

use super::error::StoreError;
use engram_proto::canonical::Hash;
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};

/// A chunk whose rows are known.
const READ: i64 = 1;
/// A chunk whose rows are in the tables too.
pub(super) const APPLIED: i64 = 2;

/// Rows of a chunk that was found at a place.
#[derive(Clone, Debug)]
pub struct Part {
    /// The directory's path.
    pub place: String,
    /// The file's id.
    pub id: String,
    /// Of its content.
    pub hash: Hash,
    /// How many rows there were; some say nothing.
    pub count: u64,
    /// The others.
    pub rows: Vec<Row>,
    /// Whether no more of it follow: from then on it counts as read.
    pub last: bool,
}

/// A row of a chunk, read as far as no store is needed for that.
#[derive(Clone, Debug)]
pub struct Row {
    /// The project, if it names one.
    pub project: Option<ProjectName>,
    /// The row.
    pub mutation: PulledMutation,
    /// The version that it says; none of what this program does not know.
    pub version: Option<Version>,
}

impl Row {
    /// Reads what a row says.
    #[must_use]
    pub fn read(project: Option<ProjectName>, mutation: PulledMutation) -> Self {
        let version = said(&mutation);
        Self { project, mutation, version }
    }
}

fn said(row: &PulledMutation) -> Option<Version> {
    let (entity, op, payload) = (Entity::parse(&row.entity)?, Op::parse(&row.op)?, row.payload.as_object()?);
    Version::read(entity, &row.entity_key, op, payload).ok()
}

/// Makes a number of a version, its joined fields included: of one entity no two have the same.
fn number(version: &Version) -> Result<i64, StoreError> {
    let head = serde_json::to_string(version).map_err(|error| StoreError::Invalid(error.to_string()))?;
    let digits = Hash::of_bytes(head.as_bytes()).short(16);
    u64::from_str_radix(&digits, 16).map(u64::cast_signed).map_err(|error| StoreError::Invalid(error.to_string()))
}
