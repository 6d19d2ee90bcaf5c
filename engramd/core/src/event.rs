//! What the machine hears and what it wants done.

use crate::classify::Failure;
use crate::rows::{
    Agreement, Applied, Batch, BatchLimits, Belonging, Counts, Fence, LeaseOutcome, PendingRow, Rechecked, Repaired,
    Settled, Settlement, ToCompare,
};
use engram_proto::http::health::HealthReply;
use engram_proto::http::pull::{PullReply, PullRequest};
use engram_proto::http::push::PushReply;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{SyncOutcome, SyncProgress};
use engram_proto::ipc::request::Direction;
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Both clocks, as the driver read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds that never jump; for delays.
    pub mono_ms: u64,
    /// Unix milliseconds; for stamps and for people.
    pub wall_ms: i64,
}

/// What is known of the cloud from configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cloud {
    /// No server URL.
    #[default]
    NotConfigured,
    /// Something is given that cannot be used.
    Invalid {
        /// `cloud_config_error` or `auth_required` where no token is given.
        code: ReasonCode,
        /// Names file, line or URL.
        message: String,
    },
    /// A server to talk to.
    Configured {
        /// Host and port, for messages.
        host: String,
    },
}

/// Which projects take part, and what the user paused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projects {
    /// Enrolled ones.
    pub enrolled: Vec<ProjectName>,
    /// Those whose history is still being queued: they are not drained before all of it is.
    pub queueing: Vec<ProjectName>,
    /// Paused ones with the user's reason and Unix milliseconds.
    pub paused: BTreeMap<ProjectName, (Option<String>, i64)>,
    /// Everything paused.
    pub paused_all: Option<(Option<String>, i64)>,
}

/// What went wrong with the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreTrouble {
    /// The lease was granted anew since; nothing was written (OWN-2).
    LeaseLost {
        /// The number of the fence that was presented.
        fence: i64,
    },
    /// Anything else.
    Failed {
        /// `store_busy`, `store_full`, `store_corrupt` or `internal_error`.
        code: ReasonCode,
        /// SQLite's own words.
        message: String,
    },
}

/// Names one `engramctl sync` that is being followed.
pub type TicketId = u64;

/// What the machine hears.
#[derive(Clone, Debug)]
pub enum Event {
    /// Configuration was read, at the start and after every change.
    CloudChanged(Cloud),
    /// The same, and who takes part in the same look: nothing may be wanted of one before the other is known, neither for
    /// what was left (SCOPE-1) nor of the server that was (CUR-3).
    Reloaded(Cloud, Projects),
    /// Enrollment or pauses changed.
    ProjectsChanged(Projects),
    /// The store was counted again: after writes of ours and of others.
    Counted(Counts),
    /// So were the rows that are held because nothing tells their project, by the reason that they are held for.
    NamelessCounted(BTreeMap<ReasonCode, u64>),
    /// Time passed.
    Tick,
    /// The cause of whatever is waited for may be gone: network back, resume from suspend.
    Woken,
    /// Somebody asked for a sync now.
    SyncRequested {
        /// To answer with.
        ticket: TicketId,
        /// One project only.
        project: Option<ProjectName>,
        /// Which way.
        direction: Direction,
    },
    /// Somebody stopped waiting.
    SyncAbandoned(TicketId),
    /// The answer to [`Effect::AcquireLease`].
    LeaseAnswered(Result<LeaseOutcome, StoreTrouble>),
    /// The answer to [`Effect::RenewLease`]: until when, or lost.
    LeaseRenewed(Result<i64, StoreTrouble>),
    /// The answer to [`Effect::Probe`].
    Probed(Result<HealthReply, Failure>),
    /// The answer to [`Effect::LoadBelonging`], [`Effect::NoteRestored`] and [`Effect::Remirror`].
    Belonging(Result<Belonging, StoreTrouble>),
    /// The answer to [`Effect::LoadBatch`].
    BatchLoaded(Result<Batch, StoreTrouble>),
    /// The answer to [`Effect::Send`].
    Sent(Result<PushReply, Failure>),
    /// The answer to [`Effect::Settle`].
    Settled(Result<Settled, StoreTrouble>),
    /// The answer to [`Effect::LoadCursors`].
    CursorsLoaded(Result<BTreeMap<ProjectName, u64>, StoreTrouble>),
    /// The answer to [`Effect::Pull`].
    Pulled(Result<PullReply, Failure>),
    /// The pull was given up on [`Effect::CancelPull`].
    PullCancelled,
    /// The answer to [`Effect::Apply`].
    Applied(Result<BTreeMap<ProjectName, Applied>, StoreTrouble>),
    /// The answer to [`Effect::ClearReread`].
    RereadCleared(Result<(), StoreTrouble>),
    /// The answer to [`Effect::StandIns`].
    StoodIn(Result<Applied, StoreTrouble>),
    /// The answer to [`Effect::Repair`].
    Looked(Result<Repaired, StoreTrouble>),
    /// The answer to [`Effect::Compare`]; projects of which nothing can be told are left out.
    Compared(Result<BTreeMap<ProjectName, Agreement>, StoreTrouble>),
    /// The answer to [`Effect::Recheck`].
    Rechecked(Result<Rechecked, StoreTrouble>),
    /// How a command fared with the store: what it met, or that a write of it worked.
    StoreMet(Result<(), StoreTrouble>),
    /// The answer to [`Effect::LookAtStore`].
    StoreLooked(Result<(), StoreTrouble>),
    /// A panic was contained while an effect was performed.
    Panicked(String),
    /// The daemon stops: finish the step, give the lease back.
    Stopping,
}

/// What the machine wants done. Each is answered by the event of its name.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask for the lease.
    AcquireLease,
    /// Keep it.
    RenewLease(Fence),
    /// Give it back; no answer.
    ReleaseLease(Fence),
    /// Ask who answers.
    Probe,
    /// Read which projects belong to this cloud; one that belonged to another stays there (CUR-3).
    LoadBelonging {
        /// Proof of the lease.
        fence: Fence,
        /// The data set that answers.
        cloud_id: String,
    },
    /// Write down that this cloud lost rows that it had told of: all that was synced is due to be queued anew.
    NoteRestored {
        /// Proof of the lease.
        fence: Fence,
        /// The data set.
        cloud_id: String,
    },
    /// Queue the next slice of a project's current versions anew.
    Remirror {
        /// Proof of the lease.
        fence: Fence,
        /// The data set it is to be mirrored to.
        cloud_id: String,
        /// Whose; of a restored cloud whichever is due.
        project: Option<ProjectName>,
    },
    /// Read pending rows.
    LoadBatch {
        /// Proof of the lease.
        fence: Fence,
        /// Whose.
        project: ProjectName,
        /// How many.
        limits: BatchLimits,
        /// The cloud's time for now, where it told.
        cloud_now: Option<RowTime>,
    },
    /// Send some rows of a batch in one request.
    Send {
        /// Whose.
        project: ProjectName,
        /// Which.
        rows: Vec<Arc<PendingRow>>,
    },
    /// Record what became of rows, in one transaction.
    Settle {
        /// Proof of the lease.
        fence: Fence,
        /// Whose.
        project: ProjectName,
        /// What became of them.
        settlements: Vec<Settlement>,
    },
    /// Read the cursors of these projects at this cloud.
    LoadCursors {
        /// The data set.
        cloud_id: String,
        /// Whose.
        projects: Vec<ProjectName>,
    },
    /// Ask for a page.
    Pull(PullRequest),
    /// Give the pull up that is under way.
    CancelPull,
    /// Apply a page with its cursors.
    Apply {
        /// Proof of the lease.
        fence: Fence,
        /// The data set.
        cloud_id: String,
        /// The cursors behind which the page begins.
        since: BTreeMap<ProjectName, u64>,
        /// The page.
        page: PullReply,
        /// The cloud's time for now, where it told.
        cloud_now: Option<RowTime>,
    },
    /// Record that a project was read to the head after a Go process had synced the store.
    ClearReread {
        /// Proof of the lease.
        fence: Fence,
        /// Whose.
        project: ProjectName,
        /// For which time ([`ProjectCounts::reread`](crate::rows::ProjectCounts)).
        mark: i64,
    },
    /// Apply what still waits for a session under a stand-in.
    StandIns {
        /// Proof of the lease.
        fence: Fence,
        /// Whose.
        project: ProjectName,
    },
    /// Look whether the last rows of a server that merges nothing show other than what is known; where `confirmed`, queue
    /// once more what was suspect before and is still so.
    Repair {
        /// Proof of the lease.
        fence: Fence,
        /// The data set.
        cloud_id: String,
        /// Whose.
        project: ProjectName,
        /// Whether a random time has passed, and a pull shown that it is still so.
        confirmed: bool,
    },
    /// Compare what is known of projects with what the cloud says at their heads.
    Compare {
        /// The data set.
        cloud_id: String,
        /// What it says.
        asked: BTreeMap<ProjectName, ToCompare>,
    },
    /// Hash the next rows again, where a pass is due.
    Recheck {
        /// Proof of the lease.
        fence: Fence,
        /// The data set.
        cloud_id: String,
        /// How long after the end of a pass the next one is due, in milliseconds.
        every_ms: u64,
    },
    /// Look whether the store works again after a command met something.
    LookAtStore {
        /// Whether all of it is read: damage is somewhere; of a full disk a write tells enough.
        whole: bool,
    },
    /// Tell a follower how its sync goes on; no answer.
    SyncProgress(TicketId, SyncProgress),
    /// Tell a follower how its sync ended; no answer.
    SyncDone(TicketId, SyncOutcome),
    /// Something worth a line in the log and in `engramctl events`; no answer.
    Note {
        /// A word.
        kind: &'static str,
        /// Which project.
        project: Option<ProjectName>,
        /// In words.
        message: String,
    },
    /// All is given back: the loop can end; no answer.
    Stopped,
}
