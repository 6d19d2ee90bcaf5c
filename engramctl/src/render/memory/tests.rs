//! How memories look at 80 columns.

use super::*;
use crate::render::fixture::VIEW;

fn memory() -> Observation {
    Observation {
        id: 12,
        sync_id: "obs-4f1c2a".to_owned(),
        session_id: "manual-app-0a1b2c3d".to_owned(),
        kind: "decision".to_owned(),
        title: "Use WAL".to_owned(),
        content: "Readers never wait.\n\n\t- and writers\x1b[2J neither".to_owned(),
        project: Some("app".to_owned()),
        scope: "project".to_owned(),
        topic_key: Some("store/wal".to_owned()),
        revision_count: 3,
        duplicate_count: 1,
        created_at: "2026-11-21 14:30:00".to_owned(),
        updated_at: "2026-11-22 14:29:00".to_owned(),
        ..Observation::default()
    }
}

#[test]
fn a_save_is_one_line() {
    let mut result = Saved {
        id: 12,
        sync_id: "obs-4f1c2a".to_owned(),
        project: "app".to_owned(),
        session_id: "s-1".to_owned(),
        outcome: SaveKind::Created,
        revision_count: 1,
    };
    assert_eq!(saved(&result), "Saved 12 (obs-4f1c2a) in app, session s-1\n");
    result.outcome = SaveKind::Duplicate;
    assert_eq!(saved(&result), "Already saved: 12 (obs-4f1c2a) in app, session s-1\n");
    result.outcome = SaveKind::Revised;
    result.revision_count = 3;
    assert_eq!(saved(&result), "Revised 12 (obs-4f1c2a) in app, session s-1, revision 3\n");
}

#[test]
fn a_change_says_what_was_done() {
    let mut result = Changed {
        id: 12,
        sync_id: "obs-4f1c2a".to_owned(),
        project: "app".to_owned(),
        outcome: "updated".to_owned(),
        revision_count: 2,
    };
    assert_eq!(changed(&result), "Updated 12 (obs-4f1c2a) in app, revision 2\n");
    result.outcome = "hard_deleted".to_owned();
    assert_eq!(changed(&result), "Deleted for good: 12 (obs-4f1c2a) in app\n");
}

#[test]
fn lists_fit_and_name_projects_where_there_are_several() {
    let long = Observation { id: 7, title: "word ".repeat(30), kind: "bugfix".to_owned(), ..memory() };
    let memories = [memory(), long];
    assert_eq!(
        list(&memories, true, &VIEW),
        "\
ID  TYPE        AGE  PROJECT  TITLE
12  decision  1 min  app      Use WAL
 7  bugfix    1 min  app      word word word word word word word word word word…
"
    );
    assert!(list(&memories, false, &VIEW).starts_with("ID  TYPE        AGE  TITLE\n"));
    assert!(list(&memories, true, &VIEW).lines().all(|line| text::width(line) <= 80));
    assert_eq!(list(&[], true, &VIEW), "No memories.\n");
}

#[test]
fn snippets_stand_below_on_two_lines_at_most() {
    let short = Found { observation: memory(), snippet: "…readers >>>never<<< wait…".to_owned() };
    let long = Found { observation: memory(), snippet: "word ".repeat(60) };
    let text = found(&[short, long], false, &VIEW);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[2], "    …readers >>>never<<< wait…");
    assert_eq!(lines.len(), 6);
    assert!(lines[5].ends_with('…'));
    assert!(lines.iter().all(|line| text::width(line) <= 80));
}

#[test]
fn one_memory_in_full() {
    assert_eq!(
        full(&memory(), &VIEW),
        "\
Use WAL
  id       12 (obs-4f1c2a)
  type     decision
  project  app
  session  manual-app-0a1b2c3d
  topic    store/wal
  saved    2026-11-21 14:30 (24 h ago)
  changed  2026-11-22 14:29 (1 min ago), revision 3

Readers never wait.

    - and writers␛[2J neither
"
    );
}

#[test]
fn content_wraps_on_a_terminal_only() {
    let long = Observation { content: "word ".repeat(40), ..memory() };
    assert!(full(&long, &VIEW).lines().all(|line| text::width(line) <= 80));
    let piped = View { wrap: false, ..VIEW };
    assert!(full(&long, &piped).contains("word ".repeat(39).trim_end()));
}
