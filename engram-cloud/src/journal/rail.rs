//! The chunk rail: the same history as the journal's, for clients that read and write chunks.
//!
//! A project's list of chunks tells its journal up to a row. What lies behind that row is told by slices, which are made
//! when somebody looks at the list; a pushed chunk is listed itself where it tells just what the journal holds after it,
//! and otherwise is kept and left to the slices. So both rails always say the same, whoever wrote what where.

use super::admit::{Facts, Name};
use super::{Batch, Control, JournalError};
use engram_proto::canonical::Hash;
use engram_proto::chunk::{ChunkId, ManifestEntry};
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::Entity;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

/// The digits of ids, in the order in which they are tried: 32 bits collide in long histories (D24).
pub const ID_DIGITS: [usize; 5] = [ChunkId::DIGITS, 12, 16, 32, 64];

/// What a store must do for the chunk rail.
pub trait Rail: Send + Sync {
    /// Tells how far a project's list of chunks has come.
    fn rail(&self, project: &ProjectName) -> impl Future<Output = Result<RailState, JournalError>> + Send;

    /// Appends a slice to the list; `false` where another one was faster.
    fn tell(&self, slice: Slice) -> impl Future<Output = Result<bool, JournalError>> + Send;

    /// Admits what a chunk says into the journal and keeps it, in one transaction. The same bytes again change nothing.
    fn push_chunk(&self, push: ChunkPush) -> impl Future<Output = Result<ChunkPushed, JournalError>> + Send;

    /// Lists a project's chunks, oldest first.
    fn chunks(&self, project: &ProjectName) -> impl Future<Output = Result<Vec<ManifestEntry>, JournalError>> + Send;

    /// Returns the bytes of a chunk.
    fn chunk(
        &self,
        project: &ProjectName,
        id: &ChunkId,
    ) -> impl Future<Output = Result<Option<String>, JournalError>> + Send;

    /// Tells which of these observations stand, softly deleted ones included: an upsert of it is among the rows up to
    /// `upto`, and it is not hard-deleted.
    fn standing(
        &self,
        project: &ProjectName,
        observations: BTreeSet<String>,
        upto: u64,
    ) -> impl Future<Output = Result<BTreeSet<String>, JournalError>> + Send;
}

/// How far a project's list of chunks has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RailState {
    /// It tells every row up to this one.
    pub told_to: u64,
    /// The last row there is.
    pub head: u64,
}

/// A chunk to be kept.
#[derive(Clone, Debug)]
pub struct NewChunk {
    /// Its project.
    pub project: ProjectName,
    /// The bytes that its id is the hash of.
    pub text: String,
    /// Who made it, in its own words.
    pub created_by: String,
    /// When, by its maker's clock.
    pub client_created_at_us: Option<i64>,
    /// What the list says of it: sessions, observations, prompts.
    pub counts: [u64; 3],
    /// The sessions that are in it.
    pub sessions: BTreeSet<String>,
}

impl NewChunk {
    /// Returns the ids that it may be kept under, the wanted one first.
    #[must_use]
    pub fn ids(&self) -> [ChunkId; ID_DIGITS.len()] {
        let hash = Hash::of_bytes(self.text.as_bytes());
        ID_DIGITS.map(|digits| ChunkId::of_hash(&hash, digits))
    }
}

/// The next rows of a project's journal, as a chunk that tells them.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The project.
    pub project: ProjectName,
    /// The list tells the rows up to this one.
    pub after: u64,
    /// With this slice, it tells those up to this one.
    pub upto: u64,
    /// The chunk; none where no client needs to see any of the rows.
    pub chunk: Option<NewChunk>,
}

/// A chunk that somebody pushed.
#[derive(Clone, Debug)]
pub struct ChunkPush {
    /// What is kept.
    pub chunk: NewChunk,
    /// What it says, for the journal.
    pub batch: Batch,
    /// What must be true for it to be listed; `None` where it cannot be.
    pub telling: Option<Telling>,
    /// Sessions that are not in it and which its rows refer to: the project must have them.
    pub references: BTreeSet<String>,
}

/// What an importing client ends with, and what it must have before.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// The versions that stand after the import.
    pub statements: BTreeMap<Name, Version>,
    /// Observations that relations refer to and which are not in the chunk.
    pub ends: BTreeSet<String>,
}

/// What became of a pushed chunk.
#[derive(Clone, Debug, PartialEq)]
pub enum ChunkPushed {
    /// It is kept under this id.
    Kept(ChunkId),
    /// The project is paused; nothing was kept.
    Paused(Control),
    /// The project knows none of these sessions; nothing was kept.
    MissingSessions(BTreeSet<String>),
}

impl ChunkPush {
    /// Asks what its admission needs to know.
    #[must_use]
    pub fn asks(&self) -> Facts {
        let mut facts = Facts::asked_by(std::slice::from_ref(&self.batch));
        let project = &self.chunk.project;
        facts.paused.entry(project.clone()).or_default();
        let ends = self.telling.iter().flat_map(|telling| &telling.ends);
        let ends = ends.map(|key| Name::known(project, Entity::Observation, key));
        let sessions = self.references.iter().map(|id| Name::known(project, Entity::Session, id));
        for name in ends.chain(sessions) {
            facts.heads.entry(name).or_default();
        }
        facts
    }
}
