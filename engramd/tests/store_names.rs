//! Rows that Go processes write beside us without a project, or under a name as it was typed: resolved through payload
//! and session, or held where somebody sees them, never pushed under another name.
#![expect(clippy::unwrap_used, reason = "tests")]

mod go_support;
mod store_support;

use engram_proto::reason::ReasonCode;
use engramd::store::Store;
use go_support::Go;
use serde_json::json;
use store_support::{BACK_TO_1_2, Lab, at, observation, session, up};

struct Two {
    lab: Lab,
    go: Go,
    _dir: tempfile::TempDir,
}

fn second(seconds: i64) -> String {
    at(seconds).to_string()
}

fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.apply(vec![up(8, "session", session("s1", "/a", 0))]);
    Two { lab, go: Go::open(&path), _dir: dir }
}

impl Two {
    /// Saves as `engram save` without a project does: the row and the payload name none.
    fn save_without(&self, session: &str, key: &str, journalled_in: &str) {
        self.go.0.execute_batch("BEGIN").unwrap();
        let sql = "INSERT INTO observations (sync_id, session_id, type, title, content, scope, created_at, updated_at)
            VALUES (?1, ?2, 'note', 'nameless', 'about ' || ?1, 'project', ?3, ?3)";
        self.go.0.execute(sql, [key, session, &second(100)]).unwrap();
        let payload = self.go.payload("observation", key);
        self.go.journal("observation", key, "upsert", &payload, journalled_in, &second(100));
        self.go.0.execute_batch("COMMIT").unwrap();
    }

    fn sent(&mut self) -> Vec<(String, Option<String>)> {
        let rows = self.lab.batch(10).rows;
        rows.into_iter().map(|row| (row.entity_key, row.payload["project"].as_str().map(str::to_owned))).collect()
    }

    fn start_session(&self, id: &str, project: &str) {
        let sql = "INSERT INTO sessions (id, project, directory, started_at) VALUES (?1, ?2, '/g', ?3)
            ON CONFLICT (id) DO UPDATE SET project = ?2";
        self.go.0.execute(sql, [id, project, &second(50)]).unwrap();
    }
}

#[test]
fn ack_2_a_row_without_a_project_is_its_sessions_and_counted_there() {
    let mut two = two();
    two.save_without("s1", "o1", "");
    // Counted before it was taken up, as at a reload.
    assert!(two.lab.store.counts().unwrap().get(&two.lab.alpha).is_none_or(|counts| counts.pending == 0));
    while two.lab.store.take_up(100, at(9)).unwrap() {}
    two.lab.check_books();
    assert_eq!(two.lab.store.ack2(&two.lab.alpha).unwrap().pending, 1);
    assert_eq!(two.sent(), [("o1".to_owned(), Some("alpha".to_owned()))]);
    assert_eq!(two.lab.one::<String>("SELECT project FROM observations WHERE sync_id = 'o1'"), "alpha");
    two.lab.check_index();
}

#[test]
fn a_row_that_the_peer_resolved_in_the_journal_alone_is_not_doubled_by_its_echo() {
    let mut two = two();
    two.save_without("s1", "o1", "alpha");
    // Taken up while a page is applied, where the index is written by hand.
    two.lab.apply(vec![up(16, "observation", observation("o2", "s1", "another", 1))]);
    let seq = two.lab.batch(10).rows[0].seq;
    two.lab.ack(seq, 24);
    let mut echo = observation("o1", "s1", "nameless", 100);
    (echo["content"], echo["type"], echo["created_at"]) = ("about o1".into(), "note".into(), second(100).into());
    two.lab.apply(vec![up(24, "observation", echo)]);
    assert_eq!(two.lab.one::<i64>("SELECT count(*) FROM observations WHERE sync_id = 'o1'"), 1);
    let found = "SELECT count(*) FROM observations_fts WHERE observations_fts MATCH 'nameless AND project:alpha'";
    assert_eq!(two.lab.one::<i64>(found), 1);
    two.lab.check_index();
}

#[test]
fn a_row_that_autosync_pulled_without_a_project_is_adopted_by_the_one_that_serves_it() {
    let mut two = two();
    let mut nameless = observation("o1", "s1", "one", 100);
    nameless.as_object_mut().unwrap().remove("project");
    two.go.pull(&[up(16, "observation", nameless.clone())]);
    two.lab.apply(vec![up(16, "observation", nameless)]);
    let names = "SELECT group_concat(coalesce(project, 'none')) FROM observations";
    assert_eq!(two.lab.one::<String>(names), "alpha", "one row, and no second one");
    two.lab.check_index();
}

#[test]
fn a_name_as_it_was_typed_takes_its_normal_form_and_no_other_name_is_touched() {
    let mut two = two();
    for (key, typed) in [("o1", "Alpha"), ("o2", "alpha--x"), ("o3", "alpha_x")] {
        two.go.save(typed, "s1", key, key, &second(100));
    }
    assert_eq!(two.sent(), [("o1".to_owned(), Some("Alpha".to_owned()))]);
    let names = "SELECT group_concat(project, ' ') FROM (SELECT project FROM observations ORDER BY sync_id)";
    assert_eq!(two.lab.one::<String>(names), "alpha alpha-x alpha_x");
    two.lab.check_books();
}

#[test]
fn iso_1_a_row_whose_project_nothing_tells_is_held_where_it_is_seen_until_something_does() {
    let mut two = two();
    two.start_session("nowhere", "");
    two.save_without("nowhere", "o1", "");
    let orphan = json!({"sync_id": "o9", "session_id": "not-there", "type": "note", "title": "t", "content": "c"});
    two.go.journal("observation", "o9", "upsert", &orphan, "", &second(100));
    two.save_without("s1", "o2", "");
    assert_eq!(two.sent(), [("o2".to_owned(), Some("alpha".to_owned()))], "its neighbours go");
    let held = two.lab.store.held().unwrap();
    assert_eq!(held.iter().map(|row| row.entity_key.as_str()).collect::<Vec<_>>(), ["o1", "o9"]);
    assert!(held[0].evidence.contains("no project") && held[0].project.is_empty());
    assert_eq!(two.lab.store.nameless().unwrap(), [(ReasonCode::RowRejected, 2)].into());
    assert_eq!(two.lab.store.held_retry(None, at(9)).unwrap(), 0, "still nothing tells");
    let still = two.lab.store.held_retry(Some(held[0].id), at(9)).unwrap_err();
    assert!(still.to_string().contains("no project"));
    two.start_session("nowhere", "alpha");
    assert_eq!(two.lab.store.held_retry(Some(held[0].id), at(9)).unwrap(), 1);
    assert!(two.sent().iter().any(|(key, _)| key == "o1"));
    two.lab.check_books();
    assert!(two.lab.store.held_drop(held[1].id, at(9)).unwrap());
    assert_eq!(two.lab.one::<i64>("SELECT count(*) FROM sync_mutations WHERE project = '' AND acked_at IS NULL"), 0);
}

#[test]
fn what_was_written_beside_an_older_daemon_is_named_when_the_store_is_brought_forward() {
    let two = two();
    two.save_without("s1", "o1", "alpha");
    two.go.0.execute_batch(BACK_TO_1_2).unwrap();
    let path = two.go.0.path().unwrap().to_owned();
    drop(two.lab);
    let lab = Lab::on(Store::open(std::path::Path::new(&path), at(0)).unwrap());
    assert_eq!(lab.one::<String>("SELECT project FROM observations WHERE sync_id = 'o1'"), "alpha");
    lab.check_index();
}
