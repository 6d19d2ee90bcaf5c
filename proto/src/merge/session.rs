//! Versions of a session: two registers and a deletion that stands beside them.

use super::fields::{self, Fields};
use crate::canonical::{Hash, Object};
use crate::id::ProjectName;
use crate::mutation::Op;
use crate::time::RowTime;
use serde::{Deserialize, Serialize};

const KNOWN: [&str; 9] =
    ["id", "project", "directory", "started_at", "ended_at", "summary", "deleted", "deleted_at", "hard_delete"];

/// The directory of a session that nobody has told us: it counts as not known.
pub const RECOVERED_DIRECTORY: &str = "(recovered-missing-session)";

/// Where and when a session started; taken whole from the version with the greater one.
///
/// Compared in the order of its fields: a known directory first, then the greater start, then the hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StartRegister {
    /// Whether the directory is known.
    pub known: bool,
    /// When it started.
    pub started_at: Option<RowTime>,
    /// Over both.
    pub hash: Hash,
    /// A newer peer's fields as canonical JSON.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub extra: String,
    /// Where, if that is known.
    pub directory: Option<String>,
}

/// How and when a session ended; taken whole from the version with the greater one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EndRegister {
    /// Whether there is a summary.
    pub known: bool,
    /// When it ended.
    pub ended_at: Option<RowTime>,
    /// Over both.
    pub hash: Hash,
    /// What was done, if that is known.
    pub summary: Option<String>,
}

/// One version of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionVersion {
    /// Its beginning.
    pub start: StartRegister,
    /// Its end.
    pub end: EndRegister,
    /// Joined: max.
    pub deleted_at: Option<RowTime>,
}

impl StartRegister {
    /// Makes a register; a blank or recovered directory is none.
    #[must_use]
    pub fn new(directory: Option<&str>, started_at: Option<RowTime>, extra: String) -> Self {
        let directory =
            directory.filter(|text| !text.trim().is_empty() && text.trim() != RECOVERED_DIRECTORY).map(str::to_owned);
        let fields = Fields::default().optional("directory", directory.as_deref());
        let hash = Hash::of_object(&fields.optional_time("started_at", started_at).done());
        Self { known: directory.is_some(), started_at, hash, extra, directory }
    }
}

impl EndRegister {
    /// Makes a register; a blank summary is none.
    #[must_use]
    pub fn new(summary: Option<&str>, ended_at: Option<RowTime>) -> Self {
        let summary = summary.filter(|text| !text.trim().is_empty()).map(str::to_owned);
        let fields = Fields::default().optional("summary", summary.as_deref());
        let hash = Hash::of_object(&fields.optional_time("ended_at", ended_at).done());
        Self { known: summary.is_some(), ended_at, hash, summary }
    }
}

impl SessionVersion {
    /// Makes a version that is not deleted.
    #[must_use]
    pub fn new(start: StartRegister, end: EndRegister) -> Self {
        Self { start, end, deleted_at: None }
    }

    /// Tells whether nothing but the id is known: neither a directory nor a summary.
    #[must_use]
    pub fn is_stand_in(&self) -> bool {
        !self.start.known && !self.end.known
    }

    /// Returns the directory as rows and payloads have it.
    #[must_use]
    pub fn directory(&self) -> &str {
        self.start.directory.as_deref().unwrap_or(RECOVERED_DIRECTORY)
    }

    pub(super) fn is_delete(&self) -> bool {
        self.deleted_at.is_some() && self.deleted_at >= self.start.started_at
    }

    pub(super) fn hash(&self) -> Hash {
        Hash::of_bytes(format!("{}{}", self.start.hash, self.end.hash).as_bytes())
    }

    pub(super) fn read(op: Op, payload: &Object) -> Self {
        let deleted_at = fields::time(payload, "deleted_at");
        if op == Op::Delete {
            let nothing = Self::new(StartRegister::new(None, None, String::new()), EndRegister::new(None, None));
            return Self { deleted_at, ..nothing };
        }
        let directory = fields::optional(payload, "directory");
        let extra = fields::extra(payload, &KNOWN);
        let start = StartRegister::new(directory.as_deref(), fields::time(payload, "started_at"), extra);
        let summary = fields::optional(payload, "summary");
        let end = EndRegister::new(summary.as_deref(), fields::time(payload, "ended_at"));
        Self { start, end, deleted_at }
    }

    pub(super) fn write(&self, project: &ProjectName, key: &str) -> Object {
        Fields::of(project, "id", key)
            .text("directory", self.directory())
            .time("started_at", self.start.started_at)
            .optional_time("ended_at", self.end.ended_at)
            .optional("summary", self.end.summary.as_deref())
            .optional_time("deleted_at", self.deleted_at)
            .extra(&self.start.extra)
            .done()
    }

    pub(super) fn without_text(&self) -> Self {
        let extra = fields::extra_digest(&self.start.extra);
        Self {
            start: StartRegister { extra, directory: None, ..self.start },
            end: EndRegister { summary: None, ..self.end },
            deleted_at: self.deleted_at,
        }
    }

    pub(super) fn join(self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.max(other.end),
            deleted_at: self.deleted_at.max(other.deleted_at),
        }
    }
}
