//! A Go process synced the store while we did not: it is read again from where that process was, and nothing is pushed
//! before (peers.md, "Autosync ran while we did not").
#![expect(clippy::unwrap_used, reason = "tests")]

mod go_support;
mod store_support;

use engram_proto::http::pull::PulledMutation;
use engram_proto::ipc::request::UpdateRequest;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engram_proto::reason::ReasonCode;
use engramd::memory;
use engramd::store::Store;
use engramd_core::rows::{LeaseOutcome, Settlement};
use go_support::Go;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use store_support::{CLOUD, Lab, OWNER, at, observation, page, project, row, session, up};

struct Two {
    lab: Lab,
    go: Go,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn second(seconds: i64) -> String {
    at(seconds).to_string()
}

fn revised(key: &str, title: &str, updated: i64, revision: i64) -> Value {
    let mut memory = observation(key, "s1", title, updated);
    memory["revision_count"] = revision.into();
    memory
}

/// What the cloud holds: a session, and a memory in three versions.
fn served() -> Vec<PulledMutation> {
    vec![
        up(8, "session", session("s1", "/a", 0)),
        up(16, "observation", revised("o1", "one", 100, 1)),
        up(24, "observation", revised("o1", "two", 200, 2)),
        up(32, "observation", revised("o1", "three", 300, 3)),
    ]
}

/// A store that pulled all of it, beside an autosync that had pulled two rows of it.
fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    let go = Go::open(&path);
    go.pull(&served()[..2]);
    lab.apply(served());
    let mut two = Two { lab, go, path, _dir: dir };
    two.read_to_head();
    two
}

impl Two {
    fn cursor(&self) -> u64 {
        self.lab.store.cursors(CLOUD, std::slice::from_ref(&self.lab.alpha)).unwrap()[&self.lab.alpha]
    }

    fn mark(&mut self) -> Option<i64> {
        self.lab.store.counts().unwrap().get(&self.lab.alpha).and_then(|counts| counts.reread)
    }

    /// Pulls what the cloud holds behind the cursor, as the loop does.
    fn read_to_head(&mut self) {
        self.take_up();
        let cursor = self.cursor();
        self.lab.apply(served().into_iter().filter(|row| row.seq > cursor).collect());
        if let Some(mark) = self.mark() {
            self.lab.store.clear_reread(&self.lab.fence, &self.lab.alpha, mark).unwrap();
        }
    }

    fn take_up(&mut self) {
        while self.lab.store.take_up(100, at(1_000)).unwrap() {}
    }

    /// Starts the daemon's part again, as another process would.
    fn reopened(self) -> Self {
        let Self { lab, go, path, _dir } = self;
        drop(lab);
        Self { lab: Lab::on(Store::open(&path, at(0)).unwrap()), go, path, _dir }
    }
}

#[test]
fn cur_1_every_cursor_goes_back_to_where_autosync_was_at_our_last_look_and_no_further() {
    let mut two = two();
    let beta = project("beta");
    two.lab.store.enroll(&beta, at(0)).unwrap();
    two.lab.apply(vec![row(12, "beta", "session", "upsert", session("s2", "/b", 0))]);
    let cursors = |two: &Two| {
        let both = two.lab.store.cursors(CLOUD, &[two.lab.alpha.clone(), beta.clone()]).unwrap();
        both.into_values().collect::<Vec<_>>()
    };
    assert_eq!(cursors(&two), [32, 12]);
    two.go.pull(&served()[2..3]);
    let mut two = two.reopened();
    two.take_up();
    assert_eq!(cursors(&two), [16, 12], "it had pulled up to 16");
    two.go.pull(&served()[3..]);
    two.take_up();
    assert_eq!(cursors(&two), [16, 12], "what lies between was not read yet");
    two.read_to_head();
    assert_eq!((cursors(&two), two.mark()), (vec![32, 12], None));
}

#[test]
fn conv_1_what_autosync_pulled_over_newer_rows_is_put_right_and_nothing_is_queued() {
    let mut two = two();
    two.go.pull(&served()[2..3]);
    assert_eq!(two.lab.title("o1").as_deref(), Some("two"), "the peer overwrites in the order of arrival");
    two.read_to_head();
    assert_eq!(two.lab.title("o1").as_deref(), Some("three"));
    assert_eq!(two.lab.batch(10).rows.len(), 0);
    two.lab.check_books();
    two.lab.check_index();
}

#[test]
fn nothing_is_pushed_before_the_project_was_read_to_the_head_again_across_restarts_too() {
    let mut two = two();
    two.lab.write(Entity::Observation, Op::Upsert, observation("o2", "s1", "ours", 400));
    assert_eq!(two.lab.batch(10).rows.len(), 1);
    two.go.pull(&served()[2..3]);
    assert_eq!(two.lab.batch(10).rows.len(), 0, "seen in the transaction that would have read it");
    let mut two = two.reopened();
    let mark = two.mark().unwrap();
    assert_eq!(two.lab.batch(10).rows.len(), 0);
    // It moves once more: what was read for the first time says nothing of the second.
    two.go.pull(&served()[3..]);
    two.lab.store.clear_reread(&two.lab.fence, &two.lab.alpha, mark).unwrap();
    assert!(two.mark().is_some_and(|later| later > mark));
    assert_eq!(two.lab.batch(10).rows.len(), 0);
    two.read_to_head();
    assert_eq!(two.lab.batch(10).rows.len(), 1);
    two.lab.check_books();
}

#[test]
fn cur_1_a_page_from_before_the_cursors_went_back_moves_none() {
    let mut two = two();
    two.go.pull(&served()[2..3]);
    two.take_up();
    let since = BTreeMap::from([(two.lab.alpha.clone(), 32)]);
    let late = page(vec![up(40, "observation", observation("o4", "s1", "late", 1))]);
    two.lab.store.apply_page(&two.lab.fence, CLOUD, &since, &late, at(9)).unwrap();
    assert_eq!(two.cursor(), 16);
    assert_eq!(two.lab.title("o4").as_deref(), Some("late"), "applied all the same");
}

#[test]
fn ack_2_what_autosync_pushed_is_acknowledged_once_even_if_it_was_held_or_older() {
    let mut two = two();
    let first = two.lab.write(Entity::Observation, Op::Upsert, observation("o2", "s1", "held", 400));
    let second_row = two.lab.write(Entity::Observation, Op::Upsert, observation("o3", "s1", "accepted", 400));
    two.lab.batch(10);
    let held = Settlement::Held { seq: first, reason: ReasonCode::RowRejected, evidence: "no".to_owned() };
    two.lab.store.settle(&two.lab.fence, &two.lab.alpha, &[held], at(5)).unwrap();
    two.lab.ack(second_row, 48);
    assert_eq!(two.mark(), None, "our own acknowledgements are ours");
    // A later row was acknowledged before: the peer's number does not move.
    two.go.acknowledge(&[first], &second(2_000));
    two.take_up();
    assert!(two.mark().is_some());
    assert_eq!(two.lab.store.held().unwrap().len(), 0);
    let books = two.lab.store.ack2(&two.lab.alpha).unwrap();
    assert_eq!((books.written, books.acked, books.held, books.pending), (2, 2, 0, 0));
    two.lab.check_books();
    // Nothing is taken for known: a pull tells.
    assert!(!two.lab.one::<bool>("SELECT EXISTS (SELECT 1 FROM engramd_version WHERE entity_key = 'o2')"));
    two.lab.apply(vec![up(56, "observation", observation("o2", "s1", "held", 400))]);
    assert!(two.lab.one::<bool>("SELECT EXISTS (SELECT 1 FROM engramd_version WHERE entity_key = 'o2')"));
    assert_eq!(two.lab.one::<i64>("SELECT count(*) FROM observations WHERE sync_id = 'o2'"), 1);
}

#[test]
fn ack_2_a_new_row_that_autosync_pushed_before_we_saw_it_comes_back_by_the_pull() {
    let mut two = two();
    two.go.save("alpha", "s1", "o5", "of a Go process", &second(500));
    two.go.edit("alpha", "o5", "edited once", &second(510));
    assert_eq!(two.go.push(&second(520)), ["o5", "o5"]);
    two.take_up();
    assert_eq!(two.cursor(), 16);
    // What `mark_reviewed` does has no say, though nothing is known: a journal row was written.
    two.go.0.execute("UPDATE observations SET updated_at = ?1 WHERE sync_id = 'o5'", [second(900)]).unwrap();
    let mut edited = revised("o5", "edited once", 510, 2);
    edited["last_seen_at"] = second(500).into();
    two.lab.apply(vec![
        up(40, "observation", revised("o5", "of a Go process", 500, 1)),
        up(48, "observation", edited),
        up(56, "observation", revised("o5", "edited elsewhere", 600, 3)),
    ]);
    assert_eq!(two.lab.title("o5").as_deref(), Some("edited elsewhere"));
    assert_eq!(two.lab.one::<i64>("SELECT count(*) FROM observations WHERE sync_id = 'o5'"), 1);
    two.read_to_head();
    assert_eq!(two.lab.batch(10).rows.len(), 0);
    assert_eq!(two.lab.one::<i64>("SELECT count(*) FROM engramd_conflict"), 0);
    two.lab.check_books();
}

#[test]
fn conv_4_what_was_written_over_a_pending_edit_behind_the_journal_goes_at_once() {
    let mut two = two();
    two.lab.write(Entity::Observation, Op::Upsert, revised("o1", "ours", 400, 4));
    two.go.pull(&served()[2..3]);
    assert_eq!(two.lab.title("o1").as_deref(), Some("two"));
    two.take_up();
    assert_eq!(two.lab.title("o1").as_deref(), Some("ours"));
    two.lab.check_index();
    // Without any sync too (an import, say), once the row is about to be sent.
    two.read_to_head();
    two.go.0.execute("UPDATE observations SET title = 'imported' WHERE sync_id = 'o1'", []).unwrap();
    assert_eq!(two.lab.batch(10).rows.len(), 1);
    assert_eq!(two.lab.title("o1").as_deref(), Some("ours"));
    two.lab.check_index();
}

#[test]
fn conv_4_a_pending_row_that_lacks_its_text_writes_over_nothing() {
    let mut two = two();
    let mut bare = revised("o1", "", 400, 4);
    bare["content"] = "".into();
    two.go.journal("observation", "o1", "upsert", &bare, "alpha", &second(400));
    two.go.pull(&served()[2..3]);
    two.take_up();
    assert_eq!(two.lab.title("o1").as_deref(), Some("two"), "it will be filled from the row");
}

#[test]
fn an_edit_names_no_base_once_autosync_has_moved() {
    let mut two = two();
    let base = |two: &Two| two.lab.one::<Option<String>>("SELECT base FROM engramd_journal ORDER BY seq DESC LIMIT 1");
    two.go.edit("alpha", "o1", "four", &second(400));
    two.take_up();
    assert!(base(&two).is_some(), "one revision more than the known one");
    two.go.pull(&[up(40, "observation", revised("o1", "elsewhere", 450, 4))]);
    two.go.edit("alpha", "o1", "five", &second(500));
    two.take_up();
    let journal = "SELECT group_concat(j.base IS NOT NULL) FROM sync_mutations AS m
        LEFT JOIN engramd_journal AS j ON j.seq = m.seq WHERE m.acked_at IS NULL ORDER BY m.seq";
    assert_eq!(two.lab.one::<String>(journal), "1,0");
}

#[test]
fn own_2_autosync_that_had_the_lease_while_we_waited_counts_too() {
    let mut two = two();
    two.lab.store.release_lease(&two.lab.fence).unwrap();
    two.go.hold_lease(Some(&at(60).rfc3339()));
    let now_ms = at(0).unix_s() * 1_000;
    let waiting = two.lab.store.acquire_lease(OWNER, now_ms, 60_000).unwrap();
    assert!(matches!(waiting, LeaseOutcome::HeldElsewhere { .. }));
    two.go.pull(&served()[2..]);
    two.go.hold_lease(None);
    let LeaseOutcome::Granted { fence, .. } = two.lab.store.acquire_lease(OWNER, now_ms, 60_000).unwrap() else {
        panic!("it was given back");
    };
    two.lab.fence = fence;
    assert!(two.mark().is_some(), "known by the time we have the lease");
    assert_eq!(two.cursor(), 16);
}

#[test]
fn a_store_of_ours_that_never_looked_is_read_from_the_beginning_if_autosync_ever_pulled() {
    let two = two();
    let forget = "DELETE FROM engramd_meta WHERE key = 'autosync_seen'";
    two.go.0.execute(forget, []).unwrap();
    let mut two = two.reopened();
    assert_eq!((two.cursor(), two.mark().is_some()), (0, true));
    two.read_to_head();
    two.go.0.execute("UPDATE sync_state SET last_pulled_seq = 0", []).unwrap();
    two.go.0.execute(forget, []).unwrap();
    let mut two = two.reopened();
    assert_eq!((two.cursor(), two.mark()), (32, None), "and not if it never did");
}

#[test]
fn a_store_of_ours_that_never_looked_has_looked_after_a_transaction_that_changed_nothing() {
    let mut store = Store::open_in_memory(at(0)).unwrap();
    store.read(|conn| Ok(conn.execute("DELETE FROM engramd_meta WHERE key = 'autosync_seen'", [])?)).unwrap();
    store.write(|_| Ok(())).unwrap();
    // Else what autosync pushes now would count as seen at the next look.
    assert_eq!(store.meta("autosync_seen").unwrap().as_deref(), Some("0 0 "));
}

#[test]
fn conv_1_a_memory_that_only_autosync_pulled_takes_the_time_of_what_it_is() {
    let mut two = two();
    // Known to nobody here but the peer: pulled by it, then reviewed, which moves its time.
    two.go.pull(&[
        up(40, "observation", revised("o6", "first", 100, 1)),
        up(48, "observation", revised("o6", "second", 200, 2)),
    ]);
    two.go.0.execute("UPDATE observations SET updated_at = ?1 WHERE sync_id = 'o6'", [second(900)]).unwrap();
    two.take_up();
    two.lab.apply(vec![
        up(40, "observation", revised("o6", "first", 100, 1)),
        up(48, "observation", revised("o6", "second", 200, 2)),
        up(56, "observation", revised("o6", "third", 300, 3)),
    ]);
    assert_eq!(two.lab.title("o6").as_deref(), Some("third"), "a review beats no edit");
    two.read_to_head();
    assert_eq!(two.lab.batch(10).rows.len(), 0);
    let Some(Version::Observation(known)) = two.lab.version(Entity::Observation, "o6") else { panic!("a memory") };
    assert_eq!(known.key.time, Some(at(300)));
    two.lab.check_books();
}

#[test]
fn conv_3_an_edit_by_a_clock_that_is_behind_beats_what_it_was_made_over() {
    let mut two = two();
    let pulled = up(40, "observation", revised("o6", "first", 900, 1));
    two.go.pull(std::slice::from_ref(&pulled));
    // Its clock is behind: a fold takes its time, and so does our edit over that.
    two.go.fold("alpha", "o6", &second(100));
    let edit = UpdateRequest { id: "o6".to_owned(), title: Some("edited".to_owned()), ..UpdateRequest::default() };
    memory::update(&mut two.lab.store, &edit, &memory::Now { at: at(200), random: [1; 8] }).unwrap();
    two.lab.apply(vec![pulled]);
    assert_eq!(two.lab.title("o6").as_deref(), Some("edited"));
    two.read_to_head();
    let waits: Vec<_> = two.lab.batch(10).rows.into_iter().map(|row| row.payload["title"].clone()).collect();
    assert_eq!(waits, ["edited"], "and the fold is what came");
    two.lab.check_books();
}

#[test]
fn conv_6_an_edit_that_loses_to_what_came_before_it_is_listed() {
    let mut two = two();
    let pulled = up(40, "observation", revised("o6", "first", 900, 1));
    two.go.pull(std::slice::from_ref(&pulled));
    two.go.fold("alpha", "o6", &second(900));
    two.go.push(&second(900));
    // By a clock that is behind, before anything was read again: nobody can tell what it was made over.
    two.go.edit("alpha", "o6", "edited", &second(100));
    two.take_up();
    two.lab.apply(vec![pulled]);
    assert_eq!(two.lab.title("o6").as_deref(), Some("first"));
    let listed = two.lab.one::<String>("SELECT payload ->> '$.title' FROM engramd_conflict WHERE entity_key = 'o6'");
    assert_eq!(listed, "edited");
    two.lab.check_books();
}

#[test]
fn conv_6_an_edit_over_what_autosync_put_in_the_place_of_ours_is_no_successor() {
    let mut two = two();
    let pulled = up(40, "observation", revised("o6", "first", 100, 1));
    two.lab.apply(vec![pulled.clone()]);
    let edit = UpdateRequest { id: "o6".to_owned(), title: Some("ours".to_owned()), ..UpdateRequest::default() };
    memory::update(&mut two.lab.store, &edit, &memory::Now { at: at(200), random: [1; 8] }).unwrap();
    let first = two.lab.version(Entity::Observation, "o6").unwrap();
    two.go.pull(std::slice::from_ref(&pulled));
    two.go.edit("alpha", "o6", "theirs", &second(300));
    two.take_up();
    two.read_to_head();
    let bases: Vec<_> = two.lab.batch(10).rows.into_iter().map(|row| row.base).collect();
    assert_eq!(bases.len(), 2);
    assert!(bases[1].is_some() && bases[0] == bases[1] && bases[1] != Some(first.hash().to_string()), "{bases:?}");
    // Somebody else's edit beats both.
    two.lab.apply(vec![up(48, "observation", revised("o6", "of somebody else", 900, 2))]);
    let listed = "SELECT group_concat(payload ->> '$.title') FROM
                      (SELECT payload FROM engramd_conflict WHERE entity_key = 'o6' ORDER BY payload ->> '$.title')";
    assert_eq!(two.lab.one::<String>(listed), "ours,theirs");
}

#[test]
fn conv_6_of_two_edits_over_one_version_the_one_by_a_clock_that_is_behind_is_listed_or_sent() {
    for (title, listed, sent) in [("theirs", "theirs", vec!["ours"]), ("zzz", "", vec!["ours", "zzz"])] {
        let mut two = two();
        let pulled = up(40, "observation", revised("o6", "first", 500, 1));
        two.lab.apply(vec![pulled.clone()]);
        two.go.edit("alpha", "o6", "ours", &second(500));
        two.take_up();
        // Autosync puts what the cloud holds in its place, and the next edit has another clock.
        two.go.pull(std::slice::from_ref(&pulled));
        two.go.edit("alpha", "o6", title, &second(100));
        two.take_up();
        two.lab.apply(vec![pulled]);
        two.read_to_head();
        let waits: Vec<_> = two.lab.batch(10).rows.into_iter().map(|row| row.payload["title"].clone()).collect();
        assert_eq!(waits, sent);
        let sql = "SELECT coalesce(group_concat(payload ->> '$.title'), '') FROM engramd_conflict";
        assert_eq!(two.lab.one::<String>(sql), listed);
        assert_eq!(two.lab.title("o6").as_deref(), sent.last().copied());
        two.lab.check_books();
    }
}

#[test]
fn conv_6_two_edits_over_one_row_of_the_journal_are_rivals_before_anything_was_pulled() {
    let mut two = two();
    two.go.save("alpha", "s1", "o6", "first", &second(100));
    let pushed = up(40, "observation", two.go.payload("observation", "o6"));
    two.go.push(&second(100));
    two.go.edit("alpha", "o6", "ours", &second(200));
    two.go.pull(&[pushed]);
    two.go.edit("alpha", "o6", "theirs", &second(200));
    two.take_up();
    two.read_to_head();
    let bases: Vec<_> =
        two.lab.batch(10).rows.into_iter().map(|row| (row.payload["title"].clone(), row.base)).collect();
    let [(_, ours), (_, theirs)] = &bases[..] else { panic!("two rows: {bases:?}") };
    assert!(theirs.is_some() && (ours.is_none() || ours == theirs), "{bases:?}");
    two.lab.check_books();
}

#[test]
fn conv_6_an_edit_that_autosync_wrote_over_is_listed_though_somebody_deletes_what_it_put_there() {
    let mut two = two();
    let pulled = up(40, "observation", revised("o6", "first", 100, 1));
    two.lab.apply(vec![pulled]);
    two.go.edit("alpha", "o6", "ours", &second(200));
    let theirs = up(48, "observation", revised("o6", "of somebody else", 300, 2));
    two.go.pull(std::slice::from_ref(&theirs));
    memory::delete(&mut two.lab.store, "o6", false, &memory::Now { at: at(400), random: [1; 8] }).unwrap();
    two.lab.apply(vec![theirs]);
    two.read_to_head();
    let listed = "SELECT group_concat(payload ->> '$.title') FROM engramd_conflict WHERE entity_key = 'o6'";
    assert_eq!(two.lab.one::<String>(listed), "ours");
    two.lab.check_books();
}
