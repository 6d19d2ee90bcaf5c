//! What became of chunk files: one line that says it, and one for each thing that needs somebody.

use super::verdict::labelled;
use super::{Paint, View, count, text};
use crate::cmd::chunks::Skipped;
use crate::cmd::chunks::{Exported, Imported, Prepared, State, Verified};

/// So many are named; `--json` has them all.
const NAMED_MAX: usize = 20;

/// Says how far a long import is.
pub(crate) fn progress(done: usize, all: usize, rows: u64) -> String {
    format!("chunk {} of {all}, {rows} rows", done + 1)
}

/// Says how far a long export is.
pub(crate) fn rows(done: usize) -> String {
    format!("{done} rows")
}

/// Renders an import.
pub(crate) fn imported(imported: &Imported, view: &View) -> String {
    let sums = format!(
        "{}, {}, {} changed, {} held, {} skipped.",
        count(imported.chunks, "chunk"),
        count(imported.rows, "row"),
        imported.changed,
        imported.held,
        imported.skipped.len()
    );
    let mut text = match imported.outcome {
        "nothing" => labelled("Imported", Paint::Good, vec!["nothing new.".to_owned()], view),
        "imported" => labelled("Imported", Paint::Good, vec![sums], view),
        _ => labelled("Partial", Paint::Warning, vec![sums], view),
    };
    if let Some(why) = &imported.manifest {
        let parts = vec![format!("{why}; the chunks themselves were read."), "Run: engramctl chunks export".to_owned()];
        text += &labelled("Manifest", Paint::Warning, parts, view);
    }
    text += &skipped("skipped", &imported.skipped);
    for row in &imported.held_rows {
        text += &format!("  held     {}\n", text::clean_line(row));
    }
    if imported.held > 0 {
        text += &labelled("Held", Paint::Warning, vec!["Run: engramctl held list".to_owned()], view);
    }
    text
}

/// Renders an export.
pub(crate) fn exported(exported: &Exported, view: &View) -> String {
    let mut text = String::new();
    for chunk in &exported.chunks {
        let sums = format!(
            "chunk {}, {}, {}, {}, {}.",
            chunk.id,
            count(chunk.sessions, "session"),
            memories(chunk.memories),
            count(chunk.prompts, "prompt"),
            count(chunk.mutations, "other change"),
        );
        text += &labelled("Exported", Paint::Good, vec![sums], view);
    }
    if exported.chunks.is_empty() {
        let made = if exported.manifest_written { "nothing new; the manifest was made again." } else { "nothing new." };
        text += &labelled("Exported", Paint::Good, vec![made.to_owned()], view);
    }
    for id in &exported.adopted {
        text += &format!("  listed   {id}\n");
    }
    text += &skipped("skipped", &exported.skipped);
    if exported.manifest_written {
        text += &format!("  commit   git add {}\n", text::clean_line(&exported.dir));
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
    text + &skipped("missing", &state.missing)
}

/// Renders a check.
pub(crate) fn verified(verified: &Verified, view: &View) -> String {
    let sums = format!("{}, {}.", count(verified.chunks, "chunk"), count(verified.rows, "row"));
    let verdict = match verified.outcome {
        "ok" => labelled("Verified", Paint::Good, vec![sums], view),
        _ => labelled("Partial", Paint::Warning, vec![sums], view),
    };
    verdict + &skipped("problem", &verified.problems)
}

/// Renders what is prepared, and what is left to do.
pub(crate) fn prepared(prepared: &Prepared, view: &View) -> String {
    let parts = vec![format!("{} is ready.", prepared.dir), format!("Run: git add {}", prepared.commit.join(" "))];
    let mut text = labelled("Prepared", Paint::Good, parts, view);
    text += "  then     engramctl chunks export, git commit, git push\n";
    text += "  others   engramctl chunks init, once in every clone\n";
    text + "           engramctl chunks import, after every pull\n"
}

fn memories(number: u64) -> String {
    if number == 1 { "1 memory".to_owned() } else { format!("{number} memories") }
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
