//! Versions of a judged relation between two observations.

use super::fields::{self, Fields, Lent};
use crate::canonical::{Hash, Object};
use crate::id::ProjectName;
use crate::mutation::PayloadError;
use crate::time::RowTime;
use serde::{Deserialize, Serialize};

const KNOWN: [&str; 15] = [
    "sync_id",
    "source_id",
    "target_id",
    "relation",
    "reason",
    "evidence",
    "confidence",
    "judgment_status",
    "marked_by_actor",
    "marked_by_kind",
    "marked_by_model",
    "session_id",
    "project",
    "created_at",
    "updated_at",
];

/// The status of a relation that nobody judged yet; such a one never travels to a cloud.
pub const PENDING: &str = "pending";

/// The status of one that somebody judged.
pub const JUDGED: &str = "judged";

/// What one shows after an end of it was deleted for good: derived where it is shown, and no status of its own (merging.md).
pub const ORPHANED: &str = "orphaned";

/// The merge key, compared in the order of its fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RelationKey {
    /// A judged one beats a pending one.
    pub judged: bool,
    /// `updated_at`.
    pub time: Option<RowTime>,
    /// Over every winner's field.
    pub hash: Hash,
    /// A newer peer's fields as canonical JSON.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub extra: String,
}

/// The winner's fields.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RelationBody {
    /// The verb between the two ends.
    pub relation: String,
    /// Why.
    pub reason: Option<String>,
    /// What it rests on.
    pub evidence: Option<String>,
    /// From 0 to 1.
    pub confidence: Option<f64>,
    /// `judged` or `pending`.
    pub judgment_status: String,
    /// Who judged.
    pub marked_by_actor: String,
    /// What kind of judge.
    pub marked_by_kind: String,
    /// Which model, if it was one.
    pub marked_by_model: Option<String>,
    /// The session in which it was judged.
    pub session_id: Option<String>,
}

/// One version of a relation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelationVersion {
    /// The merge key.
    pub key: RelationKey,
    /// Sync id of the end it starts from.
    pub source_id: String,
    /// Sync id of the end it leads to.
    pub target_id: String,
    /// The winner's fields.
    #[serde(skip)]
    pub body: Lent<RelationBody>,
    /// Joined: min.
    pub created_at: Option<RowTime>,
}

impl RelationVersion {
    /// Makes a version, with its hash.
    #[must_use]
    pub fn new(
        source_id: String,
        target_id: String,
        body: RelationBody,
        updated_at: Option<RowTime>,
        created_at: Option<RowTime>,
        extra: String,
    ) -> Self {
        let judged = !matches!(body.judgment_status.trim(), "" | PENDING);
        let hash = Hash::of_object(&write_body(Fields::default(), &source_id, &target_id, &body).done());
        let key = RelationKey { judged, time: updated_at, hash, extra };
        Self { key, source_id, target_id, body: Lent(Some(body)), created_at }
    }

    pub(super) fn read(payload: &Object) -> Result<Self, PayloadError> {
        let status = fields::text(payload, "judgment_status");
        let end = |field| fields::optional(payload, field).ok_or(PayloadError::Field(field));
        let body = RelationBody {
            relation: fields::text(payload, "relation"),
            reason: fields::optional(payload, "reason"),
            evidence: fields::optional(payload, "evidence"),
            confidence: payload.get("confidence").and_then(serde_json::Value::as_f64),
            // Nobody writes that it is orphaned; who does so all the same means that it was judged.
            judgment_status: if status.trim() == ORPHANED { JUDGED.to_owned() } else { status },
            marked_by_actor: fields::text(payload, "marked_by_actor"),
            marked_by_kind: fields::text(payload, "marked_by_kind"),
            marked_by_model: fields::optional(payload, "marked_by_model"),
            session_id: fields::optional(payload, "session_id"),
        };
        let (updated_at, created_at) = (fields::time(payload, "updated_at"), fields::time(payload, "created_at"));
        let extra = fields::extra(payload, &KNOWN);
        Ok(Self::new(end("source_id")?, end("target_id")?, body, updated_at, created_at, extra))
    }

    pub(super) fn write(&self, project: &ProjectName, key: &str) -> Option<Object> {
        let body = self.body.0.as_ref()?;
        let payload = write_body(Fields::of(project, "sync_id", key), &self.source_id, &self.target_id, body)
            .time("created_at", self.created_at)
            .time("updated_at", self.key.time)
            .extra(&self.key.extra);
        Some(payload.done())
    }

    pub(super) fn without_text(&self) -> Self {
        let key = RelationKey { extra: fields::extra_digest(&self.key.extra), ..self.key };
        let (source_id, target_id) = (self.source_id.clone(), self.target_id.clone());
        Self { key, source_id, target_id, body: Lent(None), created_at: self.created_at }
    }

    pub(super) fn join(self, other: Self) -> Self {
        let created_at = fields::min_known(self.created_at, other.created_at);
        let first = (&self.key, self.body.0.is_some()) >= (&other.key, other.body.0.is_some());
        let winner = if first { self } else { other };
        Self { created_at, ..winner }
    }
}

fn write_body(fields: Fields, source_id: &str, target_id: &str, body: &RelationBody) -> Fields {
    let fields = fields
        .text("source_id", source_id)
        .text("target_id", target_id)
        .text("relation", &body.relation)
        .optional("reason", body.reason.as_deref())
        .optional("evidence", body.evidence.as_deref())
        .text("judgment_status", &body.judgment_status)
        .text("marked_by_actor", &body.marked_by_actor)
        .text("marked_by_kind", &body.marked_by_kind)
        .optional("marked_by_model", body.marked_by_model.as_deref())
        .optional("session_id", body.session_id.as_deref());
    match body.confidence {
        Some(confidence) => fields.value("confidence", confidence),
        None => fields,
    }
}
