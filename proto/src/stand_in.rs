//! The id of a session that stands in for one whose project knows no directory of it (peers.md).
//!
//! A Go client keeps sessions by id alone: under its own id, a session without a directory would take project and
//! directory of the session that such a client has in another project.

use crate::id::ProjectName;

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
