//! Bringing back a version that lost a conflict (CONV-6): its text becomes a new edit of what this device holds, so it
//! wins and travels like any other edit.

use super::error::MemoryError;
use super::write::Now;
use super::{save, session, text};
use crate::store::{Lost, Store, StoreError};
use engram_proto::ipc::conflict::Restored;
use engram_proto::ipc::request::SaveRequest;
use engram_proto::merge::{
    EndRegister, Kind, ObservationVersion, PromptVersion, RelationVersion, SessionVersion, Version,
};
use engram_proto::time::RowTime;
use rusqlite::Connection;

/// Restores a lost version and takes it off the list. Where what is held says the same already, nothing is written.
///
/// # Errors
/// [`MemoryError::NotFound`], and [`MemoryError::Invalid`] for a version that the write rules cannot bring back.
pub fn restore(store: &mut Store, id: i64, now: &Now) -> Result<Restored, MemoryError> {
    let mut outcome = "unchanged";
    let lost = MemoryError::carried(|refusal| {
        store.restore_conflict(id, now.at, |conn, lost| {
            let edit = edit(conn, lost, id, now).map_err(|error| error.aside(refusal))?;
            if let Some(edit) = &edit {
                outcome = if edit.is_delete() { "deleted" } else { "restored" };
            }
            Ok(edit)
        })
    })
    .map_err(|error| match error {
        MemoryError::Store(StoreError::NotFound(_)) => missing(id),
        error => error,
    })?;
    Ok(Restored {
        id,
        project: lost.project.to_string(),
        entity: lost.version.entity().to_string(),
        entity_key: lost.key,
        outcome: outcome.to_owned(),
    })
}

/// Says that no lost version has this number.
pub fn missing(id: i64) -> MemoryError {
    MemoryError::not_found(format!("the conflict {id}"), "engramctl conflicts list")
}

/// Makes the version that is to be written; none where it would say what is held already.
fn edit(conn: &Connection, lost: &Lost, id: i64, now: &Now) -> Result<Option<Version>, MemoryError> {
    match (&lost.version, &lost.current) {
        (Version::Observation(version), Some(Version::Observation(held))) => {
            Ok(observation(lost, version, held, now)?.map(Version::Observation))
        }
        (Version::Prompt(version), Some(Version::Prompt(held))) => {
            let deleted = session::held(conn, &lost.project, &held.session_id)?.and_then(|session| session.deleted_at);
            let held_until = held.key.time.max(deleted.map(|at| at.plus_s(1)));
            Ok(prompt(lost, version, held, held_until, now)?.map(Version::Prompt))
        }
        (Version::Relation(version), Some(Version::Relation(held))) => {
            Ok(relation(version, held, id, now)?.map(Version::Relation))
        }
        (Version::Session(version), Some(Version::Session(held))) => {
            Ok(session_end(lost, version, held, now)?.map(Version::Session))
        }
        _ => Err(MemoryError::invalid("conflict", "nothing of what it lost to is known here", "engramctl sync")),
    }
}

fn observation(
    lost: &Lost,
    version: &ObservationVersion,
    held: &ObservationVersion,
    now: &Now,
) -> Result<Option<ObservationVersion>, MemoryError> {
    let session_id = || held.session_id.clone();
    let made = if version.key.kind == Kind::Upsert {
        let body = save::clean(&as_typed(lost, version))?.body;
        if held.body.0.as_ref() == Some(&body) {
            return Ok(None);
        }
        let (revision, extra) = (held.key.revision + 1, &held.key.extra);
        let make = |at| ObservationVersion::upsert(session_id(), body.clone(), revision, Some(at), extra.clone());
        now.growing(held.key.time, make, |made| made.key > held.key)
    } else {
        // A memory that was deleted as thoroughly, or more so, stays as it is.
        if held.key.kind >= version.key.kind {
            return Ok(None);
        }
        let make = |at| ObservationVersion::delete(session_id(), version.key.kind == Kind::Hard, Some(at));
        now.growing(held.key.time, make, |made| made.key > held.key)
    };
    let (duplicate_count, last_seen_at, created_at) = (held.duplicate_count, held.last_seen_at, held.created_at);
    Ok(Some(ObservationVersion { duplicate_count, last_seen_at, created_at, ..made }))
}

/// The lost text as someone would type it in again: the text rules hold for what another program wrote, too.
fn as_typed(lost: &Lost, version: &ObservationVersion) -> SaveRequest {
    let body = version.body.0.clone().unwrap_or_default();
    SaveRequest {
        title: body.title,
        kind: Some(body.kind),
        project: lost.project.to_string(),
        scope: Some(body.scope),
        topic: body.topic_key,
        tool: body.tool_name,
        content: body.content,
        ..SaveRequest::default()
    }
}

fn prompt(
    lost: &Lost,
    version: &PromptVersion,
    held: &PromptVersion,
    held_until: Option<RowTime>,
    now: &Now,
) -> Result<Option<PromptVersion>, MemoryError> {
    let Some(content) = &version.content.0 else {
        let delete = |at| PromptVersion::delete(held.session_id.clone(), Some(at));
        let made = || now.growing(held.key.time, delete, |made| made.key > held.key);
        return Ok((!held.key.deleted).then(made));
    };
    if held.key.deleted {
        let hint = format!("engramctl prompt --project {} TEXT", lost.project);
        return Err(MemoryError::invalid("prompt", "it was deleted, and a deleted prompt never comes back", &hint));
    }
    let content = text::clean_required("content", content, "engramctl prompt TEXT")?;
    if held.content.0.as_ref() == Some(&content) {
        return Ok(None);
    }
    let (session_id, extra) = (&held.session_id, &held.key.extra);
    let make = |at| PromptVersion::upsert(session_id.clone(), content.clone(), Some(at), extra.clone());
    Ok(Some(now.growing(held_until, make, |made| made.key > held.key)))
}

fn relation(
    version: &RelationVersion,
    held: &RelationVersion,
    id: i64,
    now: &Now,
) -> Result<Option<RelationVersion>, MemoryError> {
    let Some(body) = version.body.0.as_ref().filter(|_| version.key.judged) else {
        let hint = format!("engramctl conflicts show {id}");
        return Err(MemoryError::invalid("relation", "its lost version was not judged, and a judged one stays", &hint));
    };
    if held.body.0.as_ref() == Some(body) {
        return Ok(None);
    }
    let make = |at| {
        let (source, target) = (held.source_id.clone(), held.target_id.clone());
        RelationVersion::new(source, target, body.clone(), Some(at), held.created_at, held.key.extra.clone())
    };
    Ok(Some(now.growing(held.key.time, make, |made| made.key > held.key)))
}

/// Of a session only the end is ever written again: where and when it started is not edited, and only a Go program
/// deletes one.
fn session_end(
    lost: &Lost,
    version: &SessionVersion,
    held: &SessionVersion,
    now: &Now,
) -> Result<Option<SessionVersion>, MemoryError> {
    let summary = text::clean_optional("summary", version.end.summary.as_deref())?;
    let Some(summary) = summary else {
        let reason = "its lost version has no summary, and nothing else of a session can be written again";
        let hint = format!("engramctl session start --project {}", lost.project);
        return Err(MemoryError::invalid("session", reason, &hint));
    };
    if held.end.summary.as_ref() == Some(&summary) {
        return Ok(None);
    }
    let make = |at| EndRegister::new(Some(&summary), Some(at));
    let end = now.growing(held.end.ended_at, make, |end| *end > held.end);
    Ok(Some(SessionVersion { end, ..held.clone() }))
}
