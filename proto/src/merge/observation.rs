//! Versions of a memory.

use super::fields::{self, Fields, Lent};
use crate::canonical::{Hash, Object};
use crate::id::ProjectName;
use crate::mutation::Op;
use crate::time::RowTime;
use serde::{Deserialize, Serialize};

const KNOWN: [&str; 17] = [
    "sync_id",
    "session_id",
    "type",
    "title",
    "content",
    "tool_name",
    "project",
    "scope",
    "topic_key",
    "revision_count",
    "duplicate_count",
    "last_seen_at",
    "created_at",
    "updated_at",
    "deleted",
    "deleted_at",
    "hard_delete",
];

/// What a version does; the later one here wins within one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Creates or changes.
    Upsert,
    /// Deletes, and the device that did so may keep the text.
    Soft,
    /// Deletes for good.
    Hard,
}

/// The merge key, compared in the order of its fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObservationKey {
    /// `updated_at`, or `deleted_at` of a delete.
    pub time: Option<RowTime>,
    /// What it does.
    pub kind: Kind,
    /// `revision_count`; 0 in a delete.
    pub revision: i64,
    /// Over every winner's field.
    pub hash: Hash,
    /// A newer peer's fields as canonical JSON.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub extra: String,
}

/// The winner's texts of an upsert.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ObservationBody {
    /// Its type, such as `decision`.
    pub kind: String,
    /// Its title.
    pub title: String,
    /// Its content.
    pub content: String,
    /// The tool that wrote it.
    pub tool_name: Option<String>,
    /// `project`, `personal` or `global`.
    pub scope: String,
    /// The key under which later saves revise it.
    pub topic_key: Option<String>,
}

/// One version of an observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObservationVersion {
    /// The merge key.
    pub key: ObservationKey,
    /// Its session, kept of a delete too.
    pub session_id: String,
    /// The winner's texts; none in a delete.
    #[serde(skip)]
    pub body: Lent<ObservationBody>,
    /// Joined: max.
    pub duplicate_count: Option<i64>,
    /// Joined: max.
    pub last_seen_at: Option<RowTime>,
    /// Joined: min.
    pub created_at: Option<RowTime>,
}

impl ObservationVersion {
    /// Makes the version of an upsert, with its hash.
    #[must_use]
    pub fn upsert(
        session_id: String,
        body: ObservationBody,
        revision: i64,
        updated_at: Option<RowTime>,
        extra: String,
    ) -> Self {
        let hash = Hash::of_object(
            &Fields::default()
                .text("session_id", &session_id)
                .text("type", &body.kind)
                .text("title", &body.title)
                .text("content", &body.content)
                .optional("tool_name", body.tool_name.as_deref())
                .text("scope", &body.scope)
                .optional("topic_key", body.topic_key.as_deref())
                .value("revision_count", revision)
                .done(),
        );
        let key = ObservationKey { time: updated_at, kind: Kind::Upsert, revision, hash, extra };
        Self { key, session_id, body: Lent(Some(body)), duplicate_count: None, last_seen_at: None, created_at: None }
    }

    /// Makes the version of a delete.
    #[must_use]
    pub fn delete(session_id: String, hard: bool, deleted_at: Option<RowTime>) -> Self {
        let kind = if hard { Kind::Hard } else { Kind::Soft };
        let hash = Hash::of_object(&Fields::default().text("session_id", &session_id).value("deleted", true).done());
        let key = ObservationKey { time: deleted_at, kind, revision: 0, hash, extra: String::new() };
        Self { key, session_id, body: Lent(None), duplicate_count: None, last_seen_at: None, created_at: None }
    }

    pub(super) fn read(op: Op, payload: &Object) -> Self {
        let session_id = fields::text(payload, "session_id");
        let truthy = |field: &str| payload.get(field).is_some_and(|value| value == &serde_json::Value::Bool(true));
        let deleted_at = fields::time(payload, "deleted_at");
        let version = if op == Op::Delete || truthy("deleted") || deleted_at.is_some() {
            Self::delete(session_id, truthy("hard_delete"), deleted_at)
        } else {
            let body = ObservationBody {
                kind: fields::text(payload, "type"),
                title: fields::text(payload, "title"),
                content: fields::text(payload, "content"),
                tool_name: fields::optional(payload, "tool_name"),
                scope: fields::text(payload, "scope"),
                topic_key: fields::optional(payload, "topic_key"),
            };
            let revision = fields::counter(payload, "revision_count").unwrap_or(1);
            let extra = fields::extra(payload, &KNOWN);
            Self::upsert(session_id, body, revision, fields::time(payload, "updated_at"), extra)
        };
        Self {
            duplicate_count: fields::counter(payload, "duplicate_count"),
            last_seen_at: fields::time(payload, "last_seen_at"),
            created_at: fields::time(payload, "created_at"),
            ..version
        }
    }

    pub(super) fn write(&self, project: &ProjectName, key: &str) -> Option<(Op, Object)> {
        let common = Fields::of(project, "sync_id", key)
            .text("session_id", &self.session_id)
            .counter("duplicate_count", self.duplicate_count)
            .optional_time("last_seen_at", self.last_seen_at)
            .time("created_at", self.created_at);
        if self.key.kind != Kind::Upsert {
            let delete = common.value("deleted", true).time("deleted_at", self.key.time).value("revision_count", 0);
            let blank =
                ["type", "title", "content", "scope"].into_iter().fold(delete, |all, field| all.text(field, ""));
            let hard = if self.key.kind == Kind::Hard { blank.value("hard_delete", true) } else { blank };
            return Some((Op::Delete, hard.done()));
        }
        let body = self.body.0.as_ref()?;
        let payload = common
            .text("type", &body.kind)
            .text("title", &body.title)
            .text("content", &body.content)
            .optional("tool_name", body.tool_name.as_deref())
            .text("scope", &body.scope)
            .optional("topic_key", body.topic_key.as_deref())
            .value("revision_count", self.key.revision)
            .time("updated_at", self.key.time)
            .extra(&self.key.extra)
            .done();
        Some((Op::Upsert, payload))
    }

    pub(super) fn without_text(&self) -> Self {
        let key = ObservationKey { extra: fields::extra_digest(&self.key.extra), ..self.key };
        Self { key, session_id: self.session_id.clone(), body: Lent(None), ..*self }
    }

    pub(super) fn join(self, other: Self) -> Self {
        let duplicate_count = self.duplicate_count.max(other.duplicate_count);
        let last_seen_at = self.last_seen_at.max(other.last_seen_at);
        let created_at = fields::min_known(self.created_at, other.created_at);
        // Equal keys are one version; whichever has its text at hand keeps it.
        let first = (&self.key, self.body.0.is_some()) >= (&other.key, other.body.0.is_some());
        let winner = if first { self } else { other };
        Self { duplicate_count, last_seen_at, created_at, ..winner }
    }
}
