//! Changing a memory: only what is given changes.

use super::error::MemoryError;
use super::write::Now;
use super::{read, save, text};
use crate::store::Store;
use engram_proto::ipc::reply::{Changed, Observation};
use engram_proto::ipc::request::UpdateRequest;
use engram_proto::merge::{Kind, ObservationBody};

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
        let row = read::find(tx, &request.id)?.ok_or_else(|| read::missing(&request.id))?;
        let project = text::project(row.project.as_deref().unwrap_or_default())?;
        let before = save::current(tx, &project, &row.sync_id)?;
        let Some(old) = before.body.0.as_ref().filter(|_| before.key.kind == Kind::Upsert) else {
            let reason = format!("the memory {:?} was deleted", request.id);
            return Err(MemoryError::invalid("ID", &reason, "engramctl save makes a new one"));
        };
        let body = ObservationBody {
            title: title.clone().unwrap_or_else(|| old.title.clone()),
            kind: kind.clone().unwrap_or_else(|| old.kind.clone()),
            content: content.clone().unwrap_or_else(|| old.content.clone()),
            topic_key: topic.clone().unwrap_or_else(|| old.topic_key.clone()),
            scope: request.scope.as_deref().map_or_else(|| old.scope.clone(), |scope| text::scope(scope).to_owned()),
            tool_name: old.tool_name.clone(),
        };
        if body == *old {
            return Ok(changed(&row, "unchanged", before.key.revision));
        }
        let after = save::edited(&before, body, now);
        save::write_edit(tx, (&project, &row.sync_id), &before, &after, now.at)?;
        Ok(changed(&row, "updated", after.key.revision))
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
