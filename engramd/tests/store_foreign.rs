//! What Go processes write beside us: stamped once, before anything is merged over it or pushed.
#![expect(clippy::unwrap_used, reason = "tests")]

mod go_support;
mod store_support;

use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engramd::store::Store;
use go_support::Go;
use store_support::{Lab, at, observation, row, session, up};

struct Two {
    lab: Lab,
    go: Go,
    _dir: tempfile::TempDir,
}

/// A store of ours that pulled one memory at second 100, and a Go process that has it open too.
fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("o1", "s1", "one", 100)),
    ]);
    Two { lab, go: Go::open(&path), _dir: dir }
}

fn second(seconds: i64) -> String {
    at(seconds).to_string()
}

impl Two {
    /// The key's time and revision of what the next batch would send.
    fn sent(&mut self) -> Vec<(String, i64, Option<String>)> {
        let rows = self.lab.batch(100).rows;
        let time = |row: &engramd_core::rows::PendingRow| {
            let at = row.payload.get("deleted_at").or(row.payload.get("updated_at")).unwrap().as_str().unwrap();
            (at.to_owned(), row.payload["revision_count"].as_i64().unwrap(), row.base.clone())
        };
        rows.iter().map(time).collect()
    }

    fn known(&self) -> Version {
        self.lab.version(Entity::Observation, "o1").unwrap()
    }
}

#[test]
fn conv_3_an_edit_by_a_process_whose_clock_is_behind_beats_what_it_saw() {
    let mut two = two();
    let base = two.known().hash().to_string();
    two.go.edit("alpha", "o1", "edited", &second(40));
    assert_eq!(two.sent(), [(second(100), 2, Some(base))]);
    two.lab.apply(vec![up(3, "observation", observation("o1", "s1", "one", 100))]);
    assert_eq!(two.lab.title("o1").as_deref(), Some("edited"));
}

#[test]
fn conv_3_a_delete_by_a_process_whose_clock_is_behind_beats_what_it_saw() {
    let mut two = two();
    two.go.delete("alpha", "o1", &second(40));
    assert_eq!(two.sent(), [(second(100), 0, None)]);
}

#[test]
fn an_edit_by_a_process_whose_clock_is_right_keeps_its_time() {
    let mut two = two();
    two.go.edit("alpha", "o1", "edited", &second(140));
    two.go.edit("alpha", "o1", "edited again", &second(141));
    let sent = two.sent();
    assert_eq!((sent[0].0.as_str(), sent[1].0.as_str()), (second(140).as_str(), second(141).as_str()));
    assert!(sent[1].2.is_some(), "made from the row before it");
}

#[test]
fn conv_1_a_fold_takes_the_known_time_and_beats_no_edit_of_others() {
    let mut two = two();
    two.go.fold("alpha", "o1", &second(500));
    assert_eq!(two.sent()[0].0, second(100));
    let mut edit = observation("o1", "s1", "edited elsewhere", 300);
    edit["revision_count"] = 2.into();
    two.lab.apply(vec![up(3, "observation", edit)]);
    assert_eq!(two.lab.title("o1").as_deref(), Some("edited elsewhere"));
    let Version::Observation(merged) = two.known() else { panic!("a memory") };
    assert_eq!(merged.duplicate_count, Some(2), "and is counted");
}

#[test]
fn what_was_made_over_an_older_text_is_not_stamped() {
    let mut two = two();
    let mut newer = observation("o1", "s1", "edited elsewhere", 300);
    newer["revision_count"] = 4.into();
    two.lab.apply(vec![up(3, "observation", newer)]);
    let mut stale = observation("o1", "s1", "an older text", 50);
    stale["revision_count"] = 3.into();
    two.go.journal("observation", "o1", "upsert", &stale, "alpha", &second(50));
    assert_eq!(two.sent()[0].0, second(50), "it merges as it stands");
    let Version::Observation(merged) = two.known() else { panic!("a memory") };
    assert_eq!(merged.key.time, Some(at(300)));
}

#[test]
fn what_was_journalled_at_another_time_than_it_was_written_is_not_stamped() {
    let mut two = two();
    let mut old = observation("o1", "s1", "an older text", 50);
    old["revision_count"] = 9.into();
    two.go.journal("observation", "o1", "upsert", &old, "alpha", &second(53));
    assert_eq!(two.sent()[0].0, second(50));
}

#[test]
fn conv_4_what_was_written_over_nothing_known_is_one_with_the_same_text_from_the_cloud() {
    let mut two = two();
    two.go.save("alpha", "s1", "o2", "both", &second(400));
    let mut same = observation("o2", "s1", "both", 300);
    same["last_seen_at"] = second(400).into();
    two.lab.apply(vec![up(3, "observation", same)]);
    assert_eq!(two.lab.batch(10).rows.len(), 0, "the cloud holds exactly this version");
    two.lab.check_books();
    assert_eq!(two.lab.version(Entity::Observation, "o2").unwrap().time(), Some(at(300)));
}

#[test]
fn a_row_that_changed_without_a_journal_row_has_no_say() {
    let mut two = two();
    // What `mark_reviewed` does.
    two.go.0.execute("UPDATE observations SET updated_at = ?1", [second(900)]).unwrap();
    let edit = observation("o1", "s1", "edited elsewhere", 300);
    two.lab.apply(vec![up(3, "observation", edit)]);
    assert_eq!(two.lab.title("o1").as_deref(), Some("edited elsewhere"));
    assert_eq!(two.lab.batch(10).rows.len(), 0);
}

#[test]
fn a_session_that_a_go_process_ends_keeps_the_known_summary() {
    let mut two = two();
    let mut ended = session("s1", "/a", 0);
    (ended["ended_at"], ended["summary"]) = (second(200).into(), "done".into());
    two.lab.apply(vec![up(3, "session", ended)]);
    let mut again = session("s1", "/a", 0);
    again["ended_at"] = second(150).into();
    two.go.journal("session", "s1", "upsert", &again, "alpha", &second(150));
    let sent = two.lab.batch(10).rows;
    let payload = &sent[0].payload;
    assert_eq!(payload["summary"], "done");
    assert_eq!(payload["ended_at"], second(200).as_str());
}

#[test]
fn ours_are_never_taken_for_theirs_and_theirs_are_taken_up_once() {
    let mut two = two();
    two.go.edit("alpha", "o1", "edited", &second(40));
    while two.lab.store.take_up(1, at(1_000)).unwrap() {}
    let journal = "SELECT group_concat(payload) FROM sync_mutations";
    let before: String = two.lab.one(journal);
    // Ours carries what it carries, however odd it is.
    two.lab.write(Entity::Observation, Op::Upsert, observation("o1", "s1", "ours", 7));
    assert!(!two.lab.store.take_up(100, at(1_000)).unwrap());
    two.lab.apply(vec![row(4, "alpha", "session", "upsert", session("s2", "/a", 0))]);
    let after: String = two.lab.one(journal);
    assert!(after.starts_with(&before));
    assert!(after.contains(&second(7)), "not stamped");
}

#[test]
fn a_stand_in_that_autosync_stored_is_its_session_again() {
    let mut two = two();
    let id = engram_proto::stand_in::stand_in_id(&two.lab.alpha, "s9");
    let sql = "INSERT INTO sessions (id, project, directory, started_at)
               VALUES (?1, 'alpha', '(recovered-missing-session)', '1970-01-01 00:00:00')";
    two.go.0.execute(sql, [&id]).unwrap();
    two.go.save("alpha", &id, "o2", "new", &second(50));
    assert_eq!(two.go.store_open(&second(60)), [format!("upsert session {id}")]);
    let rows = two.lab.batch(100).rows;
    assert_eq!(rows.iter().map(|row| row.entity_key.as_str()).collect::<Vec<_>>(), ["o2"], "it says nothing");
    assert_eq!(rows[0].payload["session_id"], "s9");
    two.go.0.execute("UPDATE sessions SET ended_at = ?2, summary = 'done' WHERE id = ?1", [&id, &second(70)]).unwrap();
    two.go.journal("session", &id, "upsert", &two.go.payload("session", &id), "alpha", &second(70));
    let rows = two.lab.batch(100).rows;
    let ended = rows.iter().find(|row| row.entity == "session").unwrap();
    assert_eq!((ended.entity_key.as_str(), &ended.payload["summary"]), ("s9", &serde_json::json!("done")));
    assert!(two.go.store_open(&second(80)).is_empty(), "its key was answered");
}
