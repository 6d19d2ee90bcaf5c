//! Rows that wait for a parent, in any number: a transaction looks at a bounded number of them (OWN-3, COST-1).
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::mutation::Entity;
use store_support::*;

const CHILDREN: u64 = 1_000;
/// What one transaction looks at.
const ROOM: u64 = 200;

fn children_of(session: &str, first_seq: u64) -> Vec<engram_proto::http::pull::PulledMutation> {
    let child = |at: u64| observation(&format!("{session}-{at}"), session, &format!("title {at}"), 1);
    (0..CHILDREN).map(|at| up(first_seq + at, "observation", child(at))).collect()
}

fn waiting(lab: &mut Lab) -> u64 {
    lab.store.counts().unwrap().get(&lab.alpha).map_or(0, |counts| counts.deferred)
}

/// ISO-3, OWN-3: the page in which a parent arrives places as many of its children as there is room for; the others
/// follow, so many in each transaction, whoever asks and whenever.
#[test]
fn iso_3_own_3_a_parent_with_many_children_takes_them_a_few_at_a_time() {
    let mut lab = Lab::new();
    assert_eq!(lab.apply(children_of("s", 1)).deferred, CHILDREN);
    let applied = lab.apply(vec![up(5_000, "session", session("s", "/a", 0))]);
    assert!(applied.unfinished);
    assert_eq!(waiting(&mut lab), CHILDREN - ROOM);
    for left in (0..CHILDREN / ROOM - 1).rev() {
        let before = lab.store.commits();
        assert!(lab.stand_ins().unfinished, "its room was full");
        assert_eq!((lab.store.commits() - before, waiting(&mut lab)), (1, left * ROOM));
    }
    assert!(!lab.stand_ins().unfinished);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_arrived"), 0);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations"), CHILDREN.cast_signed());
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_standin"), 0, "the session came");
    lab.check_index();
}

/// ISO-3: children whose session never comes get a stand-in, also where they are too many for one transaction; the
/// session that comes in the middle of it gives way to nobody.
#[test]
fn iso_3_children_of_missing_sessions_are_placed_a_few_at_a_time() {
    let mut lab = Lab::new();
    lab.apply(children_of("s", 1));
    lab.apply(children_of("t", 2_001));
    assert!(lab.stand_ins().unfinished);
    lab.apply(vec![up(5_000, "session", session("s", "/a", 0))]);
    let mut rounds = 0;
    while lab.stand_ins().unfinished {
        rounds += 1;
        assert!(rounds < 100, "it goes on for ever");
    }
    assert_eq!(waiting(&mut lab), 0);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations"), 2 * CHILDREN.cast_signed());
    assert!(lab.version(Entity::Session, "s").is_some());
    assert_eq!(lab.one::<String>("SELECT group_concat(id) FROM engramd_standin"), "t");
    assert_eq!(lab.one::<String>("SELECT directory FROM sessions WHERE id = 's'"), "/a");
    lab.check_index();
}

/// COST-1: held rows are counted as they come and go; the table of counts says what the rows do.
#[test]
fn cost_1_held_rows_are_counted_without_being_looked_at() {
    let mut lab = Lab::new();
    lab.apply(children_of("s", 1));
    lab.apply(vec![row(3_000, "alpha", "unheard-of", "upsert", serde_json::json!({"id": "x"}))]);
    let counts = lab.store.counts().unwrap().remove(&lab.alpha).unwrap();
    assert_eq!((counts.deferred, counts.dead), (CHILDREN, 1));
    lab.apply(vec![up(5_000, "session", session("s", "/a", 0))]);
    let counted = "SELECT coalesce(sum(held), 0) FROM engramd_held_count";
    assert_eq!(lab.one::<i64>(counted), lab.one::<i64>("SELECT count(*) FROM engramd_held"));
    lab.stand_ins();
    assert_eq!(lab.one::<i64>(counted), lab.one::<i64>("SELECT count(*) FROM engramd_held"));
}

/// ISO-3, CONV-1: a memory keeps its session, deleted or not, whichever of them comes first.
#[test]
fn iso_3_conv_1_a_session_that_comes_deleted_takes_the_memory_that_waited_for_it() {
    let deleted = || {
        let mut deleted = session("s", "/a", 0);
        deleted["deleted_at"] = at(50).to_string().into();
        up(2, "session", deleted)
    };
    let child = || up(1, "observation", observation("o1", "s", "kept", 1));
    let [mut before, mut behind] = [Lab::new(), Lab::new()];
    before.apply(vec![child(), deleted()]);
    behind.apply(vec![deleted(), child()]);
    for lab in [&mut before, &mut behind] {
        assert_eq!((waiting(lab), lab.title("o1").as_deref()), (0, Some("kept")));
        lab.check_books();
    }
    let dump = |lab: &Lab| lab.store.canonical_dump(&lab.alpha).unwrap();
    assert_eq!(dump(&before), dump(&behind));
}
