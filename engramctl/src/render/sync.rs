//! How a sync goes on, and how it ended.

use super::verdict::labelled;
use super::{Paint, View, count, text};
use engram_proto::ipc::reply::{SyncOutcome, SyncProgress, SyncVerdict, SyncedProject};

/// Says how far it is, on the one line that is written over and over.
pub(crate) fn progress(progress: &SyncProgress) -> String {
    let SyncProgress { pushed, pulled, remaining } = progress;
    format!("{pushed} sent, {pulled} received, {remaining} remaining")
}

/// Renders the end: the verdict and a line for each project. A blocked one's verdict stands on standard error.
pub(crate) fn outcome(outcome: &SyncOutcome, view: &View) -> String {
    let verdict = if outcome.outcome == SyncVerdict::Blocked { String::new() } else { verdict(outcome, view) };
    let name_width = outcome.projects.iter().map(|project| text::width(&name(project))).max().unwrap_or(0);
    let lines = outcome.projects.iter().map(|project| {
        let name = name(project);
        let room = " ".repeat(name_width - text::width(&name));
        format!("  {}\n", text::fit(&format!("{name}{room}  {}", summary(project)), view.width.saturating_sub(2)))
    });
    verdict + &lines.collect::<String>()
}

/// Renders the verdict.
pub(crate) fn verdict(outcome: &SyncOutcome, view: &View) -> String {
    let sum = |of: fn(&SyncedProject) -> u64| outcome.projects.iter().map(of).sum::<u64>();
    let took = took(outcome.duration_ms);
    let rows = match (sum(|project| project.pushed), sum(|project| project.pulled)) {
        (0, 0) => format!("nothing to send or receive, {took}."),
        (pushed, pulled) => format!("{pushed} sent, {pulled} received in {took}."),
    };
    match outcome.outcome {
        SyncVerdict::Drained => labelled("Drained", Paint::Good, vec![rows], view),
        SyncVerdict::Partial => {
            let left =
                [(sum(|project| project.held), "held"), (sum(|project| project.deferred), "waiting for a parent")];
            let left =
                left.iter().filter(|(rows, _)| *rows > 0).map(|(rows, what)| format!("{} {what}", count(*rows, "row")));
            let mut parts = vec![rows];
            parts.extend(outcome.message.as_deref().map(text::clean_line).or_else(|| {
                let left = left.collect::<Vec<_>>().join(", ");
                (!left.is_empty()).then(|| format!("Left over: {left}."))
            }));
            parts.push(format!("Run: {}", text::clean_line(outcome.hint.as_deref().unwrap_or("engramctl held list"))));
            labelled("Partial", Paint::Warning, parts, view)
        }
        SyncVerdict::Blocked => {
            let message = outcome.message.as_deref().unwrap_or("the daemon does not say why");
            let message = text::clean_line(message);
            let code = outcome.reason_code.map_or_else(String::new, |code| format!("{code} – "));
            let hint = outcome.hint.as_deref().unwrap_or("engramctl status");
            let parts =
                vec![format!("{code}{}.", message.trim_end_matches('.')), format!("Run: {}", text::clean_line(hint))];
            labelled("Blocked", Paint::Error, parts, view)
        }
    }
}

fn name(project: &SyncedProject) -> String {
    const NAME_WIDTH_MAX: usize = 32;
    text::fit(&text::clean_line(&project.project), NAME_WIDTH_MAX)
}

fn summary(project: &SyncedProject) -> String {
    let counts = [
        (project.pushed, "sent"),
        (project.pulled, "received"),
        (project.held, "held"),
        (project.deferred, "waiting"),
        (project.remaining, "remaining"),
    ];
    let said: Vec<String> =
        counts.iter().filter(|(rows, _)| *rows > 0).map(|(rows, what)| format!("{rows} {what}")).collect();
    if said.is_empty() { "nothing to do".to_owned() } else { said.join(", ") }
}

fn took(duration_ms: u64) -> String {
    const MS_PER_S: u64 = 1_000;
    match duration_ms {
        ms if ms < MS_PER_S => format!("{ms} ms"),
        ms if ms < 60 * MS_PER_S => format!("{}.{} s", ms / MS_PER_S, ms % MS_PER_S / 100),
        ms => format!("{} min {} s", ms / (60 * MS_PER_S), ms / MS_PER_S % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture::VIEW;
    use engram_proto::reason::ReasonCode;

    fn of(verdict: SyncVerdict, projects: Vec<SyncedProject>) -> SyncOutcome {
        SyncOutcome { outcome: verdict, reason_code: None, message: None, hint: None, duration_ms: 1_240, projects }
    }

    fn project(name: &str, pushed: u64, pulled: u64, held: u64) -> SyncedProject {
        SyncedProject { project: name.to_owned(), pushed, pulled, held, ..SyncedProject::default() }
    }

    #[test]
    fn a_drained_sync() {
        let drained = of(SyncVerdict::Drained, vec![project("app", 12, 30, 0), project("engram", 0, 0, 0)]);
        assert_eq!(
            outcome(&drained, &VIEW),
            "Drained: 12 sent, 30 received in 1.2 s.\n  app     12 sent, 30 received\n  engram  nothing to do\n"
        );
    }

    #[test]
    fn a_partial_one_names_what_is_left() {
        let partial = of(SyncVerdict::Partial, vec![project("app", 12, 0, 2)]);
        assert_eq!(
            outcome(&partial, &VIEW),
            "Partial: 12 sent, 0 received in 1.2 s. Left over: 2 rows held.\n  Run: engramctl held list\n  app  12 sent, 2 held\n"
        );
    }

    #[test]
    fn a_blocked_one_says_why_on_one_line() {
        let mut blocked = of(SyncVerdict::Blocked, vec![]);
        blocked.reason_code = Some(ReasonCode::AuthRequired);
        blocked.message = Some("the token was refused.".to_owned());
        blocked.hint = Some("engramctl cloud login".to_owned());
        assert_eq!(outcome(&blocked, &VIEW), "");
        assert_eq!(
            verdict(&blocked, &VIEW),
            "Blocked: auth_required – the token was refused. Run: engramctl cloud login\n"
        );
    }
}
