//! Rows that were set aside, with their evidence.

use super::table::{Align, Cell, Table};
use super::{Paint, View, text};
use engram_proto::ipc::reply::{HeldDetail, HeldKind, HeldRow};

/// The evidence stands this far right, under its row.
const INDENT: usize = 4;

/// Renders the rows, each with its evidence below it.
pub(crate) fn list(rows: &[HeldRow], view: &View) -> String {
    if rows.is_empty() {
        return "Nothing is held.\n".to_owned();
    }
    let mut table = Table::new(&[
        ("ID", Align::Right),
        ("KIND", Align::Left),
        ("PROJECT", Align::Flexible),
        ("ROW", Align::Flexible),
        ("AGE", Align::Right),
        ("REASON", Align::Left),
    ]);
    for row in rows {
        table.row(vec![
            Cell::new(&row.id.to_string()),
            Cell::new(row.kind.as_str()).paint(paint(row.kind)),
            Cell::new(&row.project),
            Cell::new(&format!("{} {} {}", row.op, row.entity, row.entity_key)),
            Cell::new(&view.moment.age(&row.since)),
            Cell::new(&row.reason_code),
        ]);
    }
    let mut lines = table.lines(view).into_iter();
    let mut text = lines.next().unwrap_or_default() + "\n";
    for (line, row) in lines.zip(rows) {
        let evidence = text::fit(&why(row), view.width.saturating_sub(INDENT));
        text += &format!("{line}\n{:INDENT$}{}\n", "", view.paint(&evidence, Paint::Faint));
    }
    text
}

fn why(row: &HeldRow) -> String {
    let evidence = text::clean_line(&row.evidence);
    match row.waits_for.as_deref().map(text::clean_line) {
        Some(parent) if evidence.is_empty() => format!("waits for {parent}"),
        Some(parent) => format!("waits for {parent}: {evidence}"),
        None => evidence,
    }
}

fn paint(kind: HeldKind) -> Paint {
    if kind == HeldKind::Deferred { Paint::Warning } else { Paint::Error }
}

/// Renders one row with all that is known of it.
pub(crate) fn detail(detail: &HeldDetail, view: &View) -> String {
    let row = &detail.row;
    let seq = if row.kind == HeldKind::Quarantined { "journal seq" } else { "cloud seq" };
    let since = format!("{} ({})", view.moment.date(&row.since), view.moment.ago(&row.since));
    let fields = [
        ("project", row.project.clone()),
        ("row", format!("{} {} {}", row.op, row.entity, row.entity_key)),
        (seq, detail.seq.to_string()),
        ("reason", row.reason_code.clone()),
        ("since", since),
        ("waits for", row.waits_for.clone().unwrap_or_default()),
    ];
    let mut text = format!("{} {}\n", view.paint("Held row", Paint::Strong), row.id);
    text += &format!("  {:<11}  {}\n", "kind", view.paint(row.kind.as_str(), paint(row.kind)));
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        text += &format!("  {name:<11}  {}\n", text::clean_line(value));
    }
    text += &format!("\nEvidence:\n{}\n", indented(&text::clean_block(&row.evidence), view));
    text + &format!("\nPayload:\n{}\n", indented(&text::clean_block(&pretty(&detail.payload)), view))
}

fn pretty(payload: &str) -> String {
    serde_json::from_str::<serde_json::Value>(payload)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| payload.to_owned())
}

fn indented(block: &str, view: &View) -> String {
    let columns = if view.wrap { view.width.saturating_sub(2) } else { usize::MAX };
    let lines = block.lines().flat_map(|line| text::wrap(line, columns));
    lines.map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture::VIEW;

    fn row() -> HeldRow {
        HeldRow {
            id: 3,
            kind: HeldKind::Quarantined,
            reason_code: "row_rejected".to_owned(),
            project: "app".to_owned(),
            entity: "observation".to_owned(),
            entity_key: "obs-4f1c2a90b3d7e6f1".to_owned(),
            op: "upsert".to_owned(),
            evidence: "HTTP 422: {\"error\":\"title is required\"}".to_owned(),
            waits_for: None,
            since: "2026-11-22T12:02:11Z".to_owned(),
        }
    }

    #[test]
    fn rows_have_their_evidence_below() {
        let waiting = HeldRow {
            id: 14,
            kind: HeldKind::Deferred,
            reason_code: "deferred_waiting".to_owned(),
            evidence: String::new(),
            waits_for: Some("session s-9".to_owned()),
            ..row()
        };
        let text = list(&[row(), waiting], &VIEW);
        assert_eq!(
            text,
            "\
ID  KIND         PROJECT  ROW                              AGE  REASON
 3  quarantined  app      upsert observation obs-4f1c2a9…  2 h  row_rejected
    HTTP 422: {\"error\":\"title is required\"}
14  deferred     app      upsert observation obs-4f1c2a9…  2 h  deferred_waiting
    waits for session s-9
"
        );
        assert!(text.lines().all(|line| text::width(line) <= 80));
        assert_eq!(list(&[], &VIEW), "Nothing is held.\n");
    }

    #[test]
    fn one_row_in_full() {
        let detail = super::detail(&HeldDetail { row: row(), seq: 41, payload: r#"{"title":""}"#.to_owned() }, &VIEW);
        assert_eq!(
            detail,
            "\
Held row 3
  kind         quarantined
  project      app
  row          upsert observation obs-4f1c2a90b3d7e6f1
  journal seq  41
  reason       row_rejected
  since        2026-11-22 12:02 (2 h ago)

Evidence:
  HTTP 422: {\"error\":\"title is required\"}

Payload:
  {
    \"title\": \"\"
  }
"
        );
    }
}
