//! What the daemon answers.

use super::chunks::ChunksReply;
use super::conflict::{ConflictDetail, ConflictRow, Restored};
use crate::health::{ProjectStatus, StatusReport};
use crate::reason::{Exit, ReasonCode};
use serde::{Deserialize, Serialize};

/// One frame of an answer; a stream has several under one id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Response {
    /// The request's id.
    pub id: u64,
    /// Whether no more follow under this id.
    pub last: bool,
    /// What is said.
    pub reply: Reply,
}

/// What is said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// It did not work.
    Failed(Failure),
    /// It worked; in words.
    Done(String),
    /// The report.
    Status(Box<StatusReport>),
    /// One event.
    Event(EventLine),
    /// How a sync goes on.
    Progress(SyncProgress),
    /// How a sync ended.
    Synced(SyncOutcome),
    /// How a login ended.
    LoggedIn(LoginOutcome),
    /// How enrolling went, project by project.
    Enrolled(Vec<EnrollOutcome>),
    /// All projects.
    Projects(Vec<ProjectStatus>),
    /// Held rows.
    Held(Vec<HeldRow>),
    /// One held row with its payload.
    HeldRow(Box<HeldDetail>),
    /// Lost versions; an answer longer than a frame comes in several.
    Conflicts(Vec<ConflictRow>),
    /// One of them in full.
    Conflict(Box<ConflictDetail>),
    /// One that was brought back.
    Restored(Restored),
    /// A session.
    Session(SessionRow),
    /// Sessions.
    Sessions(Vec<SessionRow>),
    /// A saved memory.
    Saved(Saved),
    /// A saved prompt.
    PromptSaved(PromptSaved),
    /// A changed or deleted memory.
    Changed(Changed),
    /// Memories; an answer longer than a frame comes in several.
    Observations(Vec<Observation>),
    /// Memories found.
    Found(Vec<Found>),
    /// A judged relation.
    Related(Related),
    /// Something about chunk files; an export's rows come in several frames.
    Chunks(ChunksReply),
}

/// Why it did not work: one line, the next step, and what to exit with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the client exits with.
    pub exit: Exit,
    /// A word of [`ReasonCode`], or one of the client's own such as `not_found`.
    pub reason_code: String,
    /// Names the thing and the reason.
    pub message: String,
    /// One command.
    pub hint: Option<String>,
}

/// One event of the loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// RFC 3339 UTC.
    pub at: String,
    /// A word, such as `pushed`, `pulled`, `finding`, `phase`.
    pub kind: String,
    /// The project it is about.
    pub project: Option<String>,
    /// In words.
    pub message: String,
}

/// How a sync goes on; sums since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncProgress {
    /// Rows sent.
    pub pushed: u64,
    /// Rows received.
    pub pulled: u64,
    /// Rows still to send and to receive, as far as known.
    pub remaining: u64,
}

/// How a sync ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncOutcome {
    /// In one word.
    pub outcome: SyncVerdict,
    /// Why it is blocked.
    pub reason_code: Option<ReasonCode>,
    /// Why it is blocked, in words.
    pub message: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// Project by project.
    pub projects: Vec<SyncedProject>,
}

/// How a sync ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncVerdict {
    /// Nothing is left either way.
    #[serde(rename = "drained")]
    Drained,
    /// Done, but rows are held or deferred.
    #[serde(rename = "partial")]
    Partial,
    /// A reason code stood in the way.
    #[serde(rename = "blocked")]
    Blocked,
}

/// What a sync did for one project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncedProject {
    /// Its name.
    pub project: String,
    /// Rows sent.
    pub pushed: u64,
    /// Rows received.
    pub pulled: u64,
    /// Rows set aside, quarantined or dead.
    pub held: u64,
    /// Rows that wait for a parent.
    pub deferred: u64,
    /// Rows left to send or receive.
    pub remaining: u64,
}

/// How a login ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginOutcome {
    /// The URL that was kept.
    pub server_url: String,
    /// Whether server and token could be checked.
    pub checked: bool,
    /// Why not, or who answered.
    pub message: String,
    /// Enrolled projects that were synced with another cloud: they wait for `cloud remirror`.
    pub elsewhere: Vec<String>,
}

/// How enrolling one project went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollOutcome {
    /// Its normal form.
    pub project: String,
    /// Whether it takes part now.
    pub enrolled: bool,
    /// Whether the cloud could be asked.
    pub checked: bool,
    /// Why it was refused.
    pub reason_code: Option<ReasonCode>,
    /// In words.
    pub message: String,
}

/// Why a row is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HeldKind {
    /// Received, waits for a parent.
    #[serde(rename = "deferred")]
    Deferred,
    /// Ours, refused by the server.
    #[serde(rename = "quarantined")]
    Quarantined,
    /// Received, can never apply.
    #[serde(rename = "dead")]
    Dead,
}

impl HeldKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deferred, Self::Quarantined, Self::Dead];

    /// Returns its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deferred => "deferred",
            Self::Quarantined => "quarantined",
            Self::Dead => "dead",
        }
    }

    /// Reads its word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A row that was set aside (ISO-1, ISO-3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRow {
    /// Its number, for `held show|retry|drop`.
    pub id: i64,
    /// Why it is held.
    pub kind: HeldKind,
    /// The reason code.
    pub reason_code: String,
    /// Its project.
    pub project: String,
    /// Its entity.
    pub entity: String,
    /// Its key.
    pub entity_key: String,
    /// `upsert` or `delete`.
    pub op: String,
    /// The server's or SQLite's own words.
    pub evidence: String,
    /// What it waits for.
    pub waits_for: Option<String>,
    /// Since when, RFC 3339 UTC.
    pub since: String,
}

/// A held row with its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDetail {
    /// The row.
    pub row: HeldRow,
    /// Local journal seq of a row of ours, cloud seq of a received one.
    pub seq: i64,
    /// Its payload as JSON text.
    pub payload: String,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id.
    pub id: String,
    /// Its project.
    pub project: String,
    /// Where the work is done.
    pub directory: String,
    /// `YYYY-MM-DD HH:MM:SS` UTC.
    pub started_at: String,
    /// `YYYY-MM-DD HH:MM:SS` UTC.
    pub ended_at: Option<String>,
    /// What was done.
    pub summary: Option<String>,
}

/// What a save did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaveKind {
    /// A new memory.
    #[serde(rename = "created")]
    Created,
    /// The topic's memory was revised.
    #[serde(rename = "revised")]
    Revised,
    /// The same was saved within 15 minutes; it was counted.
    #[serde(rename = "duplicate")]
    Duplicate,
}

/// A saved memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Its local number.
    pub id: i64,
    /// Its identity across machines.
    pub sync_id: String,
    /// Its project.
    pub project: String,
    /// Its session.
    pub session_id: String,
    /// What was done.
    pub outcome: SaveKind,
    /// How often it was revised.
    pub revision_count: i64,
}

/// A saved prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptSaved {
    /// Its local number.
    pub id: i64,
    /// Its identity across machines.
    pub sync_id: String,
    /// Its project.
    pub project: String,
    /// Its session.
    pub session_id: String,
}

/// A changed or deleted memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its local number.
    pub id: i64,
    /// Its identity across machines.
    pub sync_id: String,
    /// Its project.
    pub project: String,
    /// `updated`, `unchanged`, `deleted` or `hard_deleted`.
    pub outcome: String,
    /// How often it was revised.
    pub revision_count: i64,
}

/// A memory, with the peer's field names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Its local number.
    pub id: i64,
    /// Its identity across machines.
    pub sync_id: String,
    /// Its session.
    pub session_id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its title.
    pub title: String,
    /// Its content.
    pub content: String,
    /// The tool that wrote it.
    pub tool_name: Option<String>,
    /// Its project.
    pub project: Option<String>,
    /// `project`, `personal` or `global`.
    pub scope: String,
    /// The key under which later saves revise it.
    pub topic_key: Option<String>,
    /// How often it was revised.
    pub revision_count: i64,
    /// How often the same was saved.
    pub duplicate_count: i64,
    /// When it was last saved again.
    pub last_seen_at: Option<String>,
    /// When it should be looked at again.
    pub review_after: Option<String>,
    /// When it was first saved.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// When it was deleted.
    pub deleted_at: Option<String>,
}

/// A memory that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The memory.
    pub observation: Observation,
    /// Where the words stand in it.
    pub snippet: String,
}

/// A judged relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Related {
    /// Its identity across machines.
    pub sync_id: String,
    /// Sync id.
    pub source_id: String,
    /// The verb.
    pub relation: String,
    /// Sync id.
    pub target_id: String,
    /// Its project.
    pub project: String,
}
