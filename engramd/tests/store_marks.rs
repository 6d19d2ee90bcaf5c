//! Marks: the Go program opens a store with pulled rows and queues none of them (D1).
#![expect(clippy::unwrap_used, reason = "tests")]

mod go_support;
mod store_support;

use engram_proto::mutation::{Entity, Op};
use engramd::store::Store;
use go_support::Go;
use std::path::{Path, PathBuf};
use store_support::{BACK_TO_1_2, Lab, at, gone, observation, prompt, relation, row, session, up};

const LATER: &str = "2026-11-23 00:00:00";

fn lab(dir: &Path) -> (Lab, PathBuf) {
    let path = dir.join("engram.db");
    (Lab::on(Store::open(&path, at(0)).unwrap()), path)
}

/// Rows of every kind, as a cloud serves them, one of them without its session.
fn pull_everything(lab: &mut Lab) {
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "one", 1)),
        up(3, "observation", observation("o2", "s1", "two", 1)),
        up(4, "observation", observation("o3", "s1", "three", 1)),
        up(5, "prompt", prompt("p1", "s1", "why", 1)),
        up(6, "prompt", prompt("p2", "s1", "how", 1)),
        up(7, "relation", relation("r1", "o1", "o2", 1)),
        row(8, "alpha", "observation", "delete", gone("o3", "s1", 5, false)),
        row(
            9,
            "alpha",
            "prompt",
            "delete",
            serde_json::json!({"sync_id": "p2", "session_id": "s1",
            "deleted": true, "deleted_at": at(5).to_string()}),
        ),
        up(10, "observation", observation("o4", "unheard-of", "four", 1)),
    ]);
    assert_eq!(lab.stand_ins().changed, 1);
}

#[test]
fn the_go_program_queues_nothing_of_what_was_pulled() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, path) = lab(dir.path());
    pull_everything(&mut lab);
    assert_eq!(Go::open(&path).store_open(LATER), [""; 0]);
    let marks = "SELECT count(*) FROM sync_mutations WHERE acked_at IS NOT NULL";
    assert_eq!(lab.one::<i64>(marks), 9, "one for each entity, the stand-in too");
    lab.apply(vec![up(11, "observation", observation("o1", "s1", "one more", 9))]);
    lab.apply(vec![up(12, "session", session("unheard-of", "/b", 0))]);
    assert_eq!(lab.one::<i64>(marks), 9, "once");
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM sync_mutations WHERE acked_at IS NULL"), 0);
}

#[test]
fn ack_2_marks_count_in_no_set_and_are_never_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, _) = lab(dir.path());
    pull_everything(&mut lab);
    lab.check_books();
    assert_eq!(lab.store.ack2(&lab.alpha).unwrap().written, 0);
    assert_eq!(lab.batch(100).rows.len(), 0);
    assert!(lab.store.counts().unwrap().get(&lab.alpha).is_none_or(|counts| counts.pending == 0));
}

#[test]
fn a_mark_is_no_delete_and_no_edit_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, _) = lab(dir.path());
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "one", 1)),
        // Its other end is deferred itself: heard of, but no row yet.
        up(3, "observation", observation("o2", "unheard-of", "two", 1)),
        up(4, "relation", relation("r1", "o1", "o2", 1)),
    ]);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_held WHERE entity = 'relation'"), 1, "it waits");
    lab.apply(vec![up(5, "observation", observation("o1", "s1", "edited elsewhere", 9))]);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_conflict"), 0);
}

#[test]
fn a_memory_of_ours_that_others_delete_gets_a_mark_too() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, path) = lab(dir.path());
    lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
    let seq = lab.write(Entity::Observation, Op::Upsert, observation("o1", "s1", "one", 1));
    lab.batch(10);
    lab.ack(seq, 2);
    lab.apply(vec![row(3, "alpha", "observation", "delete", gone("o1", "s1", 9, false))]);
    assert_eq!(Go::open(&path).store_open(LATER), [""; 0]);
    lab.check_books();
}

#[test]
fn a_store_that_pulled_before_there_were_marks_gets_them_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, path) = lab(dir.path());
    pull_everything(&mut lab);
    lab.store
        .write(|tx| {
            tx.execute_batch(BACK_TO_1_2)?;
            tx.execute_batch(
                "DELETE FROM sync_mutations; DELETE FROM engramd_journal;
                 ALTER TABLE engramd_journal DROP COLUMN takes_time;
                 DELETE FROM engramd_meta WHERE key = 'taken_up_seq';
                 UPDATE engramd_meta SET value = '1.0' WHERE key = 'schema'",
            )?;
            Ok(())
        })
        .unwrap();
    drop(lab);
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    assert_eq!(Go::open(&path).store_open(LATER), [""; 0]);
    assert_eq!(lab.store.ack2(&lab.alpha).unwrap().written, 0);
    lab.check_books();
}
