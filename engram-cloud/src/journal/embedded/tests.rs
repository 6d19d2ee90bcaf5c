//! What only this store has: its tables, its plans, its file.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::journal::{Entry, Fate};
use engram_proto::http::push::PushEntry;
use rusqlite::Connection;
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;

fn opened() -> (TempDir, Embedded, Connection) {
    opened_at(Clock::system())
}

fn opened_at(clock: Clock) -> (TempDir, Embedded, Connection) {
    let temp = tempfile::tempdir().unwrap();
    let journal = Embedded::open(DataDir::claim(temp.path()).unwrap(), clock).unwrap();
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
    push_all(journal, vec![entry]).await.remove(0)
}

async fn push_all(journal: &Embedded, entries: Vec<PushEntry>) -> Vec<Fate> {
    let read = |entry: PushEntry| Entry::read(ProjectName::parse(&entry.project).unwrap(), entry);
    let batch = Batch::new("tester", entries.into_iter().map(read).collect());
    let Pushed::Done(fates) = journal.push(batch).await.unwrap() else { panic!("refused") };
    fates
}

/// A version as a Go program sends it.
fn bare(title: &str, minute: u32, revision: u32) -> PushEntry {
    let mut entry = PushEntry { mutation_id: None, ..memory(title, minute, None) };
    entry.payload["revision_count"] = json!(revision);
    entry
}

fn bare_delete(minute: u32) -> PushEntry {
    let deleted_at = format!("2026-11-22 14:{minute:02}:00");
    let payload = json!({"sync_id": "m", "session_id": "s", "deleted": true, "deleted_at": deleted_at});
    PushEntry { op: "delete".into(), payload, ..bare("", 0, 0) }
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

/// CONV-6: an edit that loses to what it was made over, for that came again with a later time, is kept.
#[tokio::test]
async fn conv_6_an_edit_that_loses_to_its_own_base_is_kept() {
    let (_temp, journal, beside) = opened();
    push(&journal, memory("first", 5, None)).await;
    push(&journal, memory("edit", 2, Some(hash_of("first")))).await;
    assert_eq!(texts(&beside, "SELECT payload ->> 'title' FROM cloud_conflicts"), ["edit"]);
    push(&journal, memory("first", 1, Some(hash_of("first")))).await;
    assert_eq!(texts(&beside, "SELECT payload ->> 'title' FROM cloud_conflicts"), ["edit"], "that is no edit");
}

/// What happens, the requests, and the titles that are kept as conflicts.
type Case = (&'static str, Vec<Vec<PushEntry>>, &'static [&'static str]);

/// peers.md, "The door": a peer's edit saw the one version below its revision, its delete what was here at its own time
/// and what came with it.
#[tokio::test]
async fn conv_6_what_a_go_program_overwrites_unseen_is_kept() {
    let (first, edit) = (bare("first", 1, 1), bare("edit", 3, 2));
    let with_id = |title, minute| PushEntry { mutation_id: Some(format!("d:{title}:1")), ..bare(title, minute, 1) };
    let cases: [Case; 7] = [
        ("an edit of what it saw", vec![vec![first.clone()], vec![edit.clone()]], &[]),
        ("a fold", vec![vec![first.clone()], vec![bare("first", 9, 1)]], &[]),
        ("the same revision", vec![vec![first.clone()], vec![edit], vec![bare("other", 5, 2)]], &["edit"]),
        ("one of two", vec![vec![with_id("a", 1)], vec![with_id("b", 2)], vec![bare("edit", 3, 2)]], &["b"]),
        ("a delete of what came later", vec![vec![first.clone()], vec![bare_delete(5)]], &["first"]),
        ("a delete of what was there", vec![vec![first.clone()], vec![bare_delete(20)]], &[]),
        ("a delete in one request", vec![vec![first, bare_delete(5)]], &[]),
    ];
    // Everything comes at ten past two.
    let now_us = 1_795_356_600_000_000;
    for (what, requests, lost) in cases {
        let (_temp, journal, beside) = opened_at(Clock::new(move || now_us));
        for request in requests {
            push_all(&journal, request).await;
        }
        assert_eq!(texts(&beside, "SELECT payload ->> 'title' FROM cloud_conflicts"), lost, "{what}");
    }
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
        (rows::HELD, "cloud_compacted_by_entity"),
        (compaction::PASSED, "INTEGER PRIMARY KEY"),
        (compaction::OLDER, "cloud_mutations_by_entity"),
        (compaction::LOSERS, "PRIMARY KEY"),
        (compaction::LOSERS_UNTIL, "cloud_superseded_with_text"),
        (compaction::RELATIONS, "cloud_relations_by_source"),
        (compaction::RELATIONS, "cloud_relations_by_target"),
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

/// Nothing stays but what is current.
const NOTHING: Retention = Retention { superseded: Duration::ZERO, deleted: Duration::ZERO };

/// Nothing but the older versions of what was deleted for good goes.
const DELETED_ALONE: Retention = Retention { superseded: Duration::MAX, deleted: Duration::ZERO };

async fn compact(journal: &Embedded, retention: Retention) -> usize {
    let step = journal.compact(retention).await.unwrap();
    assert!(!step.has_more);
    step.contents
}

fn delete_for_good(minute: u32) -> PushEntry {
    let mut delete = bare_delete(minute);
    delete.payload["hard_delete"] = json!(true);
    PushEntry { mutation_id: Some(format!("d:delete:{minute}")), ..delete }
}

/// D16: what was deleted for good goes with what lost to it, before and after; a conflict's loser stays (CONV-6).
#[tokio::test]
async fn what_was_deleted_for_good_goes_with_what_lost() {
    let (_temp, journal, beside) = opened();
    push(&journal, memory("current", 9, None)).await;
    push(&journal, memory("lost", 1, None)).await;
    push(&journal, memory("rival", 2, Some(hash_of("another")))).await;
    assert_eq!(compact(&journal, DELETED_ALONE).await, 0);
    push(&journal, delete_for_good(30)).await;
    let lost_later = push(&journal, memory("lost later", 3, None)).await;
    assert!(matches!(lost_later, Fate::Superseded(_)));
    assert_eq!(compact(&journal, DELETED_ALONE).await, 2);
    for table in ["cloud_mutations", "cloud_superseded"] {
        let sql = format!("SELECT payload ->> 'title' FROM {table} WHERE payload ->> 'title' <> ''");
        assert!(texts(&beside, &sql).is_empty(), "{table}");
    }
    assert_eq!(texts(&beside, "SELECT payload ->> 'title' FROM cloud_conflicts"), ["rival"]);
    // What lost is known again, and its text is not kept once more.
    for (title, minute) in [("lost", 1), ("lost later", 3), ("current", 9)] {
        let bare = PushEntry { mutation_id: None, ..memory(title, minute, None) };
        assert!(matches!(push(&journal, bare).await, Fate::Superseded(_)), "{title}");
    }
    assert_eq!(texts(&beside, "SELECT payload ->> 'title' FROM cloud_conflicts"), ["rival"]);
    assert_eq!(texts(&beside, "SELECT payload FROM cloud_superseded WHERE payload IS NOT NULL"), Vec::<String>::new());
}

/// COST-1: where nothing is due, a turn looks at nothing, however long the history.
#[tokio::test]
async fn cost_1_an_idle_turn_looks_at_nothing() {
    async fn instructions(memories: u32) -> i32 {
        let (_temp, journal, beside) = opened();
        for at in 0..memories {
            let mut one = memory(&format!("title {at}"), 1, None);
            one.entity_key = format!("m{at}");
            one.payload["sync_id"] = json!(one.entity_key);
            push(&journal, one).await;
        }
        while journal.compact(NOTHING).await.unwrap().has_more {}
        compaction::step(&beside, &NOTHING, Clock::system().now_us()).unwrap();
        let mut sum = 0;
        for sql in [compaction::PASSED, compaction::LOSERS_UNTIL] {
            sum += beside.prepare_cached(sql).unwrap().get_status(rusqlite::StatementStatus::VmStep);
        }
        sum
    }
    let few = instructions(5).await;
    assert!(few > 0);
    assert_eq!(few, instructions(300).await);
}

/// What lost on arrival loses its text as what was superseded does, in the order of its age.
#[tokio::test]
async fn what_lost_loses_its_text() {
    let (_temp, journal, beside) = opened();
    push(&journal, memory("current", 9, None)).await;
    for minute in 0..3 {
        push(&journal, memory("lost", minute, None)).await;
    }
    assert_eq!(compact(&journal, DELETED_ALONE).await, 0);
    assert_eq!(compact(&journal, NOTHING).await, 3);
    let kept = texts(&beside, "SELECT version FROM cloud_superseded WHERE payload IS NULL");
    assert!(kept.len() == 3 && kept.iter().all(|version| !version.contains("lost")), "{kept:?}");
    let bare = PushEntry { mutation_id: None, ..memory("lost", 1, None) };
    assert!(matches!(push(&journal, bare).await, Fate::Superseded(_)));
    assert!(texts(&beside, "SELECT digest FROM cloud_conflicts").is_empty(), "it was held");
}
