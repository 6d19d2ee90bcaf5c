//! Versions of a prompt.

use super::fields::{self, Fields, Lent};
use crate::canonical::{Hash, Object};
use crate::id::ProjectName;
use crate::mutation::Op;
use crate::time::RowTime;
use serde::{Deserialize, Serialize};

const KNOWN: [&str; 8] =
    ["sync_id", "session_id", "content", "project", "created_at", "deleted", "deleted_at", "hard_delete"];

/// The merge key, compared in the order of its fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PromptKey {
    /// A delete beats every upsert.
    pub deleted: bool,
    /// `created_at`, or `deleted_at` of a delete.
    pub time: Option<RowTime>,
    /// Over session and content.
    pub hash: Hash,
    /// A newer peer's fields as canonical JSON.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub extra: String,
}

/// One version of a prompt; everything in it is the winner's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptVersion {
    /// The merge key.
    pub key: PromptKey,
    /// Its session, kept of a delete too.
    pub session_id: String,
    /// The text; none in a delete.
    #[serde(skip)]
    pub content: Lent<String>,
}

impl PromptVersion {
    /// Makes the version of an upsert.
    #[must_use]
    pub fn upsert(session_id: String, content: String, created_at: Option<RowTime>, extra: String) -> Self {
        let hash = Hash::of_object(&Fields::default().text("session_id", &session_id).text("content", &content).done());
        let key = PromptKey { deleted: false, time: created_at, hash, extra };
        Self { key, session_id, content: Lent(Some(content)) }
    }

    /// Makes the version of a delete.
    #[must_use]
    pub fn delete(session_id: String, deleted_at: Option<RowTime>) -> Self {
        let hash = Hash::of_object(&Fields::default().text("session_id", &session_id).value("deleted", true).done());
        let key = PromptKey { deleted: true, time: deleted_at, hash, extra: String::new() };
        Self { key, session_id, content: Lent(None) }
    }

    pub(super) fn read(op: Op, payload: &Object) -> Self {
        let session_id = fields::text(payload, "session_id");
        let deleted_at = fields::time(payload, "deleted_at");
        if op == Op::Delete || deleted_at.is_some() {
            return Self::delete(session_id, deleted_at);
        }
        let (content, created_at) = (fields::text(payload, "content"), fields::time(payload, "created_at"));
        Self::upsert(session_id, content, created_at, fields::extra(payload, &KNOWN))
    }

    pub(super) fn write(&self, project: &ProjectName, key: &str) -> Option<(Op, Object)> {
        let common = Fields::of(project, "sync_id", key).text("session_id", &self.session_id);
        if self.key.deleted {
            let delete = common.text("content", "").value("deleted", true).value("hard_delete", true);
            return Some((Op::Delete, delete.time("deleted_at", self.key.time).done()));
        }
        let content = self.content.0.as_deref()?;
        let upsert = common.text("content", content).time("created_at", self.key.time).extra(&self.key.extra);
        Some((Op::Upsert, upsert.done()))
    }

    pub(super) fn without_text(&self) -> Self {
        let key = PromptKey { extra: fields::extra_digest(&self.key.extra), ..self.key };
        Self { key, session_id: self.session_id.clone(), content: Lent(None) }
    }

    pub(super) fn join(self, other: Self) -> Self {
        let first = (&self.key, self.content.0.is_some()) >= (&other.key, other.content.0.is_some());
        if first { self } else { other }
    }
}
