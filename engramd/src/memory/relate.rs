//! Judging how two memories relate.

use super::error::MemoryError;
use super::write::{Now, journal};
use super::{read, text};
use crate::store::{Store, Transaction, versions};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{Observation, Related};
use engram_proto::ipc::request::RelateRequest;
use engram_proto::merge::{RelationBody, RelationVersion, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::row_text;
use rusqlite::params;

/// Judges a relation; the same two ends judged again are the same relation, judged anew.
///
/// # Errors
/// [`MemoryError::NotFound`] for an end that is not there, [`MemoryError::Invalid`] for ends or numbers that make no
/// relation.
pub fn relate(store: &mut Store, request: &RelateRequest, now: &Now) -> Result<Related, MemoryError> {
    let verb = text::clean_required("verb", &request.verb, "such as supersedes, conflicts_with or related")?;
    let reason = text::clean_optional("reason", request.reason.as_deref())?;
    if let Some(confidence) = request.confidence.filter(|confidence| !(0.0..=1.0).contains(confidence)) {
        return Err(MemoryError::invalid("confidence", &format!("{confidence} is not between 0 and 1"), "such as 0.8"));
    }
    MemoryError::write(store, |tx| {
        let end = |id: &str| read::find(tx, id)?.ok_or_else(|| read::missing(id));
        let (source, target) = (end(&request.source)?, end(&request.target)?);
        if source.sync_id == target.sync_id {
            return Err(MemoryError::invalid("target", "it is the source itself", "relate two memories"));
        }
        let project = text::project(source.project.as_deref().unwrap_or_default())?;
        let body = RelationBody {
            relation: verb.clone(),
            reason: reason.clone(),
            confidence: request.confidence,
            judgment_status: "judged".to_owned(),
            marked_by_actor: "user".to_owned(),
            marked_by_kind: "human".to_owned(),
            ..RelationBody::default()
        };
        judge(tx, &project, (&source, &target), body, now)
    })
}

fn judge(
    tx: &Transaction<'_>,
    project: &ProjectName,
    (source, target): (&Observation, &Observation),
    body: RelationBody,
    now: &Now,
) -> Result<Related, MemoryError> {
    let ends = (source.sync_id.clone(), target.sync_id.clone());
    let before = judged(tx, project, &ends)?;
    let (sync_id, before) = match before {
        Some((sync_id, before)) => (sync_id, Some(before)),
        None => (now.new_id("rel-"), None),
    };
    let key = before.as_ref().map(|before| &before.key);
    let created_at = before.as_ref().and_then(|before| before.created_at).unwrap_or(now.at);
    let extra = key.map(|key| key.extra.clone()).unwrap_or_default();
    let make = |at| {
        let ends = ends.clone();
        RelationVersion::new(ends.0, ends.1, body.clone(), Some(at), Some(created_at), extra.clone())
    };
    let relation = body.relation.clone();
    if before.as_ref().is_none_or(|before| before.body.0.as_ref() != Some(&body)) {
        let after = now.growing(key.and_then(|key| key.time), make, |after| key.is_none_or(|key| after.key > *key));
        write_row(tx, &sync_id, &after, &body)?;
        journal(tx, (project, &sync_id), &Version::Relation(after), key.map(|key| key.hash), now.at)?;
    }
    Ok(Related { sync_id, source_id: ends.0, relation, target_id: ends.1, project: project.to_string() })
}

/// Finds the relation of two ends. One that another project judged is not ours to judge again: this project gets one of
/// its own beside it.
fn judged(
    tx: &Transaction<'_>,
    project: &ProjectName,
    (source, target): &(String, String),
) -> Result<Option<(String, RelationVersion)>, MemoryError> {
    let mut statement =
        tx.prepare_cached("SELECT sync_id FROM memory_relations WHERE source_id = ?1 AND target_id = ?2 ORDER BY id")?;
    let found = statement.query_map([source, target], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    for sync_id in found {
        let Some(Version::Relation(row)) = versions::row_version(tx, project, Entity::Relation, &sync_id)? else {
            continue;
        };
        let held = versions::local(tx, project, Entity::Relation, &sync_id)?;
        let Some(Version::Relation(held)) = held else { return Ok(Some((sync_id, row))) };
        // The row is what was judged; what is known and queued is what has to be beaten (CONV-3).
        let (key, body) = (held.key.max(row.key), row.body);
        return Ok(Some((sync_id, RelationVersion { key, body, ..held })));
    }
    Ok(None)
}

fn write_row(
    tx: &Transaction<'_>,
    sync_id: &str,
    version: &RelationVersion,
    body: &RelationBody,
) -> Result<(), MemoryError> {
    tx.prepare_cached(
        "INSERT INTO memory_relations (sync_id, source_id, target_id, relation, reason, confidence, judgment_status,
             marked_by_actor, marked_by_kind, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (sync_id) DO UPDATE SET relation = ?4, reason = ?5, confidence = ?6, judgment_status = ?7,
             marked_by_actor = ?8, marked_by_kind = ?9, marked_by_model = NULL, evidence = NULL, session_id = NULL,
             updated_at = ?11",
    )?
    .execute(params![
        sync_id,
        version.source_id,
        version.target_id,
        body.relation,
        body.reason,
        body.confidence,
        body.judgment_status,
        body.marked_by_actor,
        body.marked_by_kind,
        row_text(version.created_at),
        row_text(version.key.time),
    ])?;
    Ok(())
}
