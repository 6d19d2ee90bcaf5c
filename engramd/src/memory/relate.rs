//! Judging how two memories relate.

use super::error::MemoryError;
use super::write::{Now, journal};
use super::{read, text};
use crate::store::{Store, versions};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{Observation, Related};
use engram_proto::ipc::request::RelateRequest;
use engram_proto::merge::{RelationBody, RelationVersion, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::row_text;
use rusqlite::{OptionalExtension as _, Transaction, params};

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
    let mut statement = tx.prepare_cached(
        "SELECT sync_id FROM memory_relations WHERE source_id = ?1 AND target_id = ?2 ORDER BY id LIMIT 1",
    )?;
    let known: Option<String> =
        statement.query_row([&source.sync_id, &target.sync_id], |row| row.get(0)).optional()?;
    let before = match &known {
        Some(sync_id) => versions::row_version(tx, project, Entity::Relation, sync_id)?,
        None => None,
    };
    let before = before.and_then(|version| if let Version::Relation(version) = version { Some(version) } else { None });
    // A relation that another project judged is not ours to judge again: it gets one of this project beside it.
    let sync_id = known.filter(|_| before.is_some()).unwrap_or_else(|| now.new_id("rel-"));
    let at = now.strictly_after(before.as_ref().and_then(|before| before.key.time));
    let created_at = before.as_ref().and_then(|before| before.created_at).unwrap_or(now.at);
    write_row(tx, (&sync_id, source, target), &body, (&row_text(Some(created_at)), &at.to_string()))?;
    let relation = body.relation.clone();
    let extra = before.as_ref().map(|before| before.key.extra.clone()).unwrap_or_default();
    let ends = (source.sync_id.clone(), target.sync_id.clone());
    let version = RelationVersion::new(ends.0.clone(), ends.1.clone(), body, Some(at), Some(created_at), extra);
    let base = before.map(|before| before.key.hash);
    journal(tx, (project, &sync_id), &Version::Relation(version), base, now.at)?;
    Ok(Related { sync_id, source_id: ends.0, relation, target_id: ends.1, project: project.to_string() })
}

fn write_row(
    tx: &Transaction<'_>,
    (sync_id, source, target): (&str, &Observation, &Observation),
    body: &RelationBody,
    (created_at, updated_at): (&str, &str),
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
        source.sync_id,
        target.sync_id,
        body.relation,
        body.reason,
        body.confidence,
        body.judgment_status,
        body.marked_by_actor,
        body.marked_by_kind,
        created_at,
        updated_at,
    ])?;
    Ok(())
}
