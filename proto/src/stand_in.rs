//! The id of a session that stands in for one whose project knows no directory of it (peers.md).
//!
//! A Go client keeps sessions by id alone: under its own id, a session without a directory would take project and
//! directory of the session that such a client has in another project.

use crate::canonical::Object;
use crate::id::ProjectName;
use crate::mutation::{Entity, text_of};

/// The field that says when a session was deleted on a Go server, whose clients pass it over: at a `delete` they halt.
pub const DELETED_AT: &str = "engramd_deleted_at";

const PREFIX: &str = "recovered-missing-session/";

/// Returns the id under which a peer meets a session that has no known directory in this project.
#[must_use]
pub fn stand_in_id(project: &ProjectName, session_id: &str) -> String {
    format!("{PREFIX}{project}/{session_id}")
}

/// Takes a stand-in's id back to the session's own; any other id is its own already.
///
/// Only an id that names this very project is taken back: what another project calls so is none of this one's sessions.
#[must_use]
pub fn session_id_of<'a>(project: &ProjectName, id: &'a str) -> &'a str {
    let inner = id.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(project.as_str()));
    inner.and_then(|rest| rest.strip_prefix('/')).filter(|own| !own.is_empty()).unwrap_or(id)
}

/// Takes a payload out of the form in which a device of ours sent it to a Go server; tells whether it was in one.
///
/// The id of a session itself is left: under a stand-in's it is another row.
pub fn take_back(project: &ProjectName, entity: Entity, payload: &mut Object) -> bool {
    match entity {
        Entity::Session => {
            let Some(deleted_at) = payload.remove(DELETED_AT) else { return false };
            payload.insert("deleted_at".to_owned(), deleted_at);
            true
        }
        Entity::Observation | Entity::Prompt => {
            let Some(id) = text_of(payload, "session_id") else { return false };
            let own = session_id_of(project, id).to_owned();
            let was_stood_in = own != id;
            if was_stood_in {
                payload.insert("session_id".to_owned(), own.into());
            }
            was_stood_in
        }
        Entity::Relation => false,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_back_for_its_own_project_only() {
        let name = |text: &str| ProjectName::parse(text).unwrap();
        for (project, id) in [("alpha", "s"), ("team/app", "a/b"), ("alpha", "recovered-missing-session/alpha/s")] {
            assert_eq!(session_id_of(&name(project), &stand_in_id(&name(project), id)), id);
        }
        let of_beta = stand_in_id(&name("beta"), "s");
        for own in [of_beta.as_str(), "s", "recovered-missing-session/alpha/", "recovered-missing-session/alphabet/s"] {
            assert_eq!(session_id_of(&name("alpha"), own), own);
        }
    }
}
