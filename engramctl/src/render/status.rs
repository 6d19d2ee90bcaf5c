//! One screen: the verdict, what else is not as it should be, the projects.

use super::verdict::{finding_parts, labelled, verdict};
use super::{Paint, View, projects};
use engram_proto::health::StatusReport;
use engram_proto::reason::Severity;

/// Renders the report; `only` where it is about one project.
pub(crate) fn report(report: &StatusReport, only: bool, view: &View) -> String {
    let verdict = verdict(report, only, view);
    let mut text = verdict.render(view);
    for finding in
        report.findings.iter().filter(|finding| !verdict.told.is_some_and(|told| std::ptr::eq(told, *finding)))
    {
        let (word, paint) = match finding.severity {
            Severity::Error => ("Error", Paint::Error),
            Severity::Warning => ("Warning", Paint::Warning),
            Severity::Info => ("Note", Paint::Faint),
        };
        text += &labelled(word, paint, finding_parts(finding, view), view);
    }
    let table = projects::interesting(&report.projects, view);
    if !table.is_empty() {
        text.push('\n');
        text += &table;
    }
    text
}

/// Draws a screen over the one before, without a flicker.
pub(crate) fn redraw(text: &str, first: bool) -> String {
    let clear = if first { "\x1b[2J" } else { "" };
    format!("{clear}\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

#[cfg(test)]
mod tests;
