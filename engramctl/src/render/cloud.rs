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
        let rest = if message.is_empty() { String::new() } else { format!(": {message}") };
        return labelled("Logged in", Paint::Good, vec![format!("{url}{rest}.")], view);
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
    let code = outcome.reason_code.map_or_else(String::new, |code| format!("{code} – "));
    let message = text::clean_line(&outcome.message);
    let message = message.trim_end_matches('.');
    let rest = if message.is_empty() { String::new() } else { format!(": {code}{message}") };
    match (outcome.enrolled, outcome.checked) {
        (true, true) => labelled("Enrolled", Paint::Good, vec![name], view),
        (true, false) => {
            labelled("Enrolled", Paint::Warning, vec![format!("{name}, could not be checked yet{rest}.")], view)
        }
        (false, _) => labelled("Refused", Paint::Error, vec![format!("{name}{rest}.")], view),
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
            server_url: "https://c".to_owned(),
            checked: true,
            message: "engram-cloud 0.1.0".to_owned(),
        };
        assert_eq!(login(&outcome, &VIEW), "Logged in: https://c: engram-cloud 0.1.0.\n");
        outcome.checked = false;
        outcome.message = "connection refused".to_owned();
        assert_eq!(
            login(&outcome, &VIEW),
            "Stored: https://c and the token; they could not be checked yet: connection\n  refused. Run: engramctl status\n"
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
            of(true, true, None, "enrolled"),
            of(true, false, Some(ReasonCode::TransportFailed), "c does not answer"),
            of(false, true, Some(ReasonCode::PolicyForbidden), "not yours"),
        ];
        assert_eq!(
            enrolled(&outcomes, &VIEW),
            "Enrolled: app\nEnrolled: app, could not be checked yet: transport_failed – c does not answer.\n\
             Refused: app: policy_forbidden – not yours.\n"
        );
    }
}
