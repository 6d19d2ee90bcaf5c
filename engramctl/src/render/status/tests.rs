//! How the status reads at 80 columns.

use super::*;
use crate::render::fixture::VIEW;
use crate::render::text;
use engram_proto::health::{CloudStatus, DaemonStatus, LeaseStatus, ProjectStatus, SyncStatus, Totals};
use engram_proto::reason::{Desired, Finding, Health, Phase, ProjectState, ReasonCode, Scope};

fn project(name: &str) -> ProjectStatus {
    ProjectStatus {
        project: name.to_owned(),
        enrolled: true,
        state: ProjectState::Healthy,
        reason_code: None,
        pending: 0,
        oldest_pending_at: None,
        deferred: 0,
        quarantined: 0,
        dead: 0,
        cursor: 812,
        head: 812,
        behind: 0,
        repaired: 0,
        last_push_at: Some("2026-11-22T14:29:48Z".to_owned()),
        last_pull_at: Some("2026-11-22T13:00:00Z".to_owned()),
    }
}

fn all_is_well() -> StatusReport {
    StatusReport {
        schema: 1,
        daemon: DaemonStatus { healthy: true, ..DaemonStatus::default() },
        cloud: CloudStatus { configured: true, reachable: Some(true), ..CloudStatus::default() },
        sync: SyncStatus {
            phase: Phase::Waiting,
            health: Health::Healthy,
            desired: Desired::Running,
            attempt: 0,
            next_attempt_at: None,
            last_success_at: None,
            last_push_at: None,
            last_pull_at: None,
            lease: LeaseStatus::default(),
        },
        findings: Vec::new(),
        projects: vec![project("app"), project("engram"), project("web")],
        totals: Totals::default(),
    }
}

fn finding(code: ReasonCode, severity: Severity, project: Option<&str>, message: &str, hint: &str) -> Finding {
    Finding {
        code,
        severity,
        scope: if project.is_some() { Scope::Project } else { Scope::Cloud },
        project: project.map(str::to_owned),
        title: String::new(),
        message: message.to_owned(),
        since: "2026-11-22T14:02:00Z".to_owned(),
        hint: Some(hint.to_owned()),
    }
}

#[test]
fn healthy() {
    assert_eq!(
        report(&all_is_well(), false, &VIEW),
        "\
Healthy: 3 projects in sync, last change 12 s ago

PROJECT  STATE    LAST CHANGE
app      healthy  12 s ago
engram   healthy  12 s ago
web      healthy  12 s ago
"
    );
}

#[test]
fn degraded_names_the_reason_since_when_and_one_command() {
    let mut given = all_is_well();
    let refused = "the token for https://engram.example.org was refused";
    given.findings = vec![
        finding(ReasonCode::AuthRequired, Severity::Error, None, refused, "engramctl cloud login"),
        finding(
            ReasonCode::RowRejected,
            Severity::Warning,
            Some("app"),
            "app: 2 rows were refused.",
            "engramctl held list",
        ),
        finding(ReasonCode::DeferredWaiting, Severity::Info, Some("web"), "web: 1 row waits", "engramctl held list"),
    ];
    given.projects.truncate(1);
    given.projects[0].state = ProjectState::Degraded;
    given.projects[0].reason_code = Some(ReasonCode::RowRejected);
    given.projects[0].quarantined = 2;
    given.projects[0].pending = 14;
    assert_eq!(
        report(&given, false, &VIEW),
        "\
Degraded: auth_required – the token for https://engram.example.org was refused
  since 14:02. Run: engramctl cloud login
Warning: row_rejected – app: 2 rows were refused since 14:02.
  Run: engramctl held list
Note: deferred_waiting – web: 1 row waits since 14:02. Run: engramctl held list

PROJECT  STATE     TO SEND  HELD  LAST CHANGE  REASON
app      degraded       14     2  12 s ago     row_rejected
"
    );
}

#[test]
fn backoff_says_when_it_tries_again() {
    let mut given = all_is_well();
    let down = finding(ReasonCode::TransportFailed, Severity::Error, None, "c:443 refuses", "engramctl sync");
    given.findings = vec![down];
    given.sync.phase = Phase::Backoff;
    given.sync.next_attempt_at = Some("2026-11-22T14:30:32Z".to_owned());
    let text = report(&given, false, &VIEW);
    let head = "Degraded: transport_failed – c:443 refuses since 14:02. Run: engramctl sync\n  Next attempt in 32 s.\n";
    assert!(text.starts_with(head), "{text}");
}

#[test]
fn pending_counts_both_ways() {
    let mut given = all_is_well();
    given.sync.health = Health::Pending;
    given.sync.phase = Phase::Pushing;
    given.projects[0].state = ProjectState::Pending;
    given.projects[0].pending = 12;
    given.projects[1].state = ProjectState::Pending;
    given.projects[1].behind = 3;
    let text = report(&given, false, &VIEW);
    assert!(text.starts_with("Pending: 12 rows to send, 3 to receive in 2 projects (pushing)\n"), "{text}");
    assert!(text.contains("PROJECT  STATE    TO SEND  TO RECEIVE  LAST CHANGE\n"));
}

#[test]
fn paused_and_not_configured() {
    let mut given = all_is_well();
    given.sync.desired = Desired::Paused;
    given.findings =
        vec![finding(ReasonCode::Paused, Severity::Info, None, "sync is paused: on a train", "engramctl resume")];
    let text = report(&given, false, &VIEW);
    assert!(text.starts_with("Paused: all of sync since 14:02 (on a train). Run: engramctl resume\n\n"), "{text}");

    let mut given = all_is_well();
    given.cloud.configured = false;
    given.projects.clear();
    given.findings =
        vec![finding(ReasonCode::CloudNotConfigured, Severity::Info, None, "no URL", "engramctl cloud login")];
    assert_eq!(
        report(&given, false, &VIEW),
        "Not configured: no cloud is known, memories stay on this machine.\n  Run: engramctl cloud login --server URL\n"
    );
}

#[test]
fn one_project_has_its_own_verdict() {
    let mut given = all_is_well();
    given.sync.health = Health::Pending;
    given.projects.truncate(1);
    assert!(report(&given, true, &VIEW).starts_with("Healthy: app in sync, last change 12 s ago\n"));
    given.projects[0].state = ProjectState::NotEnrolled;
    given.projects[0].enrolled = false;
    given.projects[0].pending = 1;
    let text = report(&given, true, &VIEW);
    assert!(text.starts_with("Not enrolled: app stays on this machine, 1 row. Run: engramctl enroll app\n"), "{text}");
}

#[test]
fn every_screen_fits_80_columns_and_runs_no_escape() {
    let mut given = all_is_well();
    let message = format!("{} \x1b[2J said so", "a-very-long-host-name.".repeat(8));
    given.findings = vec![finding(ReasonCode::TransportFailed, Severity::Error, None, &message, "engramctl sync")];
    given.projects[0].project = "p".repeat(90);
    given.projects[0].reason_code = Some(ReasonCode::NonEnrolledPendingMutations);
    let text = report(&given, false, &VIEW);
    assert!(text.lines().all(|line| text::width(line) <= 80), "{text}");
    assert!(!text.contains('\x1b'));
}

#[test]
fn a_redraw_clears_what_was_there() {
    assert_eq!(redraw("a\nb\n", true), "\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    assert_eq!(redraw("a\n", false), "\x1b[Ha\x1b[K\n\x1b[J");
}
