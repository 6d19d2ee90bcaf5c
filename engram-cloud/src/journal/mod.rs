//! The journal: what was pushed, in the order in which pullers see it.
//!
//! [`Journal`] is what a store must do; the contract suite runs against every implementation. The rules that all of
//! them share stand beside it as plain functions: reading an entry, numbering a row, waking who waits.

pub mod admit;
pub mod compaction;
pub mod embedded;
mod entry;
mod listeners;
mod number;
pub mod postgres;
pub mod rail;
mod room;
pub(crate) mod storable;

use compaction::{Compacted, Retention};
use engram_proto::http::pull::PulledMutation;
use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use engram_proto::merge::Digest;
pub use entry::{Batch, Content, Entry, Fault, ForeignContent, KnownContent, foreign_hash};
pub use listeners::{Listener, Listeners};
pub use number::{NUMBER_STEP, last_number_by, number_after};
pub use rail::Rail;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

/// Why a journal did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The store refused; nothing of the request was kept.
    #[error("the store refused: {0}")]
    Store(String),
    /// The store is shutting down, or its thread is gone.
    #[error("the store is closed")]
    Closed,
    /// The store does not answer in time.
    #[error("the store does not answer in time")]
    Slow,
}

/// An append-only journal with the current version of every entity.
///
/// CUR-2: whoever was told a head of `n` never misses a row numbered up to `n` later. IDEM-1: what was pushed before
/// changes nothing. Dropping a returned future never loses what was committed; it only forgets the answer.
pub trait Journal: Rail + Clone + Send + Sync + 'static {
    /// Returns the uuid of this data set (CUR-3).
    fn cloud_id(&self) -> &str;

    /// Asks whether the store reads and writes.
    fn ping(&self) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Merges a batch into the journal, and returns once what it says is durable.
    fn push(&self, batch: Batch) -> impl Future<Output = Result<Pushed, JournalError>> + Send;

    /// Reads a page of several projects, each from its own cursor; `None` where the row of the witness is not here.
    fn page(&self, ask: PageAsk) -> impl Future<Output = Result<Option<Page>, JournalError>> + Send;

    /// Reads a page of a whole grant in one order, unknown entities left out, and children of another program's dense
    /// rows that nothing can be put in before.
    fn grant_page(&self, ask: GrantAsk) -> impl Future<Output = Result<GrantRows, JournalError>> + Send;

    /// Tells how sessions stand now; one without a row is left out of the answer.
    ///
    /// Asked after [`grant_page`](Self::grant_page): what it tells may be newer than that page, never older.
    fn sessions(
        &self,
        asked: BTreeSet<SessionKey>,
    ) -> impl Future<Output = Result<BTreeMap<SessionKey, SessionNow>, JournalError>> + Send;

    /// Listens for rows of these projects from now on.
    fn listen(&self, projects: Vec<ProjectName>) -> Listener;

    /// Lists the projects somebody paused or resumed.
    fn controls(&self) -> impl Future<Output = Result<Vec<Control>, JournalError>> + Send;

    /// Pauses or resumes a project; the next push of it sees it.
    fn set_control(&self, control: Control) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Takes the next contents away that stayed long enough, in one short transaction.
    fn compact(&self, retention: Retention) -> impl Future<Output = Result<Compacted, JournalError>> + Send;

    /// Finishes what was begun and closes the store.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Pushed {
    /// One outcome per entry, in order.
    Done(Vec<Fate>),
    /// An all-or-nothing batch had these bad entries; nothing of it was stored.
    Invalid(Vec<(usize, Fault)>),
    /// A project of it is paused; nothing of it was stored.
    Paused(Control),
    /// The row of its witness is not here; nothing of it was stored (CUR-3).
    Replaced,
}

/// What became of one entry: outcomes of the protocol, not errors.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// A new row was appended.
    Accepted(Told),
    /// Nothing new: this id, or this very version, was there.
    Duplicate(Told),
    /// It lost to the current version, whose row this is.
    Superseded(Told),
    /// It was refused.
    Rejected(Fault),
}

/// A row as a sender is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its number.
    pub seq: u64,
    /// When the server took it.
    pub occurred_at_us: i64,
}

/// A question for a page of several projects.
#[derive(Clone, Debug)]
pub struct PageAsk {
    /// Rows with a greater number are asked for.
    pub cursors: BTreeMap<ProjectName, u64>,
    /// Rows at most; 0 asks for heads alone.
    pub rows_max: usize,
    /// Bytes of payload at most, save for a single row that is larger.
    pub bytes_max: usize,
    /// What the asker was told and the store must still hold (CUR-3).
    pub witness: Option<Witness>,
}

/// A page of several projects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The rows, in the order of their numbers.
    pub rows: Vec<PulledMutation>,
    /// The last number of each project that has rows here.
    pub cursors: BTreeMap<ProjectName, u64>,
    /// Where each project ends; 0 where it has no rows.
    pub heads: BTreeMap<ProjectName, u64>,
    /// How many rows lie between the two, where there are any.
    pub remaining: BTreeMap<ProjectName, u64>,
    /// Whether there are.
    pub has_more: bool,
    /// What the current versions of each project add up to that ends here at its head, where that is known.
    pub digests: BTreeMap<ProjectName, Digest>,
}

/// A question for a page of a whole grant.
#[derive(Clone, Debug)]
pub struct GrantAsk {
    /// The grant.
    pub grant: crate::auth::Grant,
    /// Rows with a greater number are asked for.
    pub since_seq: u64,
    /// Rows at most.
    pub rows_max: usize,
    /// Bytes of payload at most, save for a single row that is larger.
    pub bytes_max: usize,
}

/// A page of a whole grant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrantRows {
    /// The rows, in the order of their numbers.
    pub rows: Vec<PulledMutation>,
    /// The last number that was looked at, that of a row that was left out included.
    pub read_to: u64,
    /// Whether more follow.
    pub has_more: bool,
}

/// A session's project and id.
pub type SessionKey = (String, String);

/// A session as it stands now in one project.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionNow {
    /// Its current row.
    pub row: PulledMutation,
    /// Whether a live or softly deleted observation or a live prompt of it is known in the project, which keeps it
    /// alive whatever its `deleted_at` says (merging.md).
    pub has_children: bool,
}

/// What an administrator decided about a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The project.
    pub project: ProjectName,
    /// Whether its pushes are taken.
    pub is_sync_enabled: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Who decided.
    pub updated_by: String,
    /// When.
    pub updated_at_us: i64,
}

/// Something that an administrator did, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// When, in Unix microseconds.
    pub occurred_at_us: i64,
    /// Who.
    pub actor: String,
    /// What, as in `project.pause`.
    pub action: String,
    /// To which project.
    pub project: Option<String>,
    /// Why, in words.
    pub reason: Option<String>,
}
