//! What admission decided, for the store to write in the same transaction.

use super::facts::{Name, Taken};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Digest, Version};
use std::collections::{BTreeMap, BTreeSet};

/// A row to append.
#[derive(Debug)]
pub struct NewRow {
    /// Its number, above all that were there.
    pub seq: i64,
    /// What it is about.
    pub name: Name,
    /// What it does, in its own word.
    pub op: String,
    /// Its payload as JSON text.
    pub payload: String,
    /// When the server took it.
    pub occurred_at_us: i64,
    /// The hash of its version; of an unknown entity that of its content.
    pub hash: String,
    /// Who pushed it.
    pub pushed_by: String,
}

/// A version that lost, as it is kept.
#[derive(Clone, Debug)]
pub struct Loser {
    /// What it is a version of.
    pub name: Name,
    /// The digest of op and payload: the same loser is kept once.
    pub digest: String,
    /// What its row did or would have done.
    pub op: String,
    /// Its payload as JSON text; `None` where it is kept elsewhere, or nowhere.
    pub payload: Option<String>,
    /// What stays of it for ever, where its payload is kept nowhere.
    pub kept: Option<String>,
    /// The hash of the version it was made on.
    pub base: Option<String>,
    /// The number of the row it lost to.
    pub winner_seq: i64,
    /// When it lost.
    pub occurred_at_us: i64,
    /// Who pushed it, or what it lost to.
    pub pushed_by: String,
}

/// Where an entity's current version stands from now on.
#[derive(Debug)]
pub struct NewHead {
    /// The number of its row.
    pub seq: i64,
    /// The session it belongs to.
    pub session_id: Option<String>,
    /// Whether it says that the entity is deleted.
    pub is_deleted: bool,
}

impl NewHead {
    pub(super) fn of(seq: i64, version: &Version) -> Self {
        Self { seq, session_id: version.session_id().map(str::to_owned), is_deleted: version.is_delete() }
    }
}

/// Everything one transaction writes.
#[derive(Debug, Default)]
pub struct Changes {
    /// Rows, in the order of their numbers.
    pub rows: Vec<NewRow>,
    /// Heads to set, the last of each entity alone.
    pub heads: BTreeMap<Name, NewHead>,
    /// By how much the digest of each project moves with its heads.
    pub digests: BTreeMap<ProjectName, Digest>,
    /// Mutation ids to remember.
    pub ids: BTreeMap<(ProjectName, String), Taken>,
    /// Versions that lost on arrival.
    pub superseded: Vec<Loser>,
    /// Losers of conflicts.
    pub conflicts: Vec<Loser>,
    /// Which relation, from now on, waits for the observation of this sync id, and which no longer does.
    pub waiting: BTreeMap<(String, Name), bool>,
}

impl Changes {
    /// Returns the projects that have new rows.
    #[must_use]
    pub fn touched(&self) -> BTreeSet<ProjectName> {
        let projects: BTreeSet<&ProjectName> = self.rows.iter().map(|row| &row.name.project).collect();
        projects.into_iter().cloned().collect()
    }
}
