//! What a cloud that was read to its head does not know of, though another one was told (local-store.md, "Enrolling").
#![expect(clippy::unwrap_used, reason = "tests")]

mod go_support;
mod store_support;

use engram_proto::ipc::request::UpdateRequest;
use engramd::memory;
use engramd::store::Store;
use engramd_core::rows::BatchLimits;
use go_support::Go;
use store_support::{CLOUD, Lab, at, project, relation, row, session, up};

const OLD: &str = "2026-09-01 10:00:00";

/// A store whose memories a Go process pushed to a cloud of its own.
fn served_elsewhere(memories: usize) -> (Lab, Go, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    drop(Store::open(&path, at(0)).unwrap());
    let go = Go::open(&path);
    go.0.execute("INSERT INTO sessions (id, project, directory) VALUES ('s1', 'alpha', '/a')", []).unwrap();
    go.journal("session", "s1", "upsert", &session("s1", "/a", 0), "alpha", OLD);
    for number in 0..memories {
        go.save("alpha", "s1", &format!("o{number}"), "years ago", OLD);
    }
    if memories > 1 {
        go.0.execute(
            "INSERT INTO memory_relations (sync_id, source_id, target_id, relation, judgment_status, marked_by_actor, marked_by_kind, created_at, updated_at)
             VALUES ('r1', 'o0', 'o1', 'related', 'judged', 'me', 'human', ?1, ?1)",
            [OLD],
        )
        .unwrap();
        go.journal("relation", "r1", "upsert", &relation("r1", "o0", "o1", 0), "alpha", OLD);
    }
    go.0.execute("UPDATE sync_mutations SET acked_at = ?1", [OLD]).unwrap();
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    while lab.store.take_up(100, at(0)).unwrap() {}
    while lab.store.backfill_slice(&project("alpha"), at(0), 10).unwrap() {}
    (lab, go, dir)
}

impl Lab {
    /// What waits to be sent, in the order of the journal.
    fn waits(&mut self) -> Vec<String> {
        let limits = BatchLimits { rows_max: 2_000, body_bytes_max: 1 << 20 };
        let rows = self.store.pending_batch(&self.fence, &project("alpha"), limits, at(9)).unwrap().rows;
        rows.into_iter().map(|row| row.entity_key).collect()
    }

    fn is_drained(&mut self) {
        while self.stand_ins().unfinished {}
    }
}

#[test]
fn a_history_that_went_to_another_cloud_goes_to_this_one_once_it_was_read() {
    let (mut lab, ..) = served_elsewhere(3);
    assert!(lab.waits().is_empty(), "nobody knows yet what the cloud holds");
    lab.apply(vec![
        row(8, "alpha", "session", "upsert", session("s1", "/a", 0)),
        up(16, "observation", store_support::observation("o1", "s1", "held there", 1)),
    ]);
    lab.is_drained();
    assert_eq!(lab.waits(), ["o0", "o2", "r1"]);
    lab.is_drained();
    assert_eq!(lab.waits().len(), 3, "each is offered once");
    lab.check_books();
}

#[test]
fn what_was_given_up_is_not_offered() {
    let (mut lab, ..) = served_elsewhere(1);
    let gives_up = "INSERT INTO engramd_journal (seq, void)
        SELECT seq, 'dropped' FROM sync_mutations WHERE entity_key = 'o0'";
    lab.store.read(|conn| Ok(conn.execute(gives_up, [])?)).unwrap();
    lab.is_drained();
    assert_eq!(lab.waits(), ["s1"]);
}

#[test]
fn cur_3_a_mirroring_offers_what_only_another_program_had_told() {
    let (mut lab, go, _dir) = served_elsewhere(1);
    lab.is_drained();
    for (at_seq, key) in (8..).step_by(8).zip(["s1", "o0"]) {
        let seq = lab.one::<i64>(&format!("SELECT max(seq) FROM sync_mutations WHERE entity_key = '{key}'"));
        lab.ack(seq, at_seq);
    }
    go.save("alpha", "s1", "o9", "pushed by autosync, and lost there", OLD);
    go.0.execute("UPDATE sync_mutations SET acked_at = ?1 WHERE acked_at IS NULL", [at(100_000).to_string()]).unwrap();
    while lab.store.take_up(100, at(9)).unwrap() {}
    let alpha = project("alpha");
    let mark = lab.store.counts().unwrap()[&alpha].reread.unwrap();
    lab.store.clear_reread(&lab.fence, &alpha, mark).unwrap();
    lab.is_drained();
    assert!(lab.waits().is_empty(), "what was looked at is not looked at again before a day passed");
    lab.store.remirror(&alpha).unwrap();
    while !lab.store.remirror_slice(&lab.fence, CLOUD, None, at(9), 10).unwrap().due.is_empty() {}
    lab.is_drained();
    assert_eq!(lab.waits(), ["s1", "o0", "o9"]);
    lab.check_books();
}

#[test]
fn cur_3_what_another_program_wrote_over_is_mirrored_as_it_was_told() {
    let (mut lab, go, _dir) = served_elsewhere(1);
    lab.is_drained();
    for (cloud_seq, key) in (8..).step_by(8).zip(["s1", "o0"]) {
        let seq = lab.one::<i64>(&format!("SELECT max(seq) FROM sync_mutations WHERE entity_key = '{key}'"));
        lab.ack(seq, cloud_seq);
    }
    let edit = UpdateRequest { id: "o0".to_owned(), title: Some("ours".to_owned()), ..UpdateRequest::default() };
    memory::update(&mut lab.store, &edit, &memory::Now { at: at(300), random: [1; 8] }).unwrap();
    lab.ack(lab.one("SELECT max(seq) FROM sync_mutations"), 24);
    // Autosync reads the first version again, and its row is all that there is; then the cloud loses the edit.
    go.pull(&[up(16, "observation", go.payload("observation", "o0"))]);
    go.0.execute("UPDATE observations SET title = 'years ago'", []).unwrap();
    while lab.store.take_up(100, at(9)).unwrap() {}
    let alpha = project("alpha");
    let mark = lab.store.counts().unwrap()[&alpha].reread.unwrap();
    lab.store.clear_reread(&lab.fence, &alpha, mark).unwrap();
    lab.store.remirror(&alpha).unwrap();
    while !lab.store.remirror_slice(&lab.fence, CLOUD, None, at(9), 10).unwrap().due.is_empty() {}
    let rows = lab.batch(10).rows;
    let titles: Vec<_> = rows.iter().filter(|row| row.entity_key == "o0").map(|row| &row.payload["title"]).collect();
    assert_eq!(titles, ["ours"]);
}

#[test]
fn own_3_a_long_history_is_offered_in_parts() {
    let (mut lab, ..) = served_elsewhere(1_200);
    let mut parts = 0;
    while lab.stand_ins().unfinished {
        parts += 1;
    }
    assert!(parts > 3, "{parts}");
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM sync_mutations WHERE acked_at IS NULL"), 1_202);
}
