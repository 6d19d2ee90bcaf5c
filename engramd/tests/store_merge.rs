//! What pulled versions do to what is here: edits, deletes, sessions and relations (CONV-4, CONV-5, CONV-6).
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engramd::memory;
use serde_json::json;
use std::collections::BTreeMap;
use store_support::{
    CLOUD, Lab, at, gone, object, observation, page, project, prompt, relation, row, session, up, with_triggers,
};

#[test]
fn conv_6_a_delete_for_good_over_a_delete_is_an_edit_that_had_not_seen_everything() {
    let mut lab = Lab::new();
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "first", 10)),
        row(3, "alpha", "observation", "delete", gone("o1", "s1", 50, false)),
    ]);
    memory::delete(&mut lab.store, "o1", true, &memory::Now { at: at(200), random: [1; 8] }).unwrap();
    let seq = lab.batch(10).rows[0].seq;
    lab.ack(seq, 9);
    // Somebody edited it meanwhile, and was taken first: it beats the delete that is there, and loses to ours.
    lab.apply(vec![up(8, "observation", observation("o1", "s1", "unseen", 100))]);
    assert_eq!(lab.one::<String>("SELECT payload ->> '$.title' FROM engramd_conflict"), "unseen");
    lab.check_books();
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
        &BTreeMap::new(),
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
                let sql = "INSERT INTO observations (sync_id, session_id, type, title, content, project, updated_at)
                           VALUES ('o1', 's1', 'decision', ?1, 'c', 'alpha', ?2)";
                with_triggers(tx, || tx.execute(sql, [title, &at(updated).to_string()]))?;
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
    let titles = "SELECT group_concat(title) FROM observations";
    assert_eq!(lab.one::<String>(titles), "new copy,new copy");
    let listed = "SELECT group_concat(payload ->> '$.title') FROM engramd_conflict";
    assert_eq!(lab.one::<String>(listed), "old copy", "nobody was told of it");
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

/// The server answers `superseded` with the number of the version that won, which the device has not read yet.
#[test]
fn conv_6_what_lost_on_arrival_is_kept_when_the_winner_comes() {
    let mut lab = Lab::new();
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "common", 1)),
    ]);
    let losers = "SELECT count(*) FROM engramd_conflict";
    let common = lab.version(Entity::Observation, "o1").unwrap().hash();
    let seq = lab.write_on(Entity::Observation, Op::Upsert, observation("o1", "s1", "mine", 10), Some(common));
    lab.ack(seq, 4);
    lab.apply(vec![up(4, "observation", observation("o1", "s1", "theirs", 20))]);
    assert!(lab.one::<String>("SELECT payload FROM engramd_conflict").contains("mine"));
    let seq = lab.write(Entity::Observation, Op::Upsert, observation("o2", "s1", "accepted", 10));
    lab.ack(seq, 5);
    lab.apply(vec![up(5, "observation", observation("o2", "s1", "accepted", 10))]);
    assert_eq!(lab.one::<i64>(losers), 1, "an echo is no rival");
}

/// What was accepted before a pull showed the rival is known already, and the rival adds nothing to it.
#[test]
fn conv_6_a_rival_that_comes_after_our_winner_was_accepted_is_kept() {
    let mut lab = Lab::new();
    let before = vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "ancestor", 1)),
        up(3, "observation", observation("o1", "s1", "common", 2)),
    ];
    lab.apply(before.clone());
    let losers = "SELECT count(*) FROM engramd_conflict";
    let common = lab.version(Entity::Observation, "o1").unwrap().hash();
    let seq = lab.write_on(Entity::Observation, Op::Upsert, observation("o1", "s1", "mine", 20), Some(common));
    lab.ack(seq, 5);
    let rival = up(4, "observation", observation("o1", "s1", "theirs", 10));
    lab.apply(vec![rival.clone()]);
    assert!(lab.one::<String>("SELECT payload FROM engramd_conflict").contains("theirs"));
    assert_eq!(lab.title("o1").as_deref(), Some("mine"));
    // Taken off the list, it does not come back with the same pages; nor does what is older than our edit's base.
    lab.store
        .write(|tx| Ok(tx.execute_batch("DELETE FROM engramd_conflict; UPDATE engramd_cursor SET seq = 0")?))
        .unwrap();
    lab.apply(before.into_iter().chain([rival]).collect());
    assert_eq!(lab.one::<i64>(losers), 0);
}

/// All deletes of a memory have one hash: that a device deleted it once does not mean that it saw who deletes it later.
#[test]
fn conv_6_an_edit_that_lost_to_a_delete_is_kept_where_an_older_delete_was_our_own() {
    for was_accepted in [false, true] {
        let mut lab = Lab::new();
        lab.apply(vec![
            up(1, "session", session("s1", "/a", 0)),
            up(2, "observation", observation("o1", "s1", "common", 1)),
        ]);
        let shown = |lab: &Lab| lab.version(Entity::Observation, "o1").unwrap().hash();
        let deleted = |seq: u64, at_s: i64| row(seq, "alpha", "observation", "delete", gone("o1", "s1", at_s, false));
        let base = shown(&lab);
        let seq = lab.write_on(Entity::Observation, Op::Delete, gone("o1", "s1", 10, false), Some(base));
        lab.ack(seq, 3);
        lab.apply(vec![deleted(3, 10), up(4, "observation", observation("o1", "s1", "it lives", 20))]);
        let base = shown(&lab);
        let seq = lab.write_on(Entity::Observation, Op::Upsert, observation("o1", "s1", "mine", 30), Some(base));
        if was_accepted {
            lab.ack(seq, 5);
        }
        lab.apply(vec![deleted(5, 40)]);
        let losers = "SELECT group_concat(payload) FROM engramd_conflict";
        let lost = lab.one::<Option<String>>(losers).unwrap_or_default();
        assert!(lost.contains("mine") && !lost.contains("it lives"), "accepted: {was_accepted}: {lost}");
        // Of two deletes none is lost.
        lab.apply(vec![deleted(6, 50)]);
        assert_eq!(lab.one::<Option<String>>(losers).unwrap_or_default(), lost);
        lab.check_books();
    }
}

#[test]
fn conv_6_a_summary_that_lost_on_arrival_is_kept_and_a_directory_is_not_lost_to_a_summary() {
    let ended = |summary: &str, at_s: i64| {
        let mut ended = session("s1", "/a", 0);
        (ended["summary"], ended["ended_at"]) = (summary.into(), at(at_s).to_string().into());
        ended
    };
    let losers = "SELECT count(*) FROM engramd_conflict";
    let mut lab = Lab::new();
    lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
    let common = lab.version(Entity::Session, "s1").unwrap().hash();
    let seq = lab.write_on(Entity::Session, Op::Upsert, ended("mine", 10), Some(common));
    lab.ack(seq, 2);
    lab.apply(vec![up(2, "session", ended("theirs", 20))]);
    assert!(lab.one::<String>("SELECT payload FROM engramd_conflict").contains("mine"));
    // Two halves that become one lose nothing.
    let mut lab = Lab::new();
    let seq = lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    lab.apply(vec![up(1, "session", ended("theirs", 20))]);
    lab.ack(seq, 2);
    lab.apply(vec![up(2, "session", ended("theirs", 20))]);
    assert_eq!(lab.one::<i64>(losers), 0);
}

#[test]
fn conv_5_a_delete_of_ours_that_was_acknowledged_keeps_older_versions_out() {
    let mut lab = Lab::new();
    lab.apply(vec![up(1, "session", session("s1", "/a", 0)), up(2, "observation", observation("o1", "s1", "one", 1))]);
    let seq = lab.write(Entity::Observation, Op::Delete, gone("o1", "s1", 10, true));
    lab.ack(seq, 3);
    assert_eq!(lab.apply(vec![up(4, "observation", observation("o1", "s1", "theirs", 5))]).changed, 0);
    assert_eq!(lab.title("o1"), None);
}

#[test]
fn iso_3_what_waits_keeps_its_text_when_an_older_version_comes_after_its_parent() {
    let mut lab = Lab::new();
    lab.apply(vec![up(1, "observation", observation("o1", "s1", "newer", 9))]);
    // Nobody told the store that this session is what it waits for.
    lab.write(Entity::Session, Op::Upsert, session("s1", "/a", 0));
    lab.apply(vec![up(2, "observation", observation("o1", "s1", "older", 3))]);
    assert_eq!(lab.title("o1").as_deref(), Some("newer"));
    assert!(lab.store.held().unwrap().is_empty());
}
