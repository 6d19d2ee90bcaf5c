//! A prompt of a deleted session (merging.md, "A session's").
//!
//! A prompt created until its session's `deleted_at` counts as deleted at that time, whichever of the two was stored
//! first. Where such a prompt is live, its delete is appended in the same transaction.

use super::{Admission, Name};
use engram_proto::merge::{PromptVersion, SessionVersion, Version, merge};
use engram_proto::mutation::Entity;

/// Appends the deletes that follow from a version that was just appended.
pub(super) fn settle(admission: &mut Admission, name: &Name, version: &Version, pushed_by: &str) {
    match version {
        Version::Session(session) if session.deleted_at.is_some() => of_session(admission, name, session, pushed_by),
        Version::Prompt(prompt) if !prompt.key.deleted => {
            let session = Name::known(&name.project, Entity::Session, &prompt.session_id);
            let head = admission.facts.head(&session).map(|head| head.version.clone());
            if let Some(Version::Session(session)) = head {
                one(admission, name.clone(), prompt, &session, pushed_by);
            }
        }
        _ => {}
    }
}

fn of_session(admission: &mut Admission, name: &Name, session: &SessionVersion, pushed_by: &str) {
    let prompts = admission.facts.live_prompts.get(&(name.project.clone(), name.key.clone()));
    debug_assert!(prompts.is_some(), "the live prompts of {name:?} were not asked for");
    for key in prompts.cloned().unwrap_or_default() {
        let prompt = Name::known(&name.project, Entity::Prompt, &key);
        let head = admission.facts.head(&prompt).map(|head| head.version.clone());
        if let Some(Version::Prompt(version)) = head {
            one(admission, prompt, &version, session, pushed_by);
        }
    }
}

fn one(admission: &mut Admission, name: Name, prompt: &PromptVersion, session: &SessionVersion, pushed_by: &str) {
    // An unknown time is the smallest, of the prompt and of the session alike.
    if session.deleted_at.is_none() || prompt.key.time > session.deleted_at {
        return;
    }
    let delete = Version::Prompt(PromptVersion::delete(prompt.session_id.clone(), session.deleted_at));
    admission.append_version(name, &merge(Version::Prompt(prompt.clone()), delete), pushed_by);
}
