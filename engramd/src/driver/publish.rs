//! What the world sees of the loop: the report, the events, the log (LOUD-2: the same words everywhere, from one place).

use super::events::EventLog;
use super::handle::Published;
use crate::clock;
use engram_proto::health::StatusReport;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::EventLine;
use engram_proto::reason::{Finding, Severity};
use engram_proto::time::rfc3339_from_ms;
use std::sync::Arc;
use tokio::sync::watch;

/// What `sync_state` should say, in the peer's words for a lifecycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowState {
    pub lifecycle: &'static str,
    pub reason: Option<(String, String)>,
    pub failures: u32,
}

/// Publishes reports and tells what changed between them.
#[derive(Debug)]
pub(super) struct Publisher {
    report: watch::Sender<Published>,
    events: Arc<EventLog>,
    findings: Vec<Finding>,
    row: Option<RowState>,
}

impl Publisher {
    pub(super) fn new(report: StatusReport) -> (Self, watch::Receiver<Published>, Arc<EventLog>) {
        let (sender, receiver) = watch::channel(Published { report: Arc::new(report), at_ms: clock::mono_ms() });
        let events = Arc::new(EventLog::new());
        let publisher = Self { report: sender, events: Arc::clone(&events), findings: Vec::new(), row: None };
        (publisher, receiver, events)
    }

    /// Publishes a report; returns what the database row should say when that is news and the row can be written, which
    /// takes the lease: what was so before it was granted is told afterwards.
    pub(super) fn publish(&mut self, report: StatusReport, can_write: bool) -> Option<RowState> {
        self.tell_findings(&report.findings);
        let state = row_state(&report);
        self.report.send_if_modified(|published| {
            let changed = differs(&published.report, &report);
            *published = Published { report: Arc::new(report), at_ms: clock::mono_ms() };
            changed
        });
        (can_write && self.row.as_ref() != Some(&state)).then(|| {
            self.row = Some(state.clone());
            state
        })
    }

    pub(super) fn event(&self, kind: &'static str, project: Option<&ProjectName>, message: String) {
        tracing::info!(kind, project = project.map(ProjectName::as_str), "{message}");
        self.add(kind, project.map(ToString::to_string), message);
    }

    fn add(&self, kind: &str, project: Option<String>, message: String) {
        let at = rfc3339_from_ms(clock::now().wall_ms);
        self.events.add(EventLine { at, kind: kind.to_owned(), project, message });
    }

    fn tell_findings(&mut self, findings: &[Finding]) {
        let same = |a: &Finding, b: &Finding| a.code == b.code && a.project == b.project;
        for finding in findings.iter().filter(|new| !self.findings.iter().any(|old| same(old, new))) {
            let (code, project, message) = (finding.code.as_str(), finding.project.as_deref(), &finding.message);
            match finding.severity {
                Severity::Error => tracing::error!(reason_code = code, project, "{message}"),
                Severity::Warning => tracing::warn!(reason_code = code, project, "{message}"),
                Severity::Info => tracing::info!(reason_code = code, project, "{message}"),
            }
            self.add("finding", finding.project.clone(), format!("{code}: {message}"));
        }
        for finding in self.findings.iter().filter(|old| !findings.iter().any(|new| same(old, new))) {
            tracing::info!(reason_code = finding.code.as_str(), project = finding.project.as_deref(), "is over");
            self.add("cleared", finding.project.clone(), format!("{} is over", finding.code));
        }
        self.findings = findings.to_vec();
    }
}

fn differs(a: &StatusReport, b: &StatusReport) -> bool {
    let without_tick = |report: &StatusReport| {
        let mut report = report.clone();
        report.daemon.loop_ticked_at.clear();
        report
    };
    without_tick(a) != without_tick(b)
}

fn row_state(report: &StatusReport) -> RowState {
    let reason = report.findings.iter().find(|finding| finding.severity > Severity::Info);
    let lifecycle = match (reason, report.totals.pending) {
        _ if !report.cloud.configured => "idle",
        (Some(_), _) => "degraded",
        (None, 0) => "healthy",
        (None, _) => "pending",
    };
    let reason = reason.map(|finding| (finding.code.to_string(), finding.message.clone()));
    RowState { lifecycle, reason, failures: report.sync.attempt }
}
