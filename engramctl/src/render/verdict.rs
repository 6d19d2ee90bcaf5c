//! The first line of the status: one verdict, why, and one command.

use super::{Paint, View, count, text};
use engram_proto::health::{ProjectStatus, StatusReport};
use engram_proto::reason::{Desired, Finding, Health, Phase, ProjectState, ReasonCode, Severity};
use engram_proto::time::RowTime;

/// Columns by which second lines stand further right.
const INDENT: usize = 2;

/// A verdict in words.
pub(super) struct Verdict<'a> {
    word: &'static str,
    paint: Paint,
    parts: Vec<String>,
    /// The finding it already tells.
    pub(super) told: Option<&'a Finding>,
}

impl Verdict<'_> {
    /// Renders it; commands stay whole.
    pub(super) fn render(&self, view: &View) -> String {
        labelled(self.word, self.paint, self.parts.clone(), view)
    }
}

/// Renders `Word: parts…` with the word in its colour.
pub(crate) fn labelled(word: &str, paint: Paint, mut parts: Vec<String>, view: &View) -> String {
    if let Some(first) = parts.first_mut() {
        *first = format!("{word}: {}", text::clean_line(first));
    }
    let flowed = text::flow(&parts, view.width, INDENT);
    let rest = flowed.strip_prefix(word).unwrap_or(&flowed);
    format!("{}{rest}\n", view.paint(word, paint))
}

/// Finds the verdict; `only` where the report is about one project.
pub(super) fn verdict<'a>(report: &'a StatusReport, only: bool, view: &View) -> Verdict<'a> {
    let needs_somebody = |finding: &&Finding| finding.severity > Severity::Info;
    let worst = report.findings.iter().filter(needs_somebody).map(|finding| finding.severity).max();
    if let Some(worst) = worst
        && let Some(finding) = report.findings.iter().find(|finding| finding.severity == worst)
    {
        let mut parts = finding_parts(finding, view);
        parts.extend(next_attempt(report, view));
        return Verdict { word: "Degraded", paint: Paint::Error, parts, told: Some(finding) };
    }
    one_project(report, only, view).unwrap_or_else(|| all_projects(report, view))
}

fn all_projects<'a>(report: &'a StatusReport, view: &View) -> Verdict<'a> {
    let info = |code| report.findings.iter().find(|finding| finding.code == code && finding.project.is_none());
    if !report.cloud.configured {
        let parts = vec![
            "no cloud is known, memories stay on this machine.".to_owned(),
            "Run: engramctl cloud login --server URL".to_owned(),
        ];
        let told = info(ReasonCode::CloudNotConfigured);
        return Verdict { word: "Not configured", paint: Paint::Warning, parts, told };
    }
    if report.sync.desired == Desired::Paused {
        return paused(info(ReasonCode::Paused), "everything is paused", "engramctl resume", view);
    }
    let enrolled = report.projects.iter().filter(|project| project.enrolled).count() as u64;
    match report.sync.health {
        Health::Healthy if enrolled == 0 => {
            let parts = vec!["no project takes part in sync yet.".to_owned(), "Run: engramctl enroll P".to_owned()];
            Verdict { word: "Healthy", paint: Paint::Good, parts, told: None }
        }
        Health::Healthy => healthy(format!("{} in sync", count(enrolled, "project")), &report.projects, view),
        Health::Pending | Health::Degraded => {
            let mut parts = vec![on_its_way(&report.projects, report.sync.phase)];
            if let Some(next) = next_attempt(report, view) {
                parts[0].push('.');
                parts.push(next);
            }
            Verdict { word: "Pending", paint: Paint::Warning, parts, told: None }
        }
    }
}

fn one_project<'a>(report: &'a StatusReport, only: bool, view: &View) -> Option<Verdict<'a>> {
    let [project] = report.projects.as_slice() else { return None };
    if !only || !report.cloud.configured || report.sync.desired == Desired::Paused {
        return None;
    }
    let name = &project.project;
    Some(match project.state {
        ProjectState::Healthy => healthy(format!("{name} in sync"), &report.projects, view),
        ProjectState::Paused => {
            let finding = report.findings.iter().find(|finding| finding.code == ReasonCode::Paused);
            paused(finding, &format!("{name} is paused"), &format!("engramctl resume --project {name}"), view)
        }
        ProjectState::NotEnrolled => {
            let rows =
                if project.pending == 0 { String::new() } else { format!(", {}", count(project.pending, "row")) };
            let parts = vec![format!("{name} stays on this machine{rows}."), format!("Run: engramctl enroll {name}")];
            let told = report.findings.iter().find(|finding| finding.code == ReasonCode::NonEnrolledPendingMutations);
            Verdict { word: "Not enrolled", paint: Paint::Faint, parts, told }
        }
        ProjectState::Pending | ProjectState::Degraded => {
            let parts = vec![on_its_way(&report.projects, report.sync.phase)];
            Verdict { word: "Pending", paint: Paint::Warning, parts, told: None }
        }
    })
}

fn healthy<'a>(what: String, projects: &[ProjectStatus], view: &View) -> Verdict<'a> {
    let last = projects.iter().filter_map(last_change).max();
    let last = last.map_or_else(String::new, |at| format!(", last change {}", view.moment.ago(&at.to_string())));
    Verdict { word: "Healthy", paint: Paint::Good, parts: vec![what + &last], told: None }
}

fn paused<'a>(finding: Option<&'a Finding>, otherwise: &str, hint: &str, view: &View) -> Verdict<'a> {
    let parts = match finding {
        Some(finding) => {
            let hint = text::clean_line(finding.hint.as_deref().unwrap_or(hint));
            vec![paused_since(finding, view), format!("Run: {hint}")]
        }
        None => vec![format!("{otherwise}."), format!("Run: {hint}")],
    };
    Verdict { word: "Paused", paint: Paint::Warning, parts, told: finding }
}

/// Says "paused" once: the word already stands before it.
fn paused_since(finding: &Finding, view: &View) -> String {
    let message = text::clean_line(&finding.message);
    let Some((what, reason)) = message.split_once(" is paused") else { return said(finding, view) };
    let what = if what == "sync" { "all of sync" } else { what };
    let since = view.moment.clock(&finding.since);
    let since = if since.is_empty() { since } else { format!(" since {since}") };
    match reason.strip_prefix(": ") {
        Some(reason) => format!("{what}{since} ({reason})."),
        None => format!("{what}{since}."),
    }
}

fn on_its_way(projects: &[ProjectStatus], phase: Phase) -> String {
    let moving = projects.iter().filter(|project| project.enrolled);
    let (send, receive, of) = moving.fold((0, 0, 0), |(send, receive, of), project| {
        let busy = u64::from(project.pending > 0 || project.behind > 0);
        (send + project.pending, receive + project.behind, of + busy)
    });
    let rows = match (send, receive) {
        (0, 0) => return format!("asking the cloud for news ({phase})"),
        (send, 0) => format!("{} to send", count(send, "row")),
        (0, receive) => format!("{} to receive", count(receive, "row")),
        (send, receive) => format!("{} to send, {receive} to receive", count(send, "row")),
    };
    let place = match projects {
        [one] => format!("in {}", one.project),
        _ => format!("in {}", count(of, "project")),
    };
    format!("{rows} {place} ({phase})")
}

fn next_attempt(report: &StatusReport, view: &View) -> Option<String> {
    let at = report.sync.next_attempt_at.as_deref().filter(|_| report.sync.phase == Phase::Backoff)?;
    Some(format!("Next attempt {}.", view.moment.ahead(at)?))
}

/// Says what happened to a project last, either way.
pub(super) fn last_change(project: &ProjectStatus) -> Option<RowTime> {
    let times = [&project.last_push_at, &project.last_pull_at];
    times.into_iter().flatten().filter_map(|at| RowTime::parse(at)).max()
}

/// Says a finding: code, message, since when, and the command.
pub(super) fn finding_parts(finding: &Finding, view: &View) -> Vec<String> {
    let mut parts = vec![format!("{} – {}", finding.code, said(finding, view))];
    parts.extend(finding.hint.as_ref().map(|hint| format!("Run: {}", text::clean_line(hint))));
    parts
}

fn said(finding: &Finding, view: &View) -> String {
    let message = text::clean_line(&finding.message);
    let message = message.trim_end_matches('.');
    let since = view.moment.clock(&finding.since);
    // These two are what is, not what happened: they have no beginning worth telling.
    let lasting = matches!(finding.code, ReasonCode::CloudNotConfigured | ReasonCode::NonEnrolledPendingMutations);
    if since.is_empty() || lasting || message.contains(" since ") {
        format!("{message}.")
    } else {
        format!("{message} since {since}.")
    }
}
