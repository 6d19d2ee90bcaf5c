//! The values that travel between the machine, the store and the wire.

use engram_proto::canonical::Object;
use engram_proto::id::ProjectName;
use engram_proto::merge::Digest;
use engram_proto::mutation::{Entity, Op};
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use std::collections::{BTreeMap, BTreeSet};

/// Proves that its holder was granted the lease; every write of sync state presents it (OWN-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Raised by one at every grant.
    pub number: i64,
    /// As it stands in `sync_state.lease_owner`.
    pub owner: String,
}

/// One pending row of the journal, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingRow {
    /// Local journal seq.
    pub seq: i64,
    /// The entity's word; one of a newer program is sent as it stands.
    pub entity: String,
    /// Session id or sync id.
    pub entity_key: String,
    /// What it does.
    pub op: Op,
    /// Decoded, and filled where an older row lacked a field.
    pub payload: Object,
    /// Its name for ever.
    pub mutation_id: String,
    /// The hash of the version that was edited.
    pub base: Option<String>,
    /// Bytes of its entry on the wire, about.
    pub body_bytes: u64,
}

/// Pending rows of one project, in the order they were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Their project.
    pub project: ProjectName,
    /// At least one, unless nothing is pending.
    pub rows: Vec<PendingRow>,
    /// Whether more are pending behind them.
    pub more: bool,
}

/// How much one batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows.
    pub rows_max: u32,
    /// Bytes of all entries; a single row may be larger.
    pub body_bytes_max: u64,
}

/// What becomes of one pending row (ACK-1, ISO-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The cloud's reply named it.
    Acked {
        /// Local journal seq.
        seq: i64,
        /// The number the cloud gave it, or that of the version it lost to.
        cloud_seq: u64,
        /// The cloud's time of that row.
        occurred_at: Option<String>,
    },
    /// Set aside.
    Held {
        /// Local journal seq.
        seq: i64,
        /// `row_rejected` or `payload_too_large`.
        reason: ReasonCode,
        /// The server's own words.
        evidence: String,
    },
}

/// How many rows a settling moved; a row that had left pending before counts nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Acknowledged.
    pub acked: u64,
    /// Held.
    pub held: u64,
}

/// What time it is where versions of this device are about to meet others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Here.
    pub own: RowTime,
    /// At the cloud, where it told: what is more than a day ahead of that is stamped again before it is used.
    pub cloud: Option<RowTime>,
}

impl From<RowTime> for Clocks {
    /// Takes the own time, where the cloud's is not known.
    fn from(own: RowTime) -> Self {
        Self { own, cloud: None }
    }
}

/// What applying a page did to one project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows that were looked at, echoes included.
    pub received: u64,
    /// Entities that changed here.
    pub changed: u64,
    /// Rows parked until their parent comes.
    pub deferred: u64,
    /// Rows kept with their evidence.
    pub dead: u64,
    /// Rows that were queued because a merge is news to the cloud.
    pub queued: u64,
    /// Whether children of parents that came are left for another transaction.
    pub unfinished: bool,
}

impl Applied {
    /// Adds what another part of the work did.
    pub fn add(&mut self, other: Self) {
        self.received += other.received;
        self.changed += other.changed;
        self.deferred += other.deferred;
        self.dead += other.dead;
        self.queued += other.queued;
        self.unfinished |= other.unfinished;
    }
}

/// What a look at the last rows of a server that merges nothing found (peers.md, "Read repair").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Entities whose last row shows other than what is known here.
    pub suspects: u64,
    /// Rows that were queued because it was still so.
    pub queued: u64,
}

/// What the store holds of one project, counted without looking at its history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectCounts {
    /// Waiting to be sent, held ones not included.
    pub pending: u64,
    /// When the oldest of them was written, as the row has it.
    pub oldest_pending_at: Option<String>,
    /// Received, waiting for a parent.
    pub deferred: u64,
    /// Ours, refused by the server.
    pub quarantined: u64,
    /// Received, can never apply.
    pub dead: u64,
    /// The most important reason among the held ones.
    pub held_reason: Option<ReasonCode>,
    /// Why it must be read to the head before anything of it is pushed: a Go process synced the store, for this time.
    pub reread: Option<i64>,
}

/// [`ProjectCounts`] by project name.
pub type Counts = BTreeMap<ProjectName, ProjectCounts>;

/// How the projects of this store stand to a cloud (CUR-3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belonging {
    /// The cloud.
    pub cloud_id: String,
    /// Projects that belong to another one.
    pub elsewhere: BTreeMap<ProjectName, Elsewhere>,
    /// Projects of which not all is queued anew yet.
    pub due: BTreeSet<ProjectName>,
    /// Whether the cloud lost rows: nothing may be said to it until all is queued anew.
    pub restored: bool,
}

/// The cloud that a project belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Its identity.
    pub cloud_id: String,
    /// Since when another one answers, Unix milliseconds.
    pub since_ms: i64,
}

/// What a cloud says of a project at its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToCompare {
    /// The number of its last row.
    pub head: u64,
    /// What its current versions add up to.
    pub digest: Digest,
}

/// Whether this device and the cloud hold the same of a project that is drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// They do.
    Same,
    /// They do not.
    Differs {
        /// What the versions known here add up to.
        ours: Digest,
        /// What those of the cloud do.
        theirs: Digest,
    },
    /// A row here shows something else than the version that is known.
    RowDiffers {
        /// What it is.
        entity: Entity,
        /// Session id or sync id.
        key: String,
    },
}

/// What looking at some rows found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rechecked {
    /// Of each project with rows that were changed behind the journal, one of them; its cursor is forgotten.
    pub different: BTreeMap<ProjectName, String>,
    /// How long until the next rows are due, in milliseconds.
    pub again_in_ms: u64,
    /// Whether these were the last ones of a pass.
    pub is_end: bool,
}

/// How asking for the lease ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// It is ours until then.
    Granted {
        /// To present with every write.
        fence: Fence,
        /// Unix milliseconds.
        until_ms: i64,
    },
    /// Another process has it.
    HeldElsewhere {
        /// As it stands in the row.
        owner: String,
        /// Unix milliseconds.
        until_ms: i64,
    },
}
