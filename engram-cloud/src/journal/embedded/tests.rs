//! What only this store has: its tables, its plans, its file.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::journal::{Entry, Fate};
use engram_proto::http::push::PushEntry;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

fn opened() -> (TempDir, Embedded, Connection) {
    let temp = tempfile::tempdir().unwrap();
    let journal = Embedded::open(DataDir::claim(temp.path()).unwrap(), Clock::system()).unwrap();
    let beside = Connection::open(temp.path().join(FILE_NAME)).unwrap();
    (temp, journal, beside)
}

fn memory(title: &str, minute: u32, base: Option<String>) -> PushEntry {
    let payload = json!({
        "sync_id": "m", "session_id": "s", "type": "decision", "title": title, "content": "c", "scope": "project",
        "revision_count": 1, "updated_at": format!("2026-11-22 14:{minute:02}:00"),
    });
    PushEntry {
        project: "alpha".into(),
        entity: "observation".into(),
        entity_key: "m".into(),
        op: "upsert".into(),
        payload,
        mutation_id: Some(format!("d:{title}:{minute}")),
        base,
    }
}

async fn push(journal: &Embedded, entry: PushEntry) -> Fate {
    let batch = Batch::new("tester", vec![Entry::read(ProjectName::parse(&entry.project).unwrap(), entry)]);
    let Pushed::Done(mut fates) = journal.push(batch).await.unwrap() else { panic!("refused") };
    fates.remove(0)
}

fn hash_of(title: &str) -> String {
    let entry = Entry::read(ProjectName::parse("alpha").unwrap(), memory(title, 0, None));
    let crate::journal::Content::Known(known) = entry.content.unwrap() else { panic!("known") };
    known.version.hash().to_string()
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A stale version without a rival is recorded once, with its text, and is no conflict; from a Go program, which says no
/// base, one that was never held is a conflict.
#[tokio::test]
async fn what_loses_is_recorded_once() {
    let (_temp, journal, beside) = opened();
    push(&journal, memory("new", 9, None)).await;
    for _ in 0..2 {
        assert!(matches!(push(&journal, memory("old", 1, None)).await, Fate::Superseded(_)));
    }
    let kept = texts(&beside, "SELECT payload ->> 'title' || ' by ' || pushed_by FROM cloud_superseded");
    assert_eq!(kept, ["old by tester"]);
    assert!(texts(&beside, "SELECT digest FROM cloud_conflicts").is_empty());
    for _ in 0..2 {
        let bare = PushEntry { mutation_id: None, ..memory("older", 0, None) };
        assert!(matches!(push(&journal, bare).await, Fate::Superseded(_)));
    }
    assert_eq!(texts(&beside, "SELECT payload ->> 'title' FROM cloud_conflicts"), ["older"]);
}

/// CONV-6: the loser of two edits that had not seen each other is kept once, whichever of the two came first.
#[tokio::test]
async fn conv_6_the_loser_of_a_conflict_is_kept() {
    for (first, second) in [(("mine", 5), ("yours", 7)), (("yours", 7), ("mine", 5))] {
        let (_temp, journal, beside) = opened();
        push(&journal, memory("seen by both", 1, None)).await;
        for (title, minute) in [first, second] {
            push(&journal, memory(title, minute, Some(hash_of("seen by both")))).await;
        }
        let losers = texts(&beside, "SELECT payload ->> 'title' FROM cloud_conflicts");
        assert_eq!(losers, ["mine"], "{first:?} first");
        assert!(texts(&beside, "SELECT payload FROM cloud_superseded WHERE payload IS NOT NULL").is_empty());
    }
}

/// An edit of the current version is no conflict, and neither is a repetition of what it said.
#[tokio::test]
async fn an_edit_of_what_is_current_is_no_conflict() {
    let (_temp, journal, beside) = opened();
    push(&journal, memory("first", 1, None)).await;
    push(&journal, memory("second", 2, Some(hash_of("first")))).await;
    push(&journal, memory("second", 3, Some(hash_of("first")))).await;
    assert!(texts(&beside, "SELECT digest FROM cloud_conflicts").is_empty());
}

/// COST-1: every question of the hot paths is answered by walking an index, without sorting and without a scan.
#[test]
fn cost_1_questions_walk_an_index() {
    let (_temp, _journal, beside) = opened();
    let questions = [
        (
            "SELECT * FROM cloud_mutations WHERE project = 'p' AND seq > 5 ORDER BY seq LIMIT 9",
            "cloud_mutations_by_project",
        ),
        ("SELECT max(seq) FROM cloud_mutations WHERE project = 'p'", "cloud_mutations_by_project"),
        (
            "SELECT seq FROM cloud_mutations WHERE seq > 5 AND entity IN ('a') ORDER BY seq LIMIT 9",
            "INTEGER PRIMARY KEY",
        ),
        ("SELECT 1 FROM cloud_mutations WHERE project = 'p' AND seq > 5 LIMIT 9", "COVERING INDEX"),
        (
            "SELECT entity_key FROM cloud_heads WHERE project = 'p' AND session_id = 's' AND entity = 'prompt'
             AND is_deleted = 0 ORDER BY entity_key",
            "cloud_heads_live_prompts",
        ),
        (rows::HELD, "cloud_mutations_by_entity"),
        (sessions::HAS_CHILDREN, "cloud_heads_children"),
        (waiting::OF, "PRIMARY KEY"),
    ];
    for (sql, uses) in questions {
        let mut statement = beside.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let blank = vec![rusqlite::types::Null; statement.parameter_count()];
        let plan = statement.query_map(rusqlite::params_from_iter(blank), |row| row.get::<_, String>(3)).unwrap();
        let plan = plan.collect::<Result<Vec<_>, _>>().unwrap().join("; ");
        assert!(plan.contains(uses) && !plan.contains("SCAN"), "{sql}: {plan}");
    }
}

#[test]
fn stores_of_others_and_of_newer_programs_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let open = || Embedded::open(DataDir::claim(temp.path()).unwrap(), Clock::system()).map(drop);
    let path = temp.path().join(FILE_NAME);
    assert!(matches!(Beside::open(path.clone()), Err(OpenError::Missing { .. })));
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE somebody (name TEXT)").unwrap();
    assert!(matches!(open(), Err(OpenError::Foreign { .. })));
    std::fs::remove_file(&path).unwrap();
    let journal = Embedded::open(DataDir::claim(temp.path()).unwrap(), Clock::system()).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(journal.close());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(open(), Err(OpenError::Newer { found: 99, .. })));
    assert!(matches!(Beside::open(path), Err(OpenError::Newer { .. })));
}

/// REC-1 in small: another process that writes for a moment is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_beside_is_waited_for() {
    let (_temp, journal, beside) = opened();
    beside.execute_batch("BEGIN IMMEDIATE").unwrap();
    let pushed = tokio::spawn({
        let journal = journal.clone();
        async move { push(&journal, memory("title", 1, None)).await }
    });
    // The reader is not held up by it, and so knows that nothing was stored yet.
    assert!(journal.controls().await.unwrap().is_empty());
    assert!(!pushed.is_finished());
    beside.execute_batch("COMMIT").unwrap();
    assert!(matches!(pushed.await.unwrap(), Fate::Accepted(_)));
}
