//! A Go process synced the store while we did not: it is read again from where that process was, and nothing is pushed
//! before (peers.md, "Autosync ran while we did not").
#![expect(clippy::unwrap_used, reason = "tests")]

mod autosync_support;
mod go_support;
mod store_support;

use autosync_support::{Two, revised, second, served, two};
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engram_proto::reason::ReasonCode;
use engramd::store::Store;
use engramd_core::rows::{LeaseOutcome, Settlement};
use std::collections::BTreeMap;
use store_support::{CLOUD, OWNER, at, observation, page, project, row, session, up};

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
