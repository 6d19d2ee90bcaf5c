//! Versions that lost a conflict.

use super::table::{Align, Cell, Table};
use super::{Paint, View, text};
use engram_proto::ipc::conflict::{ConflictDetail, ConflictRow, Restored};
use serde_json::{Map, Value};

/// What a version says stands this far right, under its name.
const INDENT: usize = 4;

/// Fields that tell nothing about what was written: names that both versions share, times and counts.
const BESIDE_THE_POINT: [&str; 12] = [
    "sync_id",
    "id",
    "project",
    "session_id",
    "source_id",
    "target_id",
    "created_at",
    "last_seen_at",
    "duplicate_count",
    "revision_count",
    "started_at",
    "hard_delete",
];

/// Renders the lost versions, each with its line below it.
pub(crate) fn list(rows: &[ConflictRow], view: &View) -> String {
    if rows.is_empty() {
        return "No conflicts.\n".to_owned();
    }
    let mut table = Table::new(&[
        ("ID", Align::Right),
        ("PROJECT", Align::Flexible),
        ("LOST VERSION OF", Align::Flexible),
        ("AGE", Align::Right),
    ]);
    for row in rows {
        table.row(vec![
            Cell::new(&row.id.to_string()),
            Cell::new(&row.project),
            Cell::new(&format!("{} {}", row.entity, row.entity_key)),
            Cell::new(&view.moment.age(&row.since)),
        ]);
    }
    let mut lines = table.lines(view).into_iter();
    let mut text = lines.next().unwrap_or_default() + "\n";
    for (line, row) in lines.zip(rows) {
        let said = if row.op == "delete" { "deleted it".to_owned() } else { text::clean_line(&row.title) };
        let said = text::fit(&said, view.width.saturating_sub(INDENT));
        text += &format!("{line}\n{:INDENT$}{}\n", "", view.paint(&said, Paint::Faint));
    }
    text
}

/// Renders one lost version, and what is held in its place: only the fields in which they differ.
pub(crate) fn detail(detail: &ConflictDetail, view: &View) -> String {
    let row = &detail.row;
    let since = format!("{} ({})", view.moment.date(&row.since), view.moment.ago(&row.since));
    let mut text = format!("{} {}\n", view.paint("Conflict", Paint::Strong), row.id);
    for (name, value) in
        [("project", row.project.clone()), ("about", format!("{} {}", row.entity, row.entity_key)), ("since", since)]
    {
        text += &format!("  {name:<7}  {}\n", text::clean_line(&value));
    }
    let lost = fields(&detail.payload);
    let current = detail.current.as_ref().map(|current| (current.op.as_str(), fields(&current.payload)));
    let held = current.as_ref().map(|(_, held)| held);
    text += &version("Lost", &row.op, &lost, held, view);
    match &current {
        Some((op, held)) => text += &version("Held now", op, held, Some(&lost), view),
        None => text += "\nHeld now:\n    (its text is not here)\n",
    }
    text + &format!("\nTo write the lost version again: engramctl conflicts restore {}\n", row.id)
}

/// Renders a restored version on one line.
pub(crate) fn restored(restored: &Restored) -> String {
    let Restored { id, project, entity, entity_key, outcome } = restored;
    let line = match outcome.as_str() {
        "unchanged" => format!("Nothing to restore: {entity} {entity_key} in {project} says the same (conflict {id})"),
        "deleted" => format!("Deleted {entity} {entity_key} in {project}, as conflict {id} had it"),
        _ => format!("Restored {entity} {entity_key} in {project} from conflict {id}"),
    };
    text::clean_line(&line) + "\n"
}

fn fields(payload: &str) -> Map<String, Value> {
    match serde_json::from_str(payload) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn version(
    name: &str,
    op: &str,
    fields: &Map<String, Value>,
    other: Option<&Map<String, Value>>,
    view: &View,
) -> String {
    let mut text = format!("\n{}:\n", view.paint(name, Paint::Strong));
    if op == "delete" {
        return text + &format!("{:INDENT$}(deleted)\n", "");
    }
    let differs = |name: &str, value: &Value| other.is_none_or(|other| other.get(name) != Some(value));
    let told = fields.iter().filter(|(name, value)| {
        !BESIDE_THE_POINT.contains(&name.as_str()) && differs(name, value) && **value != Value::String(String::new())
    });
    for (name, value) in told {
        text += &field(name, value, view);
    }
    text
}

/// Renders a field: a short one on its line, a long one below its name.
fn field(name: &str, value: &Value, view: &View) -> String {
    let said = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let block = text::clean_block(&said);
    let columns = if view.wrap { view.width.saturating_sub(INDENT + 2) } else { usize::MAX };
    let line = format!("{:INDENT$}{}: {block}", "", text::clean_line(name));
    if !block.contains('\n') && text::width(&line) <= view.width {
        return line + "\n";
    }
    let lines = block.lines().flat_map(|line| text::wrap(line, columns));
    let below: String = lines.map(|line| format!("{:1$}{line}\n", "", INDENT + 2)).collect();
    format!("{:INDENT$}{}:\n{below}", "", text::clean_line(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture::VIEW;
    use engram_proto::ipc::conflict::CurrentVersion;

    fn row() -> ConflictRow {
        ConflictRow {
            id: 3,
            project: "app".to_owned(),
            entity: "observation".to_owned(),
            entity_key: "obs-4f1c2a90b3d7e6f1".to_owned(),
            op: "upsert".to_owned(),
            title: "Use WAL \u{1b}[2J".to_owned(),
            since: "2026-11-22T12:02:11Z".to_owned(),
        }
    }

    #[test]
    fn lost_versions_have_their_line_below() {
        let delete = ConflictRow { id: 14, op: "delete".to_owned(), title: String::new(), ..row() };
        let text = list(&[row(), delete], &VIEW);
        assert_eq!(
            text,
            "\
ID  PROJECT  LOST VERSION OF                   AGE
 3  app      observation obs-4f1c2a90b3d7e6f1  2 h
    Use WAL \u{241b}[2J
14  app      observation obs-4f1c2a90b3d7e6f1  2 h
    deleted it
"
        );
        assert!(text.lines().all(|line| text::width(line) <= 80));
        assert_eq!(list(&[], &VIEW), "No conflicts.\n");
    }

    #[test]
    fn two_versions_in_full_say_where_they_differ() {
        let payload = r#"{"sync_id":"o","title":"mine","content":"one\ntwo","type":"decision","topic_key":""}"#;
        let held = r#"{"sync_id":"o","title":"theirs","content":"three","type":"decision","tool_name":"x"}"#;
        let current = Some(CurrentVersion { op: "upsert".to_owned(), payload: held.to_owned() });
        let detail = ConflictDetail { row: row(), payload: payload.to_owned(), current };
        assert_eq!(
            super::detail(&detail, &VIEW),
            "\
Conflict 3
  project  app
  about    observation obs-4f1c2a90b3d7e6f1
  since    2026-11-22 12:02 (2 h ago)

Lost:
    content:
      one
      two
    title: mine

Held now:
    content: three
    title: theirs
    tool_name: x

To write the lost version again: engramctl conflicts restore 3
"
        );
        let gone = Some(CurrentVersion { op: "delete".to_owned(), payload: "{}".to_owned() });
        let text = super::detail(&ConflictDetail { current: gone, ..detail }, &VIEW);
        assert!(text.contains("Held now:\n    (deleted)\n"), "{text}");
    }
}
