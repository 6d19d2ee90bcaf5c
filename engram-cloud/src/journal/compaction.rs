//! Compaction: the contents of versions that are current no more go, when they stayed long enough (cloud.md, "Retention").
//!
//! Two walks go along the journal, each once, behind the time that contents stay. A row on their way says that by then
//! every older version of its entity had been superseded, or deleted for good. How far a walk came is kept with what it
//! did, so it goes on where it stopped, and one that meets nothing new costs a question.
//!
//! Only upserts lose their content, and a row without content is served to nobody: it leaves the table that pages are read
//! from, and what is known of it for ever stands beside. The current version of an entity never goes, so neither does the
//! last row of a project.

use super::admit::{Head, Name};
use super::{Journal, JournalError, Told};
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::Entity;
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows that one step of a walk looks at.
pub const STEP_ROWS: usize = 500;

/// Contents that go in one step, and their bytes, save for a single one that is larger.
pub const STEP_CONTENTS: usize = 200;

/// See [`STEP_CONTENTS`].
pub const STEP_BYTES: usize = 4 * 1024 * 1024;

/// Between two steps, so that a long way does not slow pushes down.
const STEP_PAUSE: Duration = Duration::from_millis(20);

/// The longest time between two turns.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The shortest.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// How long the content of a version stays that is current no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// After another version took its place.
    pub superseded: Duration,
    /// After its entity was deleted for good.
    pub deleted: Duration,
}

/// The unit in which the settings count.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Retention {
    fn default() -> Self {
        Self { superseded: DAY * 30, deleted: DAY }
    }
}

impl Retention {
    /// Returns how long after a turn the next one begins: what is due waits a small part of the time that it stayed.
    fn pause(&self) -> Duration {
        (self.superseded.min(self.deleted) / 60).clamp(PAUSE_MIN, PAUSE_MAX)
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// The contents that went.
    pub contents: usize,
    /// Whether more is due.
    pub has_more: bool,
}

/// Returns a number of rows as databases count.
pub(super) fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What a walk looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Older versions of what was deleted for good.
    Deleted,
    /// Versions that another one superseded.
    Superseded,
}

impl Walk {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Deleted, Self::Superseded];

    /// Returns the name under which its place is kept.
    #[must_use]
    pub fn place_name(self) -> &'static str {
        match self {
            Self::Deleted => "compacted_deleted_to",
            Self::Superseded => "compacted_superseded_to",
        }
    }

    /// Returns until when a row was taken, in Unix microseconds, that the walk may pass.
    #[must_use]
    pub fn until_us(self, retention: &Retention, now_us: i64) -> i64 {
        let stays = match self {
            Self::Deleted => retention.deleted,
            Self::Superseded => retention.superseded,
        };
        now_us.saturating_sub(i64::try_from(stays.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A row on the way of a walk.
#[derive(Clone, Debug)]
pub struct Passed {
    /// Its number.
    pub seq: i64,
    /// Its project, as it stands there.
    pub project: String,
    /// What it is about, in its own word.
    pub entity: String,
    /// Session id or sync id.
    pub key: String,
    /// Whether it deletes for good.
    pub is_hard_delete: bool,
}

/// Returns the entities whose versions before a number are due, for rows that a walk passes.
///
/// The content of a deleted session stays: its deletion stands beside it. Unknown entities have no current version.
#[must_use]
pub fn due(walk: Walk, rows: &[Passed]) -> BTreeMap<Name, i64> {
    let mut due = BTreeMap::new();
    for row in rows {
        let Some(entity) = Entity::parse(&row.entity).filter(|known| known.as_str() == row.entity) else { continue };
        let project = ProjectName::parse(&row.project).ok().filter(|name| name.as_str() == row.project);
        let says_so = walk == Walk::Superseded || (row.is_hard_delete && entity != Entity::Session);
        if let Some(project) = project.filter(|_| says_so) {
            due.insert(Name::known(&project, entity, &row.key), row.seq);
        }
    }
    due
}

/// Returns what stays of a version for ever, as text; [`read_kept`] reads it back.
#[must_use]
pub fn kept(version: &Version) -> String {
    // Numbers, times, hashes and ids: nothing that JSON cannot hold.
    serde_json::to_string(&version.without_text()).unwrap_or_default()
}

/// Returns what stays of a row; `None` of one that makes no version.
#[must_use]
pub fn kept_of_row(name: &Name, op: &str, payload: String) -> Option<String> {
    let told = Told { seq: 0, occurred_at_us: 0 };
    Head::read(name, told, op, payload).map(|head| kept(&head.version))
}

/// Reads what stayed of a version.
#[must_use]
pub fn read_kept(text: &str) -> Option<Version> {
    serde_json::from_str(text).ok()
}

/// Tells what goes once more, or waits, of a relation whose memory lost contents: `relation` is the number of its current
/// row, `first` that of the memory's first upsert that is left.
///
/// Go clients give a relation up that comes before its memory (`admit/relations.rs`).
#[must_use]
pub fn shows_again(relation: i64, first: Option<i64>) -> Option<Again> {
    match first {
        Some(first) if first < relation => None,
        Some(_) => Some(Again::Now),
        None => Some(Again::WhenItComes),
    }
}

/// See [`shows_again`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The memory stands behind the relation: the relation is appended behind it.
    Now,
    /// The memory is deleted: should it be made again, the relation follows.
    WhenItComes,
}

/// Compacts for as long as it is let, turn after turn.
pub(crate) async fn run<J: Journal>(journal: J, retention: Retention) {
    loop {
        match turn(&journal, retention).await {
            Ok(0) => {}
            Ok(contents) => tracing::info!(contents, "compacted versions that are current no more"),
            Err(JournalError::Closed) => return,
            Err(error) => tracing::warn!(%error, "compaction goes on later"),
        }
        tokio::time::sleep(retention.pause()).await;
    }
}

async fn turn<J: Journal>(journal: &J, retention: Retention) -> Result<usize, JournalError> {
    let mut contents = 0;
    loop {
        let step = journal.compact(retention).await?;
        contents += step.contents;
        if !step.has_more {
            return Ok(contents);
        }
        tokio::time::sleep(STEP_PAUSE).await;
    }
}
