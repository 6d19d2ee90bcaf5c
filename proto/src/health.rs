//! The status report (ctl.md): one value that the command line, the log and scripts all read (LOUD-2).
//!
//! It crosses the socket as `bincode` and goes to scripts as JSON, so its types skip, flatten and tag nothing.

use crate::reason::{Desired, Finding, Health, Phase, ProjectState, ReasonCode};
use serde::{Deserialize, Serialize};

/// The version of the report's shape.
pub const REPORT_SCHEMA: u32 = 1;

/// Everything `engramctl status` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// [`REPORT_SCHEMA`].
    pub schema: u32,
    /// Who answers.
    pub daemon: DaemonStatus,
    /// The cloud it talks to.
    pub cloud: CloudStatus,
    /// What the loop does.
    pub sync: SyncStatus,
    /// What is not as it should be, most important first.
    pub findings: Vec<Finding>,
    /// Every project that has something to say.
    pub projects: Vec<ProjectStatus>,
    /// Sums over them.
    pub totals: Totals,
}

/// Who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// The socket's protocol.
    pub protocol: u32,
    /// Its process id.
    pub pid: u32,
    /// RFC 3339 UTC.
    pub started_at: String,
    /// Where the store is.
    pub data_dir: String,
    /// Where it listens.
    pub socket: String,
    /// The device's uuid.
    pub device_id: String,
    /// Whether the loop lives.
    pub healthy: bool,
    /// When the loop last turned, RFC 3339 UTC.
    pub loop_ticked_at: String,
}

/// The cloud it talks to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudStatus {
    /// Whether a URL is known.
    pub configured: bool,
    /// The URL.
    pub server_url: Option<String>,
    /// `file` or `environment`.
    pub server_url_origin: Option<String>,
    /// `file` or `environment`.
    pub token_origin: Option<String>,
    /// Whether it answered last time; unknown before the first time.
    pub reachable: Option<bool>,
    /// The data set's uuid.
    pub cloud_id: Option<String>,
    /// The server's version.
    pub version: Option<String>,
    /// What it can do.
    pub capabilities: Vec<String>,
}

/// What the loop does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// Now.
    pub phase: Phase,
    /// For the user's data.
    pub health: Health,
    /// Asked for.
    pub desired: Desired,
    /// Failures in a row.
    pub attempt: u32,
    /// When the next attempt is due, RFC 3339 UTC.
    pub next_attempt_at: Option<String>,
    /// RFC 3339 UTC.
    pub last_success_at: Option<String>,
    /// RFC 3339 UTC.
    pub last_push_at: Option<String>,
    /// RFC 3339 UTC.
    pub last_pull_at: Option<String>,
    /// The lease on the store.
    pub lease: LeaseStatus,
}

/// The lease on the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Whether this daemon holds it.
    pub held: bool,
    /// Who does.
    pub owner: Option<String>,
    /// Until when, RFC 3339 UTC.
    pub until: Option<String>,
}

/// How one project does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectStatus {
    /// Its name.
    pub project: String,
    /// Whether it takes part in sync.
    pub enrolled: bool,
    /// In one word.
    pub state: ProjectState,
    /// Why it is degraded.
    pub reason_code: Option<ReasonCode>,
    /// Rows waiting to be sent.
    pub pending: u64,
    /// Since when the oldest waits, RFC 3339 UTC.
    pub oldest_pending_at: Option<String>,
    /// Received, waiting for a parent.
    pub deferred: u64,
    /// Refused by the server.
    pub quarantined: u64,
    /// Received, and can never apply.
    pub dead: u64,
    /// What is applied.
    pub cursor: u64,
    /// Where the cloud ends, as last told.
    pub head: u64,
    /// Rows between the two, as last told.
    pub behind: u64,
    /// Rows pushed once more since the daemon began, because a Go server's last ones showed other versions.
    pub repaired: u64,
    /// RFC 3339 UTC.
    pub last_push_at: Option<String>,
    /// RFC 3339 UTC.
    pub last_pull_at: Option<String>,
}

/// Sums; `pending` is of enrolled projects only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Waiting to be sent.
    pub pending: u64,
    /// Waiting for a parent.
    pub deferred: u64,
    /// Refused by the server.
    pub quarantined: u64,
    /// Can never apply.
    pub dead: u64,
    /// Local rows of projects that take no part.
    pub not_enrolled_pending: u64,
}

impl ProjectStatus {
    /// Makes the status of a project that takes no part in sync and has nothing waiting.
    #[must_use]
    pub fn local_only(project: String) -> Self {
        Self {
            project,
            enrolled: false,
            state: ProjectState::NotEnrolled,
            reason_code: None,
            pending: 0,
            oldest_pending_at: None,
            deferred: 0,
            quarantined: 0,
            dead: 0,
            cursor: 0,
            head: 0,
            behind: 0,
            repaired: 0,
            last_push_at: None,
            last_pull_at: None,
        }
    }
}

impl StatusReport {
    /// Tells whether something is shown that needs somebody: `status` then exits 3.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity > crate::reason::Severity::Info)
    }
}
