//! How logins and enrollments went.

use super::verdict::labelled;
use super::{Paint, View, text};
use engram_proto::ipc::reply::{EnrollOutcome, LoginOutcome};

/// Renders a login.
pub(crate) fn login(outcome: &LoginOutcome, view: &View) -> String {
    let url = text::clean_line(&outcome.server_url);
    let message = text::clean_line(&outcome.message);
    let message = message.trim_end_matches('.');
    if outcome.checked {
        // The daemon's words name the host already.
        let host = url.split_once("://").map_or(url.as_str(), |(_, host)| host);
        let words = if message.contains(host) { message.to_owned() } else { format!("{url} – {message}") };
        let Some(first) = outcome.elsewhere.first() else {
            return labelled("Logged in", Paint::Good, vec![format!("{words}.")], view);
        };
        let (projects, first) = (text::clean_line(&outcome.elsewhere.join(", ")), text::clean_line(first));
        let parts = vec![
            format!("{words}."),
            format!("These projects were synced with another cloud and stand still until mirrored here: {projects}."),
            format!("Run: engramctl cloud remirror {first}"),
        ];
        return labelled("Logged in", Paint::Warning, parts, view);
    }
    let parts = vec![
        format!("{url} and the token; they could not be checked yet: {message}."),
        "Run: engramctl status".to_owned(),
    ];
    labelled("Stored", Paint::Warning, parts, view)
}

/// Renders what became of each project.
pub(crate) fn enrolled(outcomes: &[EnrollOutcome], view: &View) -> String {
    outcomes.iter().map(|outcome| enrolled_one(outcome, view)).collect()
}

fn enrolled_one(outcome: &EnrollOutcome, view: &View) -> String {
    let name = text::clean_line(&outcome.project);
    let message = text::clean_line(&outcome.message);
    let message = message.strip_prefix(&format!("{name}: ")).unwrap_or(&message).trim_end_matches('.');
    match (outcome.enrolled, outcome.checked) {
        (true, checked) => {
            let paint = if checked { Paint::Good } else { Paint::Warning };
            let message = if message.is_empty() { "enrolled" } else { message };
            labelled(&name, paint, vec![format!("{message}.")], view)
        }
        (false, _) => {
            let code = outcome.reason_code.map_or("not enrolled", |code| code.as_str());
            labelled(&name, Paint::Error, vec![format!("refused, {code} – {message}.")], view)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture::VIEW;
    use engram_proto::reason::ReasonCode;

    #[test]
    fn logins_say_whether_they_were_checked() {
        let mut outcome = LoginOutcome {
            server_url: "https://host.example".to_owned(),
            checked: true,
            message: "engram-cloud 0.1.0".to_owned(),
            elsewhere: Vec::new(),
        };
        assert_eq!(login(&outcome, &VIEW), "Logged in: https://host.example – engram-cloud 0.1.0.\n");
        outcome.elsewhere = vec!["app".to_owned(), "site".to_owned()];
        assert_eq!(
            login(&outcome, &VIEW),
            "Logged in: https://host.example – engram-cloud 0.1.0.\n  These projects were synced with another cloud and \
             stand still until mirrored\n  here: app, site. Run: engramctl cloud remirror app\n"
        );
        outcome.checked = false;
        outcome.message = "connection refused".to_owned();
        assert_eq!(
            login(&outcome, &VIEW),
            "Stored: https://host.example and the token; they could not be checked yet:\n  connection refused. Run: engramctl status\n"
        );
    }

    #[test]
    fn each_project_has_its_line() {
        let of = |enrolled, checked, reason_code, message: &str| EnrollOutcome {
            project: "app".to_owned(),
            enrolled,
            checked,
            reason_code,
            message: message.to_owned(),
        };
        let outcomes = [
            of(true, true, None, "enrolled; the cloud allows it"),
            of(true, false, None, "enrolled, but it could not be checked yet: c does not answer"),
            of(false, true, Some(ReasonCode::PolicyForbidden), "app: not yours"),
        ];
        assert_eq!(
            enrolled(&outcomes, &VIEW),
            "app: enrolled; the cloud allows it.\n\
             app: enrolled, but it could not be checked yet: c does not answer.\n\
             app: refused, policy_forbidden – not yours.\n"
        );
    }
}
