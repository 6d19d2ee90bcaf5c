//! A prompt of a deleted session (merging.md, "A session's").
//!
//! A prompt created until its session's `deleted_at` counts as deleted at that time, whichever of the two was stored
//! first. Where such a prompt is live, its delete is appended in the same transaction.

use super::admit::{Admission, Subject};
use super::rows;
use engram_proto::merge::{PromptVersion, SessionVersion, Version, merge};
use engram_proto::mutation::Entity;

/// Appends the deletes that follow from a version that was just appended.
pub(super) fn settle(admission: &mut Admission<'_>, subject: Subject<'_>, version: &Version) -> rusqlite::Result<()> {
    match version {
        Version::Session(session) if session.deleted_at.is_some() => of_session(admission, subject, session),
        Version::Prompt(prompt) if !prompt.key.deleted => {
            let id = prompt.session_id.as_str();
            let head = rows::head(admission.connection, subject.project, Entity::Session.as_str(), id)?;
            match head.and_then(|head| head.version(Entity::Session, id)) {
                Some(Version::Session(session)) => one(admission, subject, prompt, &session),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn of_session(admission: &mut Admission<'_>, subject: Subject<'_>, session: &SessionVersion) -> rusqlite::Result<()> {
    for key in rows::live_prompts(admission.connection, subject.project, subject.key)? {
        let head = rows::head(admission.connection, subject.project, Entity::Prompt.as_str(), &key)?;
        if let Some(Version::Prompt(prompt)) = head.and_then(|head| head.version(Entity::Prompt, &key)) {
            one(admission, Subject { key: &key, ..subject }, &prompt, session)?;
        }
    }
    Ok(())
}

fn one(
    admission: &mut Admission<'_>,
    subject: Subject<'_>,
    prompt: &PromptVersion,
    session: &SessionVersion,
) -> rusqlite::Result<()> {
    // An unknown time is the smallest, of the prompt and of the session alike.
    if session.deleted_at.is_none() || prompt.key.time > session.deleted_at {
        return Ok(());
    }
    let delete = Version::Prompt(PromptVersion::delete(prompt.session_id.clone(), session.deleted_at));
    admission.append_version(subject, &merge(Version::Prompt(prompt.clone()), delete))?;
    Ok(())
}
