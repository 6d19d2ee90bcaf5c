//! What became of chunk files: one line that says it, and one for each thing that needs somebody.

use super::verdict::labelled;
use super::{Paint, View, count, text};
use crate::cmd::chunks::{Exported, Imported, Prepared, Skipped, State, Verified, Written};
use engram_proto::words;

/// So many are named; `--json` has them all.
const NAMED_MAX: usize = 20;

/// Says how far a long import is.
pub(crate) fn progress(done: usize, all: usize, rows: u64) -> String {
    format!("chunk {} of {all}, {}", done + 1, count(rows, "row"))
}

/// Says how far a long export is.
pub(crate) fn rows(done: usize) -> String {
    count(done as u64, "row")
}

/// Renders an import.
pub(crate) fn imported(imported: &Imported, is_of_many: bool, view: &View) -> String {
    let from = if is_of_many { format!("from {}: ", text::clean_line(&imported.dir)) } else { String::new() };
    let sums = format!(
        "{from}{}, {}, {} changed, {} held, {} skipped.",
        count(imported.chunks, "chunk"),
        count(imported.rows, "row"),
        imported.changed,
        imported.held,
        imported.skipped.len()
    );
    let mut text = match imported.outcome {
        "nothing" => labelled("Imported", Paint::Good, vec![format!("{from}nothing new.")], view),
        "imported" => labelled("Imported", Paint::Good, vec![sums], view),
        _ => labelled("Partial", Paint::Warning, vec![sums], view),
    };
    if let Some(why) = &imported.manifest {
        let parts = vec![format!("{why}; the chunks themselves were read."), "Run: engramctl chunks export".to_owned()];
        text += &labelled("Manifest", Paint::Warning, parts, view);
    }
    text += &skipped("skipped", &imported.skipped);
    if imported.is_any_lost {
        text += &restore(&imported.dir, view);
    }
    for row in &imported.held_rows {
        text += &format!("  held     {}\n", text::clean_line(row));
    }
    if imported.held_more > 0 {
        text += &format!("  held     and {} more\n", imported.held_more);
    }
    if imported.held > 0 {
        text += &labelled("Held", Paint::Warning, vec!["Run: engramctl held list".to_owned()], view);
    }
    text
}

/// Renders an export.
pub(crate) fn exported(exported: &Exported, view: &View) -> String {
    let of =
        exported.project.as_ref().map_or_else(String::new, |name| format!(" of project {}", text::clean_line(name)));
    let chunks = &exported.chunks;
    let mut sums = if chunks.is_empty() {
        let made = if exported.manifest_written { "; the manifest was made again" } else { "" };
        format!("{}{of}{made}", if exported.is_unknown { "nothing here is" } else { "nothing new" })
    } else {
        let sum = |of: fn(&Written) -> u64, noun| count(chunks.iter().map(of).sum(), noun);
        format!(
            "{}{of}, {}, {}, {}, {}",
            count(chunks.len() as u64, "chunk"),
            sum(|chunk| chunk.sessions, "session"),
            sum(|chunk| chunk.memories, "memory"),
            sum(|chunk| chunk.prompts, "prompt"),
            sum(|chunk| chunk.mutations, "other change"),
        )
    };
    let is_partial = exported.outcome == "partial";
    if is_partial || !chunks.is_empty() {
        sums += &format!(", {} skipped", exported.skipped.len());
    }
    let mut parts = vec![sums + "."];
    if exported.is_unknown && chunks.is_empty() {
        parts.push("Run: engramctl projects".to_owned());
    }
    let (word, paint) = if is_partial { ("Partial", Paint::Warning) } else { ("Exported", Paint::Good) };
    // Scripts find all of it in one line.
    let width = if view.wrap { view.width } else { usize::MAX };
    let mut text = labelled(word, paint, parts, &View { width, ..*view });
    for chunk in chunks {
        text += &format!("  chunk    {}\n", chunk.id);
    }
    for id in &exported.adopted {
        text += &format!("  listed   {id}\n");
    }
    text += &skipped("skipped", &exported.skipped);
    if exported.manifest_written {
        text += &format!("  commit   git add {}\n", text::clean_line(&words::quoted(&exported.dir)));
    }
    text
}

/// Renders what lies there.
pub(crate) fn state(state: &State, view: &View) -> String {
    let sums = format!(
        "{} in {}, {} to import, {} to export.",
        count(state.chunks, "chunk"),
        text::clean_line(&state.dir),
        state.to_import,
        count(state.to_export, "row")
    );
    let mut text = labelled("Chunks", Paint::Strong, vec![sums], view);
    if state.to_import > 0 {
        text += &labelled("Import", Paint::Warning, vec!["Run: engramctl chunks import".to_owned()], view);
    }
    if let Some(why) = &state.manifest {
        let parts = vec![format!("{why}."), "Run: engramctl chunks export".to_owned()];
        text += &labelled("Manifest", Paint::Warning, parts, view);
    }
    for id in &state.unlisted {
        text += &format!("  unlisted {id}\n");
    }
    text += &(skipped("missing", &state.missing) + &skipped("refused", &state.refused));
    if !(state.missing.is_empty() && state.refused.is_empty()) {
        text += &restore(&state.dir, view);
    }
    text
}

/// Renders a check.
pub(crate) fn verified(verified: &Verified, view: &View) -> String {
    let sums = format!("{}, {}.", count(verified.chunks, "chunk"), count(verified.rows, "row"));
    let verdict = match verified.outcome {
        "ok" => labelled("Verified", Paint::Good, vec![sums], view),
        _ => labelled("Partial", Paint::Warning, vec![sums], view),
    };
    let restore = if verified.is_any_lost { restore(&verified.dir, view) } else { String::new() };
    verdict + &skipped("problem", &verified.problems) + &restore
}

/// Says how files that are missing or damaged come back.
fn restore(dir: &str, view: &View) -> String {
    let command = text::clean_line(&words::command_line(&["git", "-C", dir, "restore", "chunks"]));
    let parts = vec![
        "git has what was committed.".to_owned(),
        format!("Run: {command}"),
        "One that was committed so is to be removed: its rows go out again with the next export of a machine that has them."
            .to_owned(),
    ];
    labelled("Restore", Paint::Warning, parts, view)
}

/// Renders what is prepared, and what is left to do.
pub(crate) fn prepared(prepared: &Prepared, view: &View) -> String {
    let mut parts = vec![format!("{} is ready.", text::clean_line(&prepared.dir))];
    let git = |args: &[&str], paths: &[String]| {
        let at: &[&str] = if prepared.is_at_root { &[] } else { &["-C", &prepared.repository] };
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        text::clean_line(&words::command_line(&[&["git"], at, args, &paths].concat()))
    };
    if !prepared.commit.is_empty() {
        parts.push(format!("Run: {}", git(&["add"], &prepared.commit)));
    } else if prepared.ignored.is_none() {
        parts.push("Nothing is to be committed.".to_owned());
    }
    let mut text = labelled("Prepared", Paint::Good, parts, view);
    if let Some(path) = &prepared.ignored {
        let rule = git(&["check-ignore", "-v"], std::slice::from_ref(path));
        let why = format!("git passes over {}, so that it cannot be added.", text::clean_line(path));
        text += &labelled("Ignored", Paint::Warning, vec![why, format!("The rule to take out: {rule}")], view);
    }
    text += "  then     engramctl chunks export, git commit, git push\n";
    text += "  others   engramctl chunks init, once in every clone\n";
    text + "           engramctl chunks import, after every pull\n"
}

fn skipped(word: &str, all: &[Skipped]) -> String {
    let mut text = String::new();
    for Skipped { chunk, reason } in all.iter().take(NAMED_MAX) {
        text += &format!("  {word:<8} {}: {}\n", text::clean_line(chunk), text::clean_line(reason));
    }
    if all.len() > NAMED_MAX {
        text += &format!("  {word:<8} and {} more (--json lists them)\n", all.len() - NAMED_MAX);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture::VIEW;

    #[test]
    fn what_is_said_names_whose_it_is() {
        let import = Imported { outcome: "nothing", dir: "/a/.engram".to_owned(), ..Imported::default() };
        assert_eq!(imported(&import, false, &VIEW), "Imported: nothing new.\n");
        assert_eq!(imported(&import, true, &VIEW), "Imported: from /a/.engram: nothing new.\n");
        let export = Exported { project: Some("app".to_owned()), ..Exported::default() };
        assert_eq!(exported(&export, &VIEW), "Exported: nothing new of project app.\n");
        let export = Exported { is_unknown: true, ..export };
        let said = "Exported: nothing here is of project app. Run: engramctl projects\n";
        assert_eq!(exported(&export, &VIEW), said);
        assert_eq!(exported(&Exported::default(), &VIEW), "Exported: nothing new.\n");
    }

    #[test]
    fn held_rows_that_are_not_named_are_counted() {
        let held_rows = vec!["dead dream d-1 of project app: unknown".to_owned()];
        let import = Imported { outcome: "partial", held: 1, held_rows, ..Imported::default() };
        let said = imported(&import, false, &VIEW);
        assert!(said.contains("  held     dead dream d-1 of project app: unknown\nHeld: "), "{said}");
        let said = imported(&Imported { held: 6, held_more: 5, ..import }, false, &VIEW);
        assert!(said.contains(" unknown\n  held     and 5 more\nHeld: Run: engramctl held list\n"), "{said}");
    }

    #[test]
    fn an_export_is_summed_up_in_one_line_however_many_chunks_it_has() {
        let pipe = View { wrap: false, ..VIEW };
        let chunk = |id: &str, memories| Written { id: id.to_owned(), sessions: 1, memories, prompts: 0, mutations: 2 };
        let chunks = vec![chunk("aaaaaaaa", 3), chunk("bbbbbbbb", 4)];
        let export = Exported { outcome: "exported", project: Some("app".to_owned()), chunks, ..Exported::default() };
        assert_eq!(
            exported(&export, &pipe),
            "Exported: 2 chunks of project app, 2 sessions, 7 memories, 0 prompts, 4 other changes, 0 skipped.
  chunk    aaaaaaaa\n  chunk    bbbbbbbb\n"
        );
        let skipped = vec![Skipped::new("cccccccc", "it is damaged")];
        let export = Exported { outcome: "partial", skipped, ..export };
        let said = exported(&export, &pipe);
        assert!(said.starts_with("Partial: 2 chunks of project app, 2 sessions"), "{said}");
        assert!(said.contains(", 1 skipped.\n"), "{said}");
        let export = Exported { chunks: Vec::new(), ..export };
        let said = "Partial: nothing new of project app, 1 skipped.\n  skipped  cccccccc: it is damaged\n";
        assert_eq!(exported(&export, &pipe), said);
    }
}
