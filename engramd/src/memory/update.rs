//! Changing a memory: only what is given changes.

use super::error::MemoryError;
use super::write::Now;
use super::{edit, text};
use crate::store::Store;
use engram_proto::ipc::reply::{Changed, Observation};
use engram_proto::ipc::request::UpdateRequest;
use engram_proto::merge::ObservationBody;

/// Changes a memory; where nothing would change, nothing is written.
///
/// # Errors
/// [`MemoryError::NotFound`], and [`MemoryError::Invalid`] for texts that cannot be kept or a memory that was deleted.
pub fn update(store: &mut Store, request: &UpdateRequest, now: &Now) -> Result<Changed, MemoryError> {
    let title = required("title", request.title.as_deref())?;
    let kind = required("type", request.kind.as_deref())?;
    let content = required("content", request.content.as_deref())?;
    let topic = request.topic.as_deref().map(|topic| text::topic_key(Some(topic))).transpose()?;
    MemoryError::write(store, |tx| {
        let (row, edited) = edit::named(tx, &request.id, now)?;
        let revision = edited.before.key.revision;
        let Some(old) = edited.before.body.0.as_ref().filter(|_| row.deleted_at.is_none()) else {
            let reason = format!("the memory {:?} was deleted", request.id);
            return Err(MemoryError::invalid("ID", &reason, "engramctl save makes a new one"));
        };
        let body = ObservationBody {
            title: title.unwrap_or_else(|| old.title.clone()),
            kind: kind.unwrap_or_else(|| old.kind.clone()),
            content: content.unwrap_or_else(|| old.content.clone()),
            topic_key: topic.unwrap_or_else(|| old.topic_key.clone()),
            scope: request.scope.as_deref().map_or_else(|| old.scope.clone(), |scope| text::scope(scope).to_owned()),
            tool_name: old.tool_name.clone(),
        };
        if body == *old {
            return Ok(changed(&row, "unchanged", revision));
        }
        edited.write(tx, edited.with(&body, now), now)?;
        Ok(changed(&row, "updated", revision + 1))
    })
}

fn required(field: &'static str, given: Option<&str>) -> Result<Option<String>, MemoryError> {
    given.map(|given| text::clean_required(field, given, "leave it out to keep the old one")).transpose()
}

/// Says what became of a memory.
pub(super) fn changed(row: &Observation, outcome: &str, revision_count: i64) -> Changed {
    Changed {
        id: row.id,
        sync_id: row.sync_id.clone(),
        project: row.project.clone().unwrap_or_default(),
        outcome: outcome.to_owned(),
        revision_count,
    }
}
