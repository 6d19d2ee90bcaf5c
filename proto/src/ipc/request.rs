//! What a client may ask.

use super::chunks::ChunksRequest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A request; its id comes back with every response to it, and several may be in flight.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client.
    pub id: u64,
    /// What is asked.
    pub body: RequestBody,
}

/// What is asked. Projects are names as typed; the daemon brings them into normal form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RequestBody {
    /// One report; with `watch` another one at every change.
    Status {
        /// Whether to stream.
        watch: bool,
    },
    /// Wake the loop and, unless `wait` is false, follow it until the projects are drained.
    Sync(SyncRequest),
    /// Recent events; with `follow` coming ones too.
    Events {
        /// Whether to stream.
        follow: bool,
    },
    /// Stop syncing everything, or one project.
    Pause {
        /// One project only.
        project: Option<String>,
        /// Why, for whoever reads the status.
        reason: Option<String>,
    },
    /// The opposite.
    Resume {
        /// One project only.
        project: Option<String>,
    },
    /// Check and keep server and token.
    Login(LoginRequest),
    /// Forget server and token.
    Logout,
    /// Tell the cloud that answers all that is here of a project, and read the project from the start.
    Remirror {
        /// Which.
        project: String,
    },
    /// Let projects take part.
    Enroll {
        /// Which.
        projects: Vec<String>,
    },
    /// Let a project take no more part; deletes nothing.
    Unenroll {
        /// Which.
        project: String,
    },
    /// All projects with their counts.
    Projects,
    /// Deferred, quarantined and dead rows.
    HeldList,
    /// One of them with its evidence.
    HeldShow {
        /// Its number.
        id: i64,
    },
    /// Try one again, or all.
    HeldRetry {
        /// Its number; all where there is none.
        id: Option<i64>,
    },
    /// Give one up.
    HeldDrop {
        /// Its number.
        id: i64,
    },
    /// Versions that lost a conflict.
    ConflictList,
    /// One of them in full.
    ConflictShow {
        /// Its number.
        id: i64,
    },
    /// Write one of them again, as a new edit.
    ConflictRestore {
        /// Its number.
        id: i64,
    },
    /// Open a session.
    SessionStart(SessionStart),
    /// End a session.
    SessionEnd {
        /// Its id.
        id: String,
        /// What was done.
        summary: Option<String>,
    },
    /// Sessions, latest first.
    SessionList {
        /// One project only.
        project: Option<String>,
        /// At most so many.
        limit: u64,
    },
    /// Save a memory.
    Save(SaveRequest),
    /// Save what a user asked.
    Prompt(PromptRequest),
    /// Change a memory.
    Update(UpdateRequest),
    /// Delete a memory.
    Delete {
        /// Local number or sync id.
        id: String,
        /// For good.
        hard: bool,
    },
    /// One memory.
    Get {
        /// Local number or sync id.
        id: String,
    },
    /// Memories, latest first.
    List(ListRequest),
    /// Memories by words, best first.
    Search(SearchRequest),
    /// Judge how two memories relate.
    Relate(RelateRequest),
    /// Something about chunk files.
    Chunks(ChunksRequest),
}

/// Which way a sync goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Out and in.
    #[default]
    Both,
    /// Out.
    Push,
    /// In.
    Pull,
}

/// What to sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// One project only.
    pub project: Option<String>,
    /// Which way.
    pub direction: Direction,
    /// Whether to follow it to the end.
    pub wait: bool,
}

/// Server and token to check and keep.
#[derive(Clone, Serialize, Deserialize)]
pub struct LoginRequest {
    /// The server's URL; the known one where there is none.
    pub server_url: Option<String>,
    /// The token.
    pub token: String,
    /// Whether plain http to another machine is allowed.
    pub allow_http: bool,
}

impl fmt::Debug for LoginRequest {
    /// SECRET-1: the token is never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequest")
            .field("server_url", &self.server_url)
            .field("token", &"(hidden)")
            .field("allow_http", &self.allow_http)
            .finish()
    }
}

/// A session to open.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SessionStart {
    /// Its id; a new one where there is none.
    pub id: Option<String>,
    /// Its project.
    pub project: String,
    /// Where the work is done.
    pub directory: String,
}

/// A memory to save.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SaveRequest {
    /// Its title.
    pub title: String,
    /// Its type, such as `decision`; derived where blank.
    pub kind: Option<String>,
    /// Its project.
    pub project: String,
    /// Its session; the project's open one where there is none.
    pub session: Option<String>,
    /// `project`, `personal` or `global`.
    pub scope: Option<String>,
    /// The key under which later saves revise it.
    pub topic: Option<String>,
    /// The tool that wrote it.
    pub tool: Option<String>,
    /// Its content.
    pub content: String,
    /// The client's working directory, for a session that has to be made.
    pub directory: String,
}

/// A prompt to save.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PromptRequest {
    /// Its project.
    pub project: String,
    /// Its session; the project's open one where there is none.
    pub session: Option<String>,
    /// Its text.
    pub content: String,
    /// The client's working directory, for a session that has to be made.
    pub directory: String,
}

/// What to change; what is not given stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UpdateRequest {
    /// Local number or sync id.
    pub id: String,
    /// A new title.
    pub title: Option<String>,
    /// A new type.
    pub kind: Option<String>,
    /// A new topic key.
    pub topic: Option<String>,
    /// A new scope.
    pub scope: Option<String>,
    /// A new content.
    pub content: Option<String>,
}

/// Which memories to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ListRequest {
    /// One project only.
    pub project: Option<String>,
    /// One type only.
    pub kind: Option<String>,
    /// At most so many.
    pub limit: u64,
    /// Deleted ones instead.
    pub deleted: bool,
}

/// Which memories to find.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SearchRequest {
    /// Words; any input is words, never syntax.
    pub query: String,
    /// One project only.
    pub project: Option<String>,
    /// One type only.
    pub kind: Option<String>,
    /// One scope only.
    pub scope: Option<String>,
    /// At most so many.
    pub limit: u64,
}

/// How two memories relate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RelateRequest {
    /// Local number or sync id.
    pub source: String,
    /// The verb, such as `supersedes`.
    pub verb: String,
    /// Local number or sync id.
    pub target: String,
    /// Why.
    pub reason: Option<String>,
    /// From 0 to 1.
    pub confidence: Option<f64>,
}
