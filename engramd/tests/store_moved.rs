//! A memory that a Go process moved to another project: deleted where it was, new where it is (SCOPE-2).
#![expect(clippy::unwrap_used, reason = "tests")]

mod go_support;
mod store_support;

use engram_proto::merge::{Kind, Version};
use engram_proto::mutation::{Entity, Op};
use engramd::store::{Store, versions};
use engramd_core::rows::BatchLimits;
use go_support::Go;
use store_support::{CLOUD, Lab, at, observation, project, prompt, row, session, up};

struct Two {
    lab: Lab,
    go: Go,
    _dir: tempfile::TempDir,
}

fn second(seconds: i64) -> String {
    at(seconds).to_string()
}

/// A store of ours that knows a memory and a prompt of project alpha.
fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.apply(vec![
        up(8, "session", session("s1", "/a", 0)),
        up(16, "observation", observation("o1", "s1", "one", 100)),
        up(24, "prompt", prompt("p1", "s1", "why", 100)),
    ]);
    Two { lab, go: Go::open(&path), _dir: dir }
}

impl Two {
    /// What merging two projects does: names change, and the journal hears nothing (D12).
    fn move_to_beta(&self) {
        for table in ["sessions", "observations", "user_prompts"] {
            let sql = format!("UPDATE {table} SET project = 'beta' WHERE project = 'alpha'");
            self.go.0.execute(&sql, []).unwrap();
        }
    }

    fn enroll_beta(&mut self) {
        let beta = project("beta");
        self.lab.store.enroll(&beta, at(9)).unwrap();
        while self.lab.store.backfill_slice(&beta, at(9), 10).unwrap() {}
    }

    fn sent(&mut self, name: &str) -> Vec<(String, String)> {
        let limits = BatchLimits { rows_max: 100, body_bytes_max: 1 << 20 };
        let rows = self.lab.store.pending_batch(&self.lab.fence, &project(name), limits, at(9)).unwrap().rows;
        rows.into_iter().map(|row| (row.op.to_string(), row.entity_key)).collect()
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        let version = self.lab.store.read(|conn| versions::local(conn, &project(name), Entity::Observation, "o1"));
        version.unwrap().map(|version| match version {
            Version::Observation(version) => version.key.kind,
            other => panic!("{other:?}"),
        })
    }

    /// Looks at every row, on this day; the first time only says when the next is due.
    fn pass(&mut self, day: i64) {
        let Lab { store, fence, .. } = &mut self.lab;
        while store.recheck_slice(fence, CLOUD, at(day * 86_400), 86_400_000, 100).unwrap().again_in_ms == 0 {}
        for name in ["alpha", "beta"] {
            while store.stand_ins(fence, &project(name), at(day * 86_400)).unwrap().unfinished {}
        }
    }

    fn is_read_again(&mut self, names: &[&str]) {
        for name in names.iter().map(|name| project(name)) {
            let mark = self.lab.store.counts().unwrap()[&name].reread.unwrap();
            self.lab.store.clear_reread(&self.lab.fence, &name, mark).unwrap();
        }
    }

    fn check(&mut self) {
        for name in ["alpha", "beta"] {
            let books = self.lab.store.ack2(&project(name)).unwrap();
            assert_eq!(books.written, books.pending + books.acked + books.held + books.void, "{name}: {books:?}");
        }
        self.lab.check_index();
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(op, key)| (op.to_owned(), key.to_owned())).collect()
}

#[test]
fn scope_2_enrolling_the_new_project_delivers_what_came_and_deletes_what_left() {
    let mut two = two();
    two.move_to_beta();
    two.enroll_beta();
    assert_eq!(two.sent("beta"), pairs(&[("upsert", "s1"), ("upsert", "o1"), ("upsert", "p1")]));
    assert_eq!(two.sent("alpha"), pairs(&[("delete", "o1"), ("delete", "p1")]));
    assert_eq!((two.kind("alpha"), two.kind("beta")), (Some(Kind::Soft), Some(Kind::Upsert)));
    two.check();
}

#[test]
fn conv_5_an_old_version_that_comes_again_does_not_bring_it_back_where_it_was() {
    let mut two = two();
    two.lab.store.enroll(&project("beta"), at(0)).unwrap();
    two.move_to_beta();
    two.lab.apply(vec![up(32, "observation", observation("o1", "s1", "edited elsewhere", 200))]);
    assert_eq!(two.lab.one::<String>("SELECT group_concat(project) FROM observations"), "beta");
    assert_eq!(two.sent("alpha"), pairs(&[("delete", "o1")]));
    assert_eq!(two.sent("beta"), pairs(&[("upsert", "s1"), ("upsert", "o1")]));
    two.check();
}

#[test]
fn an_edit_after_the_move_tells_of_it() {
    let mut two = two();
    two.lab.store.enroll(&project("beta"), at(0)).unwrap();
    two.move_to_beta();
    two.go.edit("beta", "o1", "edited", &second(300));
    while two.lab.store.take_up(1, at(9)).unwrap() {}
    assert_eq!(two.sent("alpha"), pairs(&[("delete", "o1")]));
    assert_eq!(two.sent("beta"), pairs(&[("upsert", "o1"), ("upsert", "s1")]), "its session is told of too");
    two.check();
}

#[test]
fn what_never_went_out_is_taken_back_instead_of_deleted() {
    let mut two = two();
    two.lab.store.enroll(&project("beta"), at(0)).unwrap();
    two.lab.write(Entity::Observation, Op::Upsert, observation("o2", "s1", "unsent", 100));
    two.move_to_beta();
    two.go.edit("beta", "o2", "edited", &second(300));
    assert_eq!(two.sent("alpha"), pairs(&[]));
    assert_eq!(two.sent("beta"), pairs(&[("upsert", "o2"), ("upsert", "s1")]));
    assert_eq!(two.lab.store.ack2(&project("alpha")).unwrap().void, 1);
    two.check();
}

#[test]
fn scope_2_two_memories_of_one_sync_id_are_no_move() {
    let mut two = two();
    two.lab.store.enroll(&project("beta"), at(0)).unwrap();
    let mut other = observation("o1", "s2", "of beta", 100);
    other["project"] = "beta".into();
    two.lab.apply(vec![
        row(32, "beta", "session", "upsert", session("s2", "/b", 0)),
        row(40, "beta", "observation", "upsert", other),
    ]);
    // Autosync, which has room for one, shows the other's text in this one's row.
    two.go.0.execute("DELETE FROM observations WHERE project = 'alpha'", []).unwrap();
    two.go.edit("beta", "o1", "edited", &second(300));
    assert_eq!(two.sent("alpha"), pairs(&[]));
    two.check();
}

#[test]
fn while_the_store_is_read_again_a_row_in_another_project_tells_of_no_move() {
    let mut two = two();
    two.lab.store.enroll(&project("beta"), at(0)).unwrap();
    // Another memory of this sync id, in a project that we never read: the peer has room for one.
    let mut other = observation("o1", "s1", "of beta", 100);
    other["project"] = "beta".into();
    two.go.pull(&[row(40, "beta", "observation", "upsert", other)]);
    two.go.edit("beta", "o1", "edited", &second(300));
    while two.lab.store.take_up(100, at(9)).unwrap() {}
    assert_eq!(two.kind("alpha"), Some(Kind::Upsert), "deleted for nobody");
    two.check();
}

#[test]
fn what_moved_away_unsent_and_came_back_is_written_anew() {
    let mut two = two();
    two.lab.store.enroll(&project("beta"), at(0)).unwrap();
    two.lab.write(Entity::Observation, Op::Upsert, observation("o2", "s1", "unsent", 100));
    two.move_to_beta();
    two.go.edit("beta", "o2", "edited", &second(300));
    while two.lab.store.take_up(100, at(9)).unwrap() {}
    let served = |seq| row(seq, "beta", "observation", "upsert", two.go.payload("observation", "o2"));
    let (first, again) = (served(40), served(48));
    two.lab.apply(vec![row(32, "beta", "session", "upsert", session("s1", "/a", 0)), first]);
    for table in ["sessions", "observations", "user_prompts"] {
        two.go.0.execute(&format!("UPDATE {table} SET project = 'alpha'"), []).unwrap();
    }
    two.lab.apply(vec![again]);
    assert_eq!(two.sent("beta").last(), Some(&("delete".to_owned(), "o2".to_owned())));
    assert!(
        two.sent("alpha").contains(&("upsert".to_owned(), "o2".to_owned())),
        "what was taken back tells of nothing"
    );
    two.check();
}

#[test]
fn a_move_beside_autosync_is_told_once_everything_was_read_again() {
    let mut two = two();
    let (alpha, beta) = (project("alpha"), project("beta"));
    two.lab.store.enroll(&beta, at(0)).unwrap();
    two.go.pull(&[up(16, "observation", observation("o1", "s1", "one", 100))]);
    two.move_to_beta();
    while two.lab.store.take_up(100, at(9)).unwrap() {}
    let mark = two.lab.store.counts().unwrap()[&alpha].reread.unwrap();
    two.lab.apply(vec![
        up(16, "observation", observation("o1", "s1", "one", 100)),
        up(24, "prompt", prompt("p1", "s1", "why", 100)),
    ]);
    two.lab.store.stand_ins(&two.lab.fence, &alpha, at(9)).unwrap();
    assert_eq!(two.sent("alpha"), pairs(&[]), "nothing is pushed before all was read again");
    for name in [&alpha, &beta] {
        two.lab.store.clear_reread(&two.lab.fence, name, mark).unwrap();
    }
    two.lab.store.stand_ins(&two.lab.fence, &alpha, at(9)).unwrap();
    assert_eq!(two.sent("alpha"), pairs(&[("delete", "o1"), ("delete", "p1")]));
    let mut arrived = two.sent("beta");
    arrived.sort_unstable();
    assert_eq!(arrived, pairs(&[("upsert", "o1"), ("upsert", "p1"), ("upsert", "s1")]));
    let live = "SELECT group_concat(project) FROM observations WHERE deleted_at IS NULL";
    assert_eq!(two.lab.one::<String>(live), "beta");
    assert_eq!(two.lab.one::<String>("SELECT group_concat(project) FROM user_prompts"), "beta");
    two.check();
}

#[test]
fn conv_1_what_autosync_brought_back_and_a_process_moved_is_new_where_it_is() {
    told_as_new("UPDATE observations SET deleted_at = NULL, project = 'beta'");
    // The deletion came in once more, and left a tombstone where it was.
    told_as_new(
        "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, created_at, updated_at)
         SELECT sync_id, session_id, 'manual', 'one', 'one', 'beta', 'project', created_at, updated_at FROM observations",
    );
}

fn told_as_new(moves: &str) {
    let mut two = two();
    two.enroll_beta();
    two.pass(0);
    let gone = serde_json::json!({"sync_id": "o1", "session_id": "s1", "deleted": true,
        "deleted_at": at(200).to_string(), "hard_delete": false});
    two.lab.apply(vec![row(32, "alpha", "observation", "delete", gone)]);
    assert_eq!(two.kind("alpha"), Some(Kind::Soft));
    // The peer knows of no deletion that lasts; its user moves what it shows.
    two.go.0.execute(moves, []).unwrap();
    two.pass(1);
    assert_eq!(two.sent("beta"), pairs(&[("upsert", "o1")]));
    assert_eq!((two.kind("alpha"), two.kind("beta")), (Some(Kind::Soft), Some(Kind::Upsert)));
    two.pass(2);
    assert_eq!(two.sent("beta").len(), 1, "it is told once");
    two.check();
}

#[test]
fn what_came_from_a_project_that_nobody_looks_at_is_told_within_a_day() {
    for (is_told_there, left) in [(false, vec![]), (true, pairs(&[("delete", "o2")]))] {
        let mut two = two();
        two.enroll_beta();
        two.pass(0);
        two.go.0.execute("INSERT INTO sessions (id, project, directory) VALUES ('s2', 'gamma', '/g')", []).unwrap();
        two.go.save("gamma", "s2", "o2", "kept to itself", &second(100));
        if is_told_there {
            // It synced once: the cloud knows of it.
            two.lab.store.enroll(&project("gamma"), at(0)).unwrap();
            let served = row(24, "gamma", "observation", "upsert", two.go.payload("observation", "o2"));
            two.lab.apply(vec![row(16, "gamma", "session", "upsert", session("s2", "/g", 0)), served]);
        }
        two.lab.store.unenroll(&project("gamma")).unwrap();
        // Autosync ran, so that everything is to be read again; nobody reads gamma.
        two.go.pull(&[up(16, "observation", observation("o1", "s1", "one", 100))]);
        while two.lab.store.take_up(100, at(9)).unwrap() {}
        two.is_read_again(&["alpha", "beta"]);
        for table in ["sessions", "observations"] {
            two.go.0.execute(&format!("UPDATE {table} SET project = 'beta' WHERE project = 'gamma'"), []).unwrap();
        }
        two.pass(1);
        assert_eq!(two.sent("beta"), pairs(&[("upsert", "s2"), ("upsert", "o2")]));
        two.lab.store.enroll(&project("gamma"), at(10)).unwrap();
        two.is_read_again(&["gamma"]);
        let of_memory: Vec<_> = two.sent("gamma").into_iter().filter(|(_, key)| key == "o2").collect();
        assert_eq!(of_memory, left, "what never went out is taken back");
        two.pass(2);
        assert_eq!(two.sent("beta").len(), 2, "it is told once");
        two.check();
    }
}

#[test]
fn a_doubt_outlasts_the_looking_at_rows() {
    let mut two = two();
    let (alpha, beta) = (project("alpha"), project("beta"));
    two.enroll_beta();
    two.pass(0);
    two.go.pull(&[up(16, "observation", observation("o1", "s1", "one", 100))]);
    two.move_to_beta();
    while two.lab.store.take_up(100, at(9)).unwrap() {}
    let mark = two.lab.store.counts().unwrap()[&alpha].reread.unwrap();
    two.lab.apply(vec![up(16, "observation", observation("o1", "s1", "one", 100))]);
    two.lab.store.clear_reread(&two.lab.fence, &alpha, mark).unwrap();
    two.pass(1);
    assert_eq!(two.sent("beta"), pairs(&[]), "beta was not read again: the row may show what the cloud has there");
    two.lab.store.clear_reread(&two.lab.fence, &beta, mark).unwrap();
    two.pass(2);
    assert_eq!(two.sent("alpha"), pairs(&[("delete", "o1"), ("delete", "p1")]));
    let live = "SELECT group_concat(project) FROM observations WHERE deleted_at IS NULL";
    assert_eq!(two.lab.one::<String>(live), "beta", "it moved, and was not doubled");
    two.check();
}

#[test]
fn conv_6_a_move_has_seen_what_its_row_shows() {
    let mut two = two();
    two.enroll_beta();
    let seen = two.lab.version(Entity::Observation, "o1").unwrap().hash().to_string();
    two.go.pull(&[up(16, "observation", observation("o1", "s1", "one", 100))]);
    two.move_to_beta();
    while two.lab.store.take_up(100, at(9)).unwrap() {}
    two.lab.apply(vec![up(32, "observation", observation("o1", "s1", "edited elsewhere", 200))]);
    two.is_read_again(&["alpha", "beta"]);
    two.lab.store.stand_ins(&two.lab.fence, &project("alpha"), at(9)).unwrap();
    let limits = BatchLimits { rows_max: 100, body_bytes_max: 1 << 20 };
    let rows = two.lab.store.pending_batch(&two.lab.fence, &project("alpha"), limits, at(9)).unwrap().rows;
    let delete = rows.iter().find(|row| row.entity_key == "o1").unwrap();
    assert_eq!(delete.base.as_deref(), Some(seen.as_str()), "so that the edit which it did not see is listed");
}

#[test]
fn conv_3_an_edit_after_a_move_beats_what_was_moved_even_with_a_clock_that_is_behind() {
    let mut two = two();
    two.enroll_beta();
    two.move_to_beta();
    two.go.edit("beta", "o1", "edited", &second(50));
    while two.lab.store.take_up(100, at(9)).unwrap() {}
    // Somebody else moved it too, and edited nothing.
    let mut moved = observation("o1", "s1", "one", 100);
    moved["project"] = "beta".into();
    two.lab.apply(vec![
        row(32, "beta", "session", "upsert", session("s1", "/a", 0)),
        row(40, "beta", "observation", "upsert", moved),
    ]);
    assert_eq!(two.lab.title("o1").as_deref(), Some("edited"));
    two.check();
}

#[test]
fn what_came_back_with_an_edit_is_told_of() {
    let mut two = two();
    two.enroll_beta();
    two.go.save("beta", "s1", "o2", "saved", &second(200));
    two.go.0.execute("UPDATE observations SET project = 'alpha' WHERE sync_id = 'o2'", []).unwrap();
    two.go.edit("alpha", "o2", "edited", &second(100));
    two.go.0.execute("UPDATE observations SET project = 'beta' WHERE sync_id = 'o2'", []).unwrap();
    while two.lab.store.take_up(100, at(9)).unwrap() {}
    let limits = BatchLimits { rows_max: 100, body_bytes_max: 1 << 20 };
    let rows = two.lab.store.pending_batch(&two.lab.fence, &project("beta"), limits, at(9)).unwrap().rows;
    let titles: Vec<_> = rows.iter().filter_map(|row| row.payload["title"].as_str()).collect();
    assert_eq!(titles, ["saved", "edited"]);
    assert_eq!(two.sent("alpha"), pairs(&[]));
    two.check();
}

#[test]
fn what_came_back_with_an_edit_is_told_of_also_where_it_was_taken_up_before_it_left() {
    let mut two = two();
    two.enroll_beta();
    two.go.save("beta", "s1", "o2", "saved", &second(200));
    while two.lab.store.take_up(100, at(9)).unwrap() {}
    two.go.0.execute("UPDATE observations SET project = 'alpha' WHERE sync_id = 'o2'", []).unwrap();
    two.go.edit("alpha", "o2", "edited", &second(300));
    two.go.0.execute("UPDATE observations SET project = 'beta' WHERE sync_id = 'o2'", []).unwrap();
    while two.lab.store.take_up(100, at(9)).unwrap() {}
    assert_eq!(two.lab.title("o2").as_deref(), Some("edited"));
    assert_eq!(two.sent("alpha"), pairs(&[]));
    let limits = BatchLimits { rows_max: 100, body_bytes_max: 1 << 20 };
    let rows = two.lab.store.pending_batch(&two.lab.fence, &project("beta"), limits, at(9)).unwrap().rows;
    let titles: Vec<_> = rows.iter().filter_map(|row| row.payload["title"].as_str()).collect();
    assert_eq!(titles, ["saved", "edited"]);
    two.check();
}
