//! Saving a memory: a new one, a revision of its topic's, or one more of the same.

use super::edit::Edited;
use super::error::MemoryError;
use super::write::{Now, journal};
use super::{session, text};
use crate::store::fts::{self, Indexed};
use crate::store::{Store, Transaction, normalized_hash, review_modifier};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{SaveKind, Saved};
use engram_proto::ipc::request::SaveRequest;
use engram_proto::merge::{ObservationBody, ObservationVersion, Version};
use rusqlite::{OptionalExtension as _, params};

/// The same saved again within so many seconds is counted, not kept twice.
const DUPLICATE_WINDOW_S: i64 = 15 * 60;

/// A memory that passed the text rules.
pub(super) struct Clean {
    project: ProjectName,
    pub(super) body: ObservationBody,
    hash: String,
}

/// Saves a memory with its search index and its journal row in one transaction (DUR-1).
///
/// # Errors
/// [`MemoryError::Invalid`] for texts that cannot be kept, [`MemoryError::NotFound`] for a session that is not there.
pub fn save(store: &mut Store, request: &SaveRequest, now: &Now) -> Result<Saved, MemoryError> {
    let clean = clean(request)?;
    let device_id = store.device_id().to_owned();
    MemoryError::write(store, |tx| {
        let named = session::named(tx, &clean.project, request.session.as_deref())?;
        if let Some((id, sync_id)) = topic_row(tx, &clean)? {
            return revise(tx, (id, &sync_id), &clean, now);
        }
        if let Some((id, sync_id)) = duplicate_row(tx, &clean, now)? {
            return fold(tx, (id, &sync_id), &clean, now);
        }
        let session_id = match named {
            Some(id) => id,
            None => session::open_or_own(tx, &clean.project, (&device_id, &request.directory), now)?,
        };
        create(tx, session_id, &clean, now)
    })
}

/// Applies the text rules to a memory as it was typed.
pub(super) fn clean(request: &SaveRequest) -> Result<Clean, MemoryError> {
    let content = text::clean_required("content", &request.content, "give it as the last argument, --file F or -")?;
    let title = match text::clean("title", &request.title)? {
        blank if blank.is_empty() => text::derived_title(&content),
        title => title,
    };
    let kind = text::clean_optional("type", request.kind.as_deref())?.unwrap_or_else(|| text::DEFAULT_KIND.to_owned());
    let body = ObservationBody {
        kind,
        title,
        scope: text::scope(request.scope.as_deref().unwrap_or_default()).to_owned(),
        tool_name: text::clean_optional("tool", request.tool.as_deref())?,
        topic_key: text::topic_key(request.topic.as_deref())?,
        content,
    };
    let hash = normalized_hash(&body.content);
    Ok(Clean { project: text::project(&request.project)?, body, hash })
}

const TOPIC_SQL: &str = "SELECT id, sync_id FROM observations
    WHERE topic_key = ?1 AND project = ?2 AND scope = ?3 AND +deleted_at IS NULL AND sync_id <> ''
    ORDER BY updated_at DESC, sync_id DESC LIMIT 1";

// The index on the hash, and no other: a save costs the same in any store (performance.md, L8).
const DUPLICATE_SQL: &str = "SELECT id, sync_id FROM observations INDEXED BY idx_obs_dedupe
    WHERE project = ?1 AND normalized_hash = ?2 AND scope = ?3 AND type = ?4 AND title = ?5
    AND deleted_at IS NULL AND created_at >= ?6 AND sync_id <> '' ORDER BY id DESC LIMIT 1";

/// Finds the newest live memory of the same topic, project and scope; every device that holds the same finds the same.
fn topic_row(tx: &Transaction<'_>, clean: &Clean) -> Result<Option<(i64, String)>, MemoryError> {
    let Some(topic) = &clean.body.topic_key else { return Ok(None) };
    let names = params![topic, clean.project.as_str(), clean.body.scope];
    Ok(tx.prepare_cached(TOPIC_SQL)?.query_row(names, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Finds the same memory, saved a moment ago.
fn duplicate_row(tx: &Transaction<'_>, clean: &Clean, now: &Now) -> Result<Option<(i64, String)>, MemoryError> {
    let (since, body) = (now.at.plus_s(-DUPLICATE_WINDOW_S).to_string(), &clean.body);
    let names = params![clean.project.as_str(), clean.hash, body.scope, body.kind, body.title, since];
    Ok(tx.prepare_cached(DUPLICATE_SQL)?.query_row(names, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

fn create(tx: &Transaction<'_>, session_id: String, clean: &Clean, now: &Now) -> Result<Saved, MemoryError> {
    let (sync_id, at, body) = (now.new_id("obs-"), now.at.to_string(), &clean.body);
    let review = review_modifier(&body.kind);
    tx.prepare_cached(
        "INSERT INTO observations (sync_id, session_id, type, title, content, tool_name, project, scope, topic_key,
             normalized_hash, revision_count, duplicate_count, last_seen_at, created_at, updated_at, review_after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, 1, ?11, ?11, ?11,
             CASE WHEN ?12 IS NOT NULL THEN datetime(?11, ?12) END)",
    )?
    .execute(params![
        sync_id,
        session_id,
        body.kind,
        body.title,
        body.content,
        body.tool_name,
        clean.project.as_str(),
        body.scope,
        body.topic_key,
        clean.hash,
        at,
        review,
    ])?;
    let id = tx.last_insert_rowid();
    fts::added(tx, Indexed::Observations, id)?;
    let version = ObservationVersion {
        duplicate_count: Some(1),
        last_seen_at: Some(now.at),
        created_at: Some(now.at),
        ..ObservationVersion::upsert(session_id.clone(), body.clone(), 1, Some(now.at), String::new())
    };
    journal(tx, (&clean.project, &sync_id), &Version::Observation(version), None, now.at)?;
    let project = clean.project.to_string();
    Ok(Saved { id, sync_id, project, session_id, outcome: SaveKind::Created, revision_count: 1 })
}

fn revise(tx: &Transaction<'_>, (id, sync_id): (i64, &str), clean: &Clean, now: &Now) -> Result<Saved, MemoryError> {
    let edited = Edited::of(tx, clean.project.clone(), sync_id)?;
    let mut body = clean.body.clone();
    body.tool_name = body.tool_name.or_else(|| edited.before.body.0.as_ref().and_then(|old| old.tool_name.clone()));
    let mut after = edited.with(&body, now);
    after.last_seen_at = after.last_seen_at.max(Some(now.at));
    let saved = saved(id, sync_id, clean, &after, SaveKind::Revised);
    edited.write(tx, after, now)?;
    Ok(saved)
}

/// Counts a duplicate: the key stays, only what is joined grows, so no rival loses by it.
fn fold(tx: &Transaction<'_>, (id, sync_id): (i64, &str), clean: &Clean, now: &Now) -> Result<Saved, MemoryError> {
    let edited = Edited::of(tx, clean.project.clone(), sync_id)?;
    let after = ObservationVersion {
        duplicate_count: Some(edited.before.duplicate_count.unwrap_or(1) + 1),
        last_seen_at: edited.before.last_seen_at.max(Some(now.at)),
        ..edited.before.clone()
    };
    tx.prepare_cached(
        "UPDATE observations SET duplicate_count = ?3, last_seen_at = ?4 WHERE project = ?1 AND sync_id = ?2",
    )?
    .execute(params![
        clean.project.as_str(),
        sync_id,
        after.duplicate_count,
        after.last_seen_at.map(|at| at.to_string())
    ])?;
    let saved = saved(id, sync_id, clean, &after, SaveKind::Duplicate);
    edited.journal(tx, after, now)?;
    Ok(saved)
}

fn saved(id: i64, sync_id: &str, clean: &Clean, version: &ObservationVersion, outcome: SaveKind) -> Saved {
    Saved {
        id,
        sync_id: sync_id.to_owned(),
        project: clean.project.to_string(),
        session_id: version.session_id.clone(),
        outcome,
        revision_count: version.key.revision,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use engram_proto::time::RowTime;

    #[test]
    fn l8_what_a_save_looks_up_is_found_by_an_index() {
        let store = Store::open_in_memory(RowTime::parse("2026-11-22 14:00:00").unwrap()).unwrap();
        for (sql, index) in [
            (TOPIC_SQL, "idx_obs_topic (topic_key=? AND project=? AND scope=?)"),
            (
                DUPLICATE_SQL,
                "idx_obs_dedupe (normalized_hash=? AND project=? AND scope=? AND type=? AND title=? AND created_at>?)",
            ),
        ] {
            let plan = super::super::plan(&store, sql);
            assert!(plan.contains(index) && !plan.contains("SCAN"), "{plan}");
        }
    }
}
