//! Memories: saved, changed, listed, found, in full.

use super::table::{Align, Cell, Table};
use super::{Paint, View, text};
use engram_proto::ipc::reply::{Changed, Found, Observation, PromptSaved, Related, SaveKind, Saved};

/// Snippets stand this far right, under their memory.
const INDENT: usize = 4;

/// A snippet takes no more lines.
const SNIPPET_LINES_MAX: usize = 2;

/// Wider lines are hard to read.
const CONTENT_WIDTH_MAX: usize = 100;

/// Renders a save on one line: what was done, id, sync id, project, session.
pub(crate) fn saved(saved: &Saved) -> String {
    let (done, revision) = match saved.outcome {
        SaveKind::Created => ("Saved", String::new()),
        SaveKind::Revised => ("Revised", format!(", revision {}", saved.revision_count)),
        SaveKind::Duplicate => ("Already saved:", String::new()),
    };
    one_line(&format!(
        "{done} {} ({}) in {}, session {}{revision}",
        saved.id, saved.sync_id, saved.project, saved.session_id
    ))
}

/// Renders a saved prompt on one line.
pub(crate) fn prompt_saved(saved: &PromptSaved) -> String {
    let PromptSaved { id, sync_id, project, session_id } = saved;
    one_line(&format!("Saved prompt {id} ({sync_id}) in {project}, session {session_id}"))
}

/// Renders a change on one line.
pub(crate) fn changed(changed: &Changed) -> String {
    let Changed { id, sync_id, project, outcome, revision_count } = changed;
    let (done, revision) = match outcome.as_str() {
        "updated" => ("Updated", format!(", revision {revision_count}")),
        "unchanged" => ("Unchanged:", String::new()),
        "deleted" => ("Deleted", String::new()),
        "hard_deleted" => ("Deleted for good:", String::new()),
        other => (other, String::new()),
    };
    one_line(&format!("{done} {id} ({sync_id}) in {project}{revision}"))
}

/// Renders a relation on one line.
pub(crate) fn related(related: &Related) -> String {
    let Related { sync_id, source_id, relation, target_id, project } = related;
    one_line(&format!("Related: {source_id} {relation} {target_id} ({sync_id}) in {project}"))
}

fn one_line(line: &str) -> String {
    text::clean_line(line) + "\n"
}

/// Renders a list; with projects where there can be several.
pub(crate) fn list(memories: &[Observation], across: bool, view: &View) -> String {
    if memories.is_empty() {
        return "No memories.\n".to_owned();
    }
    table(&memories.iter().collect::<Vec<_>>(), across, view).render(view)
}

/// Renders found memories, each with where the words stand in it.
pub(crate) fn found(found: &[Found], across: bool, view: &View) -> String {
    if found.is_empty() {
        return "Nothing found.\n".to_owned();
    }
    let memories: Vec<&Observation> = found.iter().map(|found| &found.observation).collect();
    let mut lines = table(&memories, across, view).lines(view).into_iter();
    let mut text = lines.next().unwrap_or_default() + "\n";
    for (line, found) in lines.zip(found) {
        text += &format!("{line}\n");
        for line in snippet(&found.snippet, view.width.saturating_sub(INDENT)) {
            text += &format!("{:INDENT$}{}\n", "", view.paint(&line, Paint::Faint));
        }
    }
    text
}

fn snippet(snippet: &str, columns: usize) -> Vec<String> {
    let clean = text::clean_line(snippet);
    if clean.is_empty() {
        return Vec::new();
    }
    let mut lines = text::wrap(&clean, columns);
    if lines.len() > SNIPPET_LINES_MAX {
        let rest = lines.split_off(SNIPPET_LINES_MAX - 1).join(" ");
        lines.push(text::fit(&rest, columns));
    }
    lines
}

fn table(memories: &[&Observation], across: bool, view: &View) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Right),
        ("TYPE", Align::Left),
        ("AGE", Align::Right),
        ("PROJECT", Align::Flexible),
        ("TITLE", Align::Flexible),
    ]);
    for memory in memories {
        let project = memory.project.as_deref().filter(|_| across).unwrap_or_default();
        let paint = if memory.deleted_at.is_some() { Paint::Faint } else { Paint::Plain };
        table.row(vec![
            Cell::new(&memory.id.to_string()),
            Cell::new(&text::fit(&text::clean_line(&memory.kind), 16)),
            Cell::new(&view.moment.age(memory.deleted_at.as_deref().unwrap_or(&memory.updated_at))),
            Cell::new(project),
            Cell::new(&memory.title).paint(paint),
        ]);
    }
    table.without_empty_columns()
}

/// Renders one memory: what is known about it, and its content.
pub(crate) fn full(memory: &Observation, view: &View) -> String {
    let when = |at: &str| match view.moment.date(at) {
        date if date.is_empty() => date,
        date => format!("{date} ({})", view.moment.ago(at)),
    };
    let changed = if memory.updated_at == memory.created_at { String::new() } else { when(&memory.updated_at) };
    let changed = match (changed.is_empty(), memory.revision_count) {
        (false, revisions) if revisions > 1 => format!("{changed}, revision {revisions}"),
        _ => changed,
    };
    let seen = match (memory.duplicate_count, &memory.last_seen_at) {
        (count, Some(at)) if count > 1 => format!("{count} times, last {}", view.moment.ago(at)),
        _ => String::new(),
    };
    let fields = [
        ("id", format!("{} ({})", memory.id, memory.sync_id)),
        ("type", memory.kind.clone()),
        ("project", memory.project.clone().unwrap_or_default()),
        ("scope", if memory.scope == "project" { String::new() } else { memory.scope.clone() }),
        ("session", memory.session_id.clone()),
        ("topic", memory.topic_key.clone().unwrap_or_default()),
        ("tool", memory.tool_name.clone().unwrap_or_default()),
        ("saved", when(&memory.created_at)),
        ("changed", changed),
        ("seen", seen),
        ("review", memory.review_after.as_deref().map(|at| view.moment.day(at)).unwrap_or_default()),
        ("deleted", memory.deleted_at.as_deref().map(when).unwrap_or_default()),
    ];
    let width = if view.wrap { view.width.min(CONTENT_WIDTH_MAX) } else { usize::MAX };
    let title = text::wrap(&text::clean_line(&memory.title), width).join("\n");
    let mut text = view.paint(&title, Paint::Strong) + "\n";
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        text += &format!("  {}  {}\n", view.paint(&format!("{name:<7}"), Paint::Faint), text::clean_line(value));
    }
    text.push('\n');
    for line in text::clean_block(&memory.content).lines().flat_map(|line| text::wrap(line, width)) {
        text += &line;
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
