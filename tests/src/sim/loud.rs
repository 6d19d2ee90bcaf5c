//! LOUD-1: where sync makes no progress, the report says why, since when, and what to do.

use super::device::Device;
use super::laws::Law;
use engram_proto::health::StatusReport;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::reason::{Finding, ProjectState, ReasonCode, Severity};
use engram_proto::time::RowTime;
use engramd_core::Event;
use engramd_core::health::Who;
use std::collections::BTreeSet;

/// Rows may wait so long with nothing under way before the report has to say why, in milliseconds: what is only a
/// warning may take 60 s to show, and a cycle looks at everything every 30 s.
const SILENCE_MS: u64 = 95_000;

/// How long a device has waited without a word.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    /// When it was looked at last, in milliseconds.
    looked_ms: u64,
    /// So long nothing was under way while rows waited, in milliseconds.
    idle_ms: u64,
}

impl Silence {
    /// Hears of an event; one that is an answer is progress.
    pub(super) fn heard(&mut self, event: &Event, now_ms: u64) {
        self.looked_ms = now_ms;
        if matches!(event, Event::Probed(Ok(_)) | Event::Sent(Ok(_)) | Event::Pulled(Ok(_))) {
            self.idle_ms = 0;
        }
    }

    /// Tells how long a device waited by now, with nothing under way since it was looked at last.
    fn with(self, now_ms: u64) -> u64 {
        self.idle_ms + now_ms.saturating_sub(self.looked_ms)
    }
}

/// Looks at a device that wakes by itself, with nothing under way: rows that wait too long, and nobody says why.
pub(super) fn nothing_is_silent(device: &mut Device, now_ms: u64) -> Result<(), Law> {
    let enrolled = device.store.enrolled().expect("enrolled");
    let Some(project) = enrolled.iter().find(|project| device.books.waits(project)) else { return Ok(()) };
    device.silence.idle_ms = device.silence.with(now_ms);
    device.silence.looked_ms = now_ms;
    let report = device.machine.report(&Who::default());
    findings_are_whole(&device.name, &report)?;
    let tells = |finding: &Finding| finding.project.as_deref().is_none_or(|name| name == project.as_str());
    if report.findings.iter().any(tells) {
        device.silence.idle_ms = 0;
    }
    if device.silence.idle_ms <= SILENCE_MS {
        return Ok(());
    }
    let what = format!("{} says nothing of rows of {project} that wait for {} ms", device.name, device.silence.idle_ms);
    Err(Law::new("LOUD-1", what))
}

/// Every finding has one code, names what it is about, since when, and where somebody has to act a command.
pub(super) fn findings_are_whole(name: &str, report: &StatusReport) -> Result<(), Law> {
    let mut told = BTreeSet::new();
    for finding in &report.findings {
        let wrong = if !told.insert((finding.code.to_string(), finding.project.clone())) {
            "is told twice"
        } else if finding.message.trim().is_empty() {
            "has no words"
        } else if RowTime::parse(&finding.since).is_none() {
            "does not say since when"
        } else if finding.severity > Severity::Info && !has_command(finding) {
            "names no command"
        } else {
            continue;
        };
        return Err(Law::new("LOUD-1", format!("a finding of {name} {wrong}: {finding:?}")));
    }
    Ok(())
}

fn has_command(finding: &Finding) -> bool {
    finding.hint.as_deref().is_some_and(|hint| hint.starts_with("engramctl ") && !hint.contains('{'))
}

/// In the calm nothing is wrong any more but what is set aside, and clocks; and what is set aside is said.
pub(super) fn calm_is_said(device: &Device) -> Result<(), Law> {
    let report = device.machine.report(&Who::default());
    findings_are_whole(&device.name, &report)?;
    let loud_1 = |what: String| Err(Law::new("LOUD-1", format!("{}: {what}", device.name)));
    let held = device.store.held().expect("held rows");
    let is_held = |kind| held.iter().any(|row| row.kind == kind);
    let codes = [
        (ReasonCode::RowUndeliverable, is_held(HeldKind::Dead)),
        (ReasonCode::DeferredWaiting, is_held(HeldKind::Deferred)),
        (ReasonCode::RowRejected, is_held(HeldKind::Quarantined)),
    ];
    for (code, is_so) in codes {
        let is_said = report.findings.iter().any(|finding| finding.code == code);
        // What waits for a parent shows after a while.
        if is_said && !is_so || is_so && !is_said && code == ReasonCode::RowUndeliverable {
            return loud_1(format!("{code} is said: {is_said}, is so: {is_so}"));
        }
    }
    let known: Vec<_> = codes.iter().map(|(code, _)| *code).chain([ReasonCode::ClockSkew]).collect();
    if let Some(finding) = report.findings.iter().find(|finding| !known.contains(&finding.code)) {
        return loud_1(format!("in the calm it says {finding:?}"));
    }
    let is_at_rest = |state| matches!(state, ProjectState::Healthy | ProjectState::Degraded);
    match report.projects.iter().find(|project| project.enrolled && !is_at_rest(project.state)) {
        Some(project) => loud_1(format!("in the calm it says {project:?}")),
        None => Ok(()),
    }
}
