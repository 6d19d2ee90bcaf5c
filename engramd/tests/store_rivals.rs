//! Edits that Go processes make beside autosync, which lays what it pulls over them: each is shown or listed (CONV-3, CONV-6).
#![expect(clippy::unwrap_used, reason = "tests")]

mod autosync_support;
mod go_support;
mod store_support;

use autosync_support::{revised, second, two};
use engram_proto::ipc::request::UpdateRequest;
use engram_proto::mutation::Entity;
use engramd::memory;
use store_support::{at, gone, row, up};

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
    assert!(theirs.is_some() && ours == theirs, "{bases:?}");
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

#[test]
fn conv_6_an_edit_that_waited_is_listed_where_another_was_made_over_what_autosync_put_in_its_place() {
    // What is put there is newer than what waits, or older.
    for updated in [300, 150] {
        let mut two = two();
        two.lab.apply(vec![up(40, "observation", revised("o6", "first", 100, 1))]);
        let edit = UpdateRequest { id: "o6".to_owned(), title: Some("ours".to_owned()), ..UpdateRequest::default() };
        memory::update(&mut two.lab.store, &edit, &memory::Now { at: at(200), random: [1; 8] }).unwrap();
        // It has one revision less than the next edit, as well as what waited.
        let theirs = up(48, "observation", revised("o6", "of somebody else", updated, 2));
        two.go.pull(std::slice::from_ref(&theirs));
        two.go.edit("alpha", "o6", "over theirs", &second(400));
        two.take_up();
        two.lab.apply(vec![theirs]);
        two.read_to_head();
        let listed = "SELECT group_concat(payload ->> '$.title') FROM
                          (SELECT payload FROM engramd_conflict WHERE entity_key = 'o6' ORDER BY payload ->> '$.title')";
        assert_eq!(two.lab.one::<String>(listed), "of somebody else,ours");
        assert_eq!(two.lab.title("o6").as_deref(), Some("over theirs"));
        two.lab.check_books();
    }
}

#[test]
fn conv_6_an_edit_that_waited_is_listed_where_the_go_program_queued_the_pulled_delete_again() {
    let mut two = two();
    two.lab.apply(vec![up(40, "observation", revised("o6", "first", 100, 1))]);
    let edit = UpdateRequest { id: "o6".to_owned(), title: Some("ours".to_owned()), ..UpdateRequest::default() };
    memory::update(&mut two.lab.store, &edit, &memory::Now { at: at(200), random: [1; 8] }).unwrap();
    let theirs = row(48, "alpha", "observation", "delete", gone("o6", "s1", 300, false));
    two.go.pull(std::slice::from_ref(&theirs));
    // What it queues when it is opened is what a delete of its user queues.
    two.go.delete("alpha", "o6", &second(300));
    two.take_up();
    two.lab.apply(vec![theirs]);
    two.read_to_head();
    let listed = "SELECT group_concat(payload ->> '$.title') FROM engramd_conflict WHERE entity_key = 'o6'";
    assert_eq!(two.lab.one::<Option<String>>(listed).as_deref(), Some("ours"));
    two.lab.check_books();
}

#[test]
fn a_delete_in_another_project_that_autosync_laid_over_a_row_has_no_say() {
    let mut two = two();
    let here = up(40, "observation", revised("o6", "here", 100, 1));
    // The memory was moved here from there: two of one sync id, for which it has one row.
    let gone_there = row(48, "beta", "observation", "delete", gone("o6", "s1", 300, false));
    two.go.pull(&[here.clone(), gone_there]);
    two.take_up();
    two.lab.apply(vec![here]);
    two.read_to_head();
    assert_eq!(two.lab.title("o6").as_deref(), Some("here"));
    assert!(two.lab.batch(10).rows.is_empty(), "nobody deleted it here");
    two.lab.check_books();
}
