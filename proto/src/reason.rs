//! Phases, reason codes, findings and exit codes (reasons.md). What each code means stands in
//! [`reason_catalog`](crate::reason_catalog).

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// All of them, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the word that people, scripts and rows see.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// Why something does not go on. Codes that the peer uses keep their spelling.
    ReasonCode {
        /// No server URL.
        CloudNotConfigured = "cloud_not_configured",
        /// URL or file unreadable, http without permission.
        CloudConfigError = "cloud_config_error",
        /// 401.
        AuthRequired = "auth_required",
        /// 403 for one project.
        PolicyForbidden = "policy_forbidden",
        /// The user paused.
        Paused = "paused",
        /// 409: an administrator paused the project.
        SyncPaused = "sync_paused",
        /// 404 on a mutation route.
        ServerUnsupported = "server_unsupported",
        /// No conversation came about.
        TransportFailed = "transport_failed",
        /// The certificate was refused.
        TlsFailed = "tls_failed",
        /// Clocks differ by more than five minutes.
        ClockSkew = "clock_skew",
        /// 429, or 503 with Retry-After.
        RateLimited = "rate_limited",
        /// One row is larger than the limit.
        PayloadTooLarge = "payload_too_large",
        /// Rows refused by the server.
        RowRejected = "row_rejected",
        /// Rows received that cannot apply.
        RowUndeliverable = "row_undeliverable",
        /// Rows wait for a parent.
        DeferredWaiting = "deferred_waiting",
        /// Local rows of projects that are not enrolled.
        NonEnrolledPendingMutations = "non_enrolled_pending_mutations",
        /// A command named a project that is not enrolled.
        BlockedUnenrolled = "blocked_unenrolled",
        /// The cloud is not the one we synced with.
        CloudReplaced = "cloud_replaced",
        /// Drained, and yet another digest.
        Diverged = "diverged",
        /// Another process syncs this store.
        LeaseHeldElsewhere = "lease_held_elsewhere",
        /// SQLite says it is locked.
        StoreBusy = "store_busy",
        /// The disk is full.
        StoreFull = "store_full",
        /// SQLite says the file is damaged.
        StoreCorrupt = "store_corrupt",
        /// A newer program wrote the file.
        StoreNewer = "store_newer",
        /// No tick within its deadline.
        LoopStalled = "loop_stalled",
        /// A panic in the loop, contained.
        InternalError = "internal_error",
    }
}

words! {
    /// What the loop does now.
    Phase {
        /// Nothing to do.
        Idle = "idle",
        /// Asking for the lease.
        Leasing = "leasing",
        /// Sending.
        Pushing = "pushing",
        /// Receiving.
        Pulling = "pulling",
        /// Applying what had waited.
        Replaying = "replaying",
        /// Up to date, and listening for rows.
        Waiting = "waiting",
        /// Waiting to try again.
        Backoff = "backoff",
        /// Waiting for somebody to act.
        Blocked = "blocked",
        /// The user paused.
        Paused = "paused",
        /// No cloud.
        Disabled = "disabled",
    }
}

words! {
    /// Whether the user's data is safe and moving.
    Health {
        /// Everything is where it belongs.
        Healthy = "healthy",
        /// On its way.
        Pending = "pending",
        /// Something is in the way.
        Degraded = "degraded",
    }
}

words! {
    /// How a project does, in one word.
    ProjectState {
        /// Nothing pending, cursor at the head.
        Healthy = "healthy",
        /// Moving.
        Pending = "pending",
        /// There is a reason.
        Degraded = "degraded",
        /// Paused.
        Paused = "paused",
        /// Local only.
        NotEnrolled = "not_enrolled",
    }
}

words! {
    /// What the user asked for.
    Desired {
        /// Sync.
        Running = "running",
        /// Do not.
        Paused = "paused",
    }
}

words! {
    /// How much a finding matters.
    Severity {
        /// Good to know.
        Info = "info",
        /// Somebody should look.
        Warning = "warning",
        /// Something does not work.
        Error = "error",
    }
}

words! {
    /// What a finding is about.
    Scope {
        /// This daemon and its store.
        Daemon = "daemon",
        /// The conversation with the cloud.
        Cloud = "cloud",
        /// One project.
        Project = "project",
    }
}

/// One thing that is not as it should be: the same words on the command line, in the log, in the database row and on
/// the dashboard (LOUD-1, LOUD-2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The root reason.
    pub code: ReasonCode,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub scope: Scope,
    /// Which project, where the scope is one.
    pub project: Option<String>,
    /// In three words.
    pub title: String,
    /// Names project, entity, host or path.
    pub message: String,
    /// Since when, RFC 3339 UTC.
    pub since: String,
    /// One command that works in this very state.
    pub hint: Option<String>,
}

/// What `engramctl` exits with (reasons.md, "Exit codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// Done, and nothing is left over.
    Done,
    /// The command failed.
    Failed,
    /// Wrong usage.
    Usage,
    /// Something is degraded, or a reason code stood in the way.
    Degraded,
    /// No daemon answers.
    NoDaemon,
    /// Done in part: rows are held or deferred, or something could not be checked yet.
    Partial,
    /// Client and daemon speak different protocols.
    Protocol,
}

impl Exit {
    /// Returns the number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Degraded => 3,
            Self::NoDaemon => 4,
            Self::Partial => 5,
            Self::Protocol => 6,
        }
    }
}
