//! Saving what a user asked.

use super::error::MemoryError;
use super::write::{Now, journal};
use super::{session, text};
use crate::store::Store;
use crate::store::fts::{self, Indexed};
use engram_proto::ipc::reply::PromptSaved;
use engram_proto::ipc::request::PromptRequest;
use engram_proto::merge::{PromptVersion, Version};
use rusqlite::params;

/// Saves a prompt with its search index and its journal row in one transaction (DUR-1).
///
/// # Errors
/// As [`save`](super::save()).
pub fn prompt(store: &mut Store, request: &PromptRequest, now: &Now) -> Result<PromptSaved, MemoryError> {
    let project = text::project(&request.project)?;
    let content = text::clean_required("content", &request.content, "give it as the last argument, --file F or -")?;
    let device_id = store.device_id().to_owned();
    MemoryError::write(store, |tx| {
        let session_id = match session::named(tx, &project, request.session.as_deref())? {
            Some(id) => id,
            None => session::open_or_own(tx, &project, (&device_id, &request.directory), now)?,
        };
        // A prompt made until its session was deleted counts as deleted with it (merging.md).
        let deleted_at = session::held(tx, &project, &session_id)?.and_then(|version| version.deleted_at);
        let (sync_id, at) = (now.new_id("prompt-"), now.after(deleted_at.map(|at| at.plus_s(1))));
        tx.prepare_cached(
            "INSERT INTO user_prompts (sync_id, session_id, content, project, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![sync_id, session_id, content, project.as_str(), at.to_string()])?;
        let id = tx.last_insert_rowid();
        fts::added(tx, Indexed::Prompts, id)?;
        let version = PromptVersion::upsert(session_id.clone(), content.clone(), Some(at), String::new());
        journal(tx, (&project, &sync_id), &Version::Prompt(version), None, now.at)?;
        Ok(PromptSaved { id, sync_id, project: project.to_string(), session_id })
    })
}
