//! What pulled rows do to the store: cursors, merges, parking, replays (CUR-1, CONV-4, CONV-5, ISO-3, IDEM-1, SCOPE-1).
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::mutation::Entity;
use engramd::store::StoreError;
use serde_json::json;
use std::collections::BTreeMap;
use store_support::{CLOUD, Lab, at, gone, observation, page, project, prompt, relation, row, session, up};

fn cursor(lab: &Lab, name: &str) -> u64 {
    lab.store.cursors(CLOUD, &[project(name)]).unwrap()[&project(name)]
}

#[test]
fn cur_1_the_cursor_moves_with_its_rows_and_belongs_to_one_cloud() {
    let mut lab = Lab::new();
    assert_eq!(cursor(&lab, "alpha"), 0);
    let applied = lab.apply(vec![
        up(8, "session", session("s1", "/a", 0)),
        up(16, "observation", observation("o1", "s1", "one", 1)),
    ]);
    assert_eq!((applied.received, applied.changed), (2, 2));
    assert_eq!(cursor(&lab, "alpha"), 16);
    let elsewhere = lab.store.cursors("cloud-2", &[project("alpha")]).unwrap();
    assert_eq!(elsewhere[&project("alpha")], 0);
    lab.check_index();
}

/// Rows `from..to` of one session.
fn memories(from: u64, to: u64) -> Vec<engram_proto::http::pull::PulledMutation> {
    (from..to).map(|n| up(n, "observation", observation(&format!("o{n}"), "s1", &format!("t{n}"), 1))).collect()
}

#[test]
fn cur_1_a_page_that_fails_midway_leaves_no_cursor_ahead_of_its_rows() {
    let pages = |lab: &Lab| lab.one::<i64>("SELECT page_count FROM pragma_page_count");
    let grown = {
        let mut lab = Lab::new();
        let before = pages(&lab);
        lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
        lab.apply(memories(2, 1_002));
        pages(&lab) - before
    };
    let mut lab = Lab::new();
    lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
    // Room for the page's first transaction and not for its second.
    let room = pages(&lab) + grown * 3 / 2;
    lab.store.read(|conn| Ok(conn.query_row(&format!("PRAGMA max_page_count = {room}"), [], |_| Ok(()))?)).unwrap();
    let full = lab.store.apply_page(&lab.fence, CLOUD, &BTreeMap::new(), &page(memories(2, 2_502)), at(9)).unwrap_err();
    assert!(matches!(full, StoreError::Full), "{full:?}");
    assert_eq!(cursor(&lab, "alpha"), 1_001);
    assert_eq!(lab.one::<i64>("SELECT max(substr(sync_id, 2) + 0) FROM observations"), 1_001);
    lab.check_index();
    lab.store.read(|conn| Ok(conn.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(()))?)).unwrap();
    lab.apply(memories(1_002, 2_502));
    assert_eq!((cursor(&lab, "alpha"), lab.one::<i64>("SELECT count(*) FROM observations")), (2_501, 2_500));
    lab.check_index();
}

#[test]
fn cur_1_a_cursor_is_stored_with_the_last_row_before_it_and_of_enrolled_projects_only() {
    let mut lab = Lab::new();
    let mut further = page(vec![up(8, "session", session("s1", "/a", 0))]);
    further.cursors.insert(project("alpha"), 4_000);
    further.cursors.insert(project("beta"), 4_000);
    lab.store.apply_page(&lab.fence, CLOUD, &BTreeMap::new(), &further, at(9)).unwrap();
    assert_eq!((cursor(&lab, "alpha"), cursor(&lab, "beta")), (4_000, 0));
}

#[test]
fn scope_1_rows_of_a_project_that_is_not_enrolled_leave_no_trace() {
    let mut lab = Lab::new();
    let applied = lab.apply(vec![row(8, "beta", "session", "upsert", session("s1", "/b", 0))]);
    assert_eq!(applied.received, 0);
    assert_eq!(cursor(&lab, "beta"), 0);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM sessions"), 0);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_version"), 0);
}

#[test]
fn iso_3_children_wait_for_their_session_and_come_with_it() {
    let mut lab = Lab::new();
    let early = lab.apply(vec![
        up(1, "observation", observation("o1", "s1", "one", 1)),
        up(2, "observation", observation("o2", "s1", "two", 1)),
        up(3, "prompt", prompt("p1", "s1", "why", 1)),
        up(4, "relation", relation("r1", "o1", "o2", 2)),
        up(5, "observation", observation("o1", "s1", "one, better", 5)),
    ]);
    assert_eq!((early.received, early.deferred, early.changed, early.dead), (5, 4, 0, 0));
    assert_eq!(cursor(&lab, "alpha"), 5);
    assert_eq!(lab.store.counts().unwrap()[&lab.alpha].deferred, 4);
    let late = lab.apply(vec![up(6, "session", session("s1", "/a", 0))]);
    assert_eq!(late.changed, 5);
    assert_eq!(lab.title("o1").as_deref(), Some("one, better"));
    assert!(lab.store.held().unwrap().is_empty());
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM memory_relations"), 1);
    lab.check_index();
    lab.check_books();
}

#[test]
fn iso_3_what_can_never_apply_is_kept_with_its_evidence_and_the_rest_goes_on() {
    let mut lab = Lab::new();
    let rows = vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "mystery", json!({"sync_id": "m1", "color": "red"})),
        up(3, "observation", json!("not json")),
        row(4, "alpha", "observation", "rename", observation("o0", "s1", "zero", 1)),
        row(5, "alpha", "relation", "delete", relation("r9", "o1", "o2", 1)),
        up(
            6,
            "observation",
            json!({"sync_id": "o1", "session_id": "s1", "type": "x", "title": 7, "content": "c", "scope": "project"}),
        ),
        up(7, "observation", observation("o2", "s1", "two", 1)),
    ];
    let applied = lab.apply(rows.clone());
    assert_eq!(applied.dead, 4);
    assert_eq!(lab.title("o2").as_deref(), Some("two"));
    assert_eq!(cursor(&lab, "alpha"), 7);
    let held = lab.store.held().unwrap();
    assert!(held.iter().all(|row| row.reason_code == "row_undeliverable" && !row.evidence.is_empty()), "{held:?}");
    let detail = lab.store.held_detail(held[0].id).unwrap().unwrap();
    assert!(detail.payload.contains("red"));
    assert_eq!(lab.apply(rows).dead, 0, "the same row is kept once");
    assert_eq!(lab.store.held().unwrap().len(), 4);
}

#[test]
fn iso_3_a_row_that_sqlite_refuses_is_dead_and_its_page_is_not() {
    let mut lab = Lab::new();
    lab.store.write(|tx| Ok(tx.execute_batch("CREATE UNIQUE INDEX no_two_titles ON observations(title)")?)).unwrap();
    let applied = lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "same", 1)),
        up(3, "observation", observation("o2", "s1", "same", 1)),
        up(4, "observation", observation("o3", "s1", "other", 1)),
    ]);
    assert_eq!((applied.dead, applied.changed), (1, 3));
    assert!(lab.store.held().unwrap()[0].evidence.contains("UNIQUE"));
    assert_eq!(cursor(&lab, "alpha"), 4);
    lab.check_index();
}

#[test]
fn iso_3_a_stand_in_takes_the_childs_time_and_gives_way_to_the_session() {
    let mut lab = Lab::new();
    lab.apply(vec![up(1, "observation", observation("o1", "s-lost", "one", 1))]);
    let stood = lab.stand_ins();
    assert_eq!(stood.changed, 1);
    assert_eq!(lab.title("o1").as_deref(), Some("one"));
    let directory = "SELECT directory FROM sessions WHERE id = 's-lost'";
    assert_eq!(lab.one::<String>(directory), "(recovered-missing-session)");
    assert_eq!(lab.one::<String>("SELECT started_at FROM sessions"), at(0).to_string());
    assert!(lab.version(Entity::Session, "s-lost").is_none(), "a stand-in is no version");
    assert!(!lab.dump().contains("\"entity\":\"session\""));
    assert_eq!(lab.batch(10).rows.len(), 0, "nor is it sent");
    lab.apply(vec![up(2, "session", session("s-lost", "/found", -500))]);
    assert_eq!(lab.one::<String>(directory), "/found");
    assert_eq!(lab.one::<String>("SELECT started_at FROM sessions"), at(-500).to_string());
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_standin"), 0);
    assert!(lab.dump().contains("/found"));
}

#[test]
fn idem_1_the_same_page_twice_changes_nothing() {
    let mut lab = Lab::new();
    let rows = vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "one", 1)),
        up(3, "observation", observation("o1", "s1", "one, better", 4)),
        up(4, "prompt", prompt("p1", "s1", "why", 1)),
        row(
            5,
            "alpha",
            "prompt",
            "delete",
            json!({"sync_id": "p1", "session_id": "s1", "deleted": true, "deleted_at": at(9).to_string()}),
        ),
        up(6, "observation", observation("o2", "s1", "two", 1)),
        row(7, "alpha", "observation", "delete", gone("o2", "s1", 6, false)),
        up(8, "observation", observation("o3", "s-lost", "three", 1)),
        up(9, "relation", relation("r1", "o1", "o2", 3)),
        up(10, "mystery", json!({"sync_id": "m1"})),
    ];
    lab.apply(rows.clone());
    let (before, tables) = (lab.dump(), contents(&lab));
    let changes = |lab: &Lab| lab.store.read(|conn| Ok(conn.total_changes())).unwrap();
    let changes_before = changes(&lab);
    let again = lab.apply(rows);
    assert_eq!((again.changed, again.deferred, again.dead, again.queued), (0, 0, 0, 0));
    assert_eq!(lab.dump(), before);
    assert_eq!(contents(&lab), tables);
    assert_eq!(changes(&lab), changes_before, "not even a row was rewritten");
    lab.check_index();
}

/// Everything in the tables that people and other devices see.
fn contents(lab: &Lab) -> Vec<String> {
    [
        "sessions",
        "observations",
        "user_prompts",
        "prompt_tombstones",
        "memory_relations",
        "sync_mutations",
        "engramd_version",
        "engramd_held",
    ]
    .iter()
    .flat_map(|table| {
        lab.store
            .read(|conn| {
                let mut statement = conn.prepare(&format!("SELECT * FROM {table}"))?;
                let width = statement.column_count();
                let rows = statement.query_map([], |row| {
                    (0..width).map(|at| row.get::<_, rusqlite::types::Value>(at)).collect::<Result<Vec<_>, _>>()
                })?;
                Ok(rows.map(|row| format!("{table} {:?}", row.unwrap())).collect::<Vec<_>>())
            })
            .unwrap()
    })
    .collect()
}
