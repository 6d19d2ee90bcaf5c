//! What pulled rows do to the store: cursors, merges, parking, replays (CUR-1, CONV-4, CONV-5, ISO-3, IDEM-1, SCOPE-1).
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engramd::store::StoreError;
use serde_json::json;
use store_support::{CLOUD, Lab, at, gone, object, observation, page, project, prompt, relation, row, session, up};

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
    let full = lab.store.apply_page(&lab.fence, CLOUD, &page(memories(2, 2_502)), at(9)).unwrap_err();
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
fn cur_1_a_servers_cursor_is_taken_only_up_to_the_last_row() {
    let mut lab = Lab::new();
    let mut greedy = page(vec![up(8, "session", session("s1", "/a", 0))]);
    greedy.cursors.insert(project("alpha"), 4_000);
    greedy.cursors.insert(project("beta"), 4_000);
    lab.store.apply_page(&lab.fence, CLOUD, &greedy, at(9)).unwrap();
    assert_eq!((cursor(&lab, "alpha"), cursor(&lab, "beta")), (8, 0));
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

#[test]
fn conv_4_a_pending_edit_stands_against_what_is_older_and_its_own_echo_acknowledges_it() {
    let mut lab = Lab::new();
    lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    let edit = observation("o1", "s1", "mine", 50);
    lab.write(Entity::Observation, Op::Upsert, edit.clone());
    let applied = lab.apply(vec![up(1, "observation", observation("o1", "s1", "older", 10))]);
    assert_eq!((applied.changed, applied.queued), (0, 0));
    assert_eq!(lab.title("o1").as_deref(), Some("mine"));
    assert_eq!(lab.batch(10).rows.len(), 2, "both stay pending");
    let echo = lab.apply(vec![up(2, "observation", edit)]);
    assert_eq!((echo.changed, echo.queued), (0, 0));
    let pending: Vec<String> = lab.batch(10).rows.into_iter().map(|row| row.entity).collect();
    assert_eq!(pending, ["session"], "ACK-1: the pull shows exactly this version");
    lab.check_books();
}

#[test]
fn conv_4_a_pending_edit_that_loses_is_void_and_a_mixed_merge_is_queued() {
    let mut lab = Lab::new();
    lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
    let mut edit = observation("o1", "s1", "mine", 10);
    edit["duplicate_count"] = 7.into();
    let seq = lab.write(Entity::Observation, Op::Upsert, edit);
    let applied = lab.apply(vec![up(2, "observation", observation("o1", "s1", "theirs", 20))]);
    assert_eq!((applied.changed, applied.queued), (1, 1));
    assert_eq!(lab.title("o1").as_deref(), Some("theirs"));
    let books = lab.store.ack2(&lab.alpha).unwrap();
    assert_eq!((books.void, books.pending), (1, 1));
    let batch = lab.batch(10);
    let merged = &batch.rows[0];
    assert_eq!(
        (merged.payload["title"].as_str(), merged.payload["duplicate_count"].as_i64()),
        (Some("theirs"), Some(7))
    );
    let theirs = Version::read(Entity::Observation, "o1", Op::Upsert, &object(observation("o1", "s1", "theirs", 20)));
    assert_eq!(merged.base.as_deref(), Some(theirs.unwrap().hash().to_string().as_str()));
    assert_eq!(lab.ack(seq, 9).acked, 0, "a late reply moves nothing");
    lab.check_books();
    lab.check_index();
}

#[test]
fn conv_5_a_delete_is_remembered_against_every_older_upsert() {
    let mut lab = Lab::new();
    lab.apply(vec![up(1, "session", session("s1", "/a", 0)), up(2, "observation", observation("o1", "s1", "one", 1))]);
    lab.apply(vec![row(3, "alpha", "observation", "delete", gone("o1", "s1", 10, true))]);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations"), 0);
    let old = lab.apply(vec![up(4, "observation", observation("o1", "s1", "again", 5))]);
    assert_eq!((old.changed, old.queued), (0, 0));
    assert_eq!(lab.title("o1"), None);
    let new = lab.apply(vec![up(5, "observation", observation("o1", "s1", "re-created", 20))]);
    assert_eq!(new.changed, 1);
    assert_eq!(lab.title("o1").as_deref(), Some("re-created"));
    lab.check_index();
}

#[test]
fn conv_5_a_delete_that_comes_first_keeps_its_memory_out() {
    let mut lab = Lab::new();
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        row(2, "alpha", "observation", "delete", gone("o1", "s1", 10, false)),
        row(
            3,
            "alpha",
            "prompt",
            "delete",
            json!({"sync_id": "p1", "session_id": "s1", "deleted_at": at(3).to_string()}),
        ),
        up(4, "observation", observation("o1", "s1", "one", 1)),
        up(5, "prompt", prompt("p1", "s1", "why", 9)),
    ]);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations"), 0);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM user_prompts"), 0);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM prompt_tombstones"), 1);
}

#[test]
fn a_soft_delete_keeps_the_text_and_a_hard_one_orphans_relations_until_it_is_undone() {
    let mut lab = Lab::new();
    let status = "SELECT judgment_status FROM memory_relations";
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "one", 1)),
        up(3, "observation", observation("o2", "s1", "two", 1)),
        up(4, "relation", relation("r1", "o1", "o2", 2)),
        row(5, "alpha", "observation", "delete", gone("o1", "s1", 10, false)),
    ]);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations WHERE deleted_at IS NOT NULL AND title = 'one'"), 1);
    assert_eq!(lab.one::<String>(status), "judged");
    let before = lab.dump();
    lab.apply(vec![row(6, "alpha", "observation", "delete", gone("o1", "s1", 12, true))]);
    assert_eq!(lab.one::<String>(status), "orphaned");
    assert_eq!(lab.dump().lines().last(), before.lines().last(), "orphaned is derived, not a version");
    assert_eq!(lab.apply(vec![up(7, "relation", relation("r1", "o1", "o2", 2))]).changed, 0);
    lab.apply(vec![up(8, "observation", observation("o1", "s1", "back", 30))]);
    assert_eq!(lab.one::<String>(status), "judged");
    lab.check_index();
}

#[test]
fn a_deleted_session_stays_while_a_memory_needs_it_and_takes_its_older_prompts_along() {
    let mut lab = Lab::new();
    let deleted = |seconds: i64| {
        let mut version = session("s1", "/a", 0);
        version["deleted_at"] = at(seconds).to_string().into();
        version
    };
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "one", 1)),
        up(3, "prompt", prompt("p1", "s1", "before", 5)),
        up(4, "session", deleted(20)),
        up(5, "prompt", prompt("p2", "s1", "also before", 19)),
    ]);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM user_prompts"), 0);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM sessions"), 1, "o1 needs it");
    lab.apply(vec![row(6, "alpha", "observation", "delete", gone("o1", "s1", 30, true))]);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM sessions"), 0);
    assert!(lab.dump().contains(&format!("\"deleted_at\":\"{}\"", at(20))));
    lab.apply(vec![up(7, "prompt", prompt("p3", "s1", "after", 40))]);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM user_prompts"), 1, "a later prompt brings it back");
    assert_eq!(lab.one::<String>("SELECT directory FROM sessions"), "/a");
    lab.check_index();
}

#[test]
fn a_session_of_two_projects_shows_the_first_that_came_until_it_is_deleted() {
    let mut lab = Lab::new();
    lab.store.enroll(&project("beta"), at(0)).unwrap();
    let directory = "SELECT directory FROM sessions";
    lab.apply(vec![
        up(1, "session", session("shared", "/a", 0)),
        row(2, "beta", "session", "upsert", session("shared", "/b", 100)),
        row(3, "beta", "observation", "upsert", observation("o1", "shared", "of beta", 1)),
    ]);
    assert_eq!(lab.one::<String>(directory), "/a");
    assert!(lab.dump().contains("/a") && !lab.dump().contains("/b"));
    assert!(lab.store.canonical_dump(&project("beta")).unwrap().contains("/b"));
    let mut deleted = session("shared", "/a", 0);
    deleted["deleted_at"] = at(50).to_string().into();
    lab.apply(vec![up(4, "session", deleted)]);
    assert_eq!(lab.one::<String>(directory), "/b");
}

#[test]
fn a_relation_of_another_project_than_the_rows_is_dead_and_no_other_row_suffers() {
    let mut lab = Lab::new();
    lab.store.enroll(&project("beta"), at(0)).unwrap();
    let applied = lab.store.apply_page(
        &lab.fence,
        CLOUD,
        &page(vec![
            up(1, "session", session("s1", "/a", 0)),
            up(2, "observation", observation("o1", "s1", "one", 1)),
            up(3, "observation", observation("o2", "s1", "two", 1)),
            up(4, "relation", relation("r1", "o1", "o2", 2)),
            row(5, "beta", "relation", "upsert", relation("r1", "o1", "o2", 9)),
        ]),
        at(9),
    );
    let applied = applied.unwrap();
    assert_eq!((applied[&project("alpha")].dead, applied[&project("beta")].dead), (0, 1));
    assert_eq!(lab.one::<String>("SELECT updated_at FROM memory_relations"), at(2).to_string());
}

#[test]
fn the_copies_of_one_sync_id_are_one_memory() {
    let mut lab = Lab::new();
    lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    lab.store
        .write(|tx| {
            for (title, updated) in [("old copy", 1), ("new copy", 3)] {
                tx.execute(
                    "INSERT INTO observations (sync_id, session_id, type, title, content, project, updated_at)
                     VALUES ('o1', 's1', 'decision', ?1, 'c', 'alpha', ?2)",
                    [title, &at(updated).to_string()],
                )?;
            }
            Ok(())
        })
        .unwrap();
    let Some(Version::Observation(version)) = lab.version(Entity::Observation, "o1") else { panic!("a memory") };
    assert_eq!(version.key.time, Some(at(3)));
    lab.apply(vec![up(1, "observation", observation("o1", "s1", "theirs", 2))]);
    assert_eq!(
        lab.batch(10).rows.last().unwrap().payload["title"],
        "new copy",
        "the row won, and is news to the cloud"
    );
    lab.apply(vec![row(2, "alpha", "observation", "delete", gone("o1", "s1", 50, true))]);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations"), 0);
    lab.check_index();
    lab.check_books();
}

#[test]
fn conv_6_the_loser_of_a_real_conflict_is_kept_once() {
    let mut lab = Lab::new();
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "common", 1)),
    ]);
    let losers = "SELECT count(*) FROM engramd_conflict";
    let common = lab.version(Entity::Observation, "o1").unwrap().hash();
    lab.write_on(Entity::Observation, Op::Upsert, observation("o1", "s1", "mine", 10), Some(common));
    lab.apply(vec![up(2, "observation", observation("o1", "s1", "common", 1))]);
    assert_eq!(lab.one::<i64>(losers), 0, "an ancestor is no rival");
    let theirs = vec![up(3, "observation", observation("o1", "s1", "theirs", 20))];
    lab.apply(theirs.clone());
    lab.apply(theirs);
    assert_eq!(lab.one::<i64>(losers), 1);
    assert!(lab.one::<String>("SELECT payload FROM engramd_conflict").contains("mine"));
}
