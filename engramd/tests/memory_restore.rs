//! Bringing back what lost a conflict: it wins and travels like any edit, as far as the write rules allow.
#![expect(clippy::unwrap_used, reason = "tests")]

mod memory_support;
mod store_support;

use engram_proto::ipc::conflict::ConflictRow;
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::{Entity, Op};
use engramd::memory::{self, MemoryError};
use engramd::store;
use memory_support::Desk;
use serde_json::{Value, json};
use store_support::{at, gone, observation, prompt, relation, row, session, up};

fn conflicts(desk: &Desk) -> Vec<ConflictRow> {
    desk.lab.store.read(store::conflicts).unwrap()
}

fn restore(desk: &mut Desk, id: i64) -> Result<String, MemoryError> {
    let now = desk.now();
    memory::restore(&mut desk.lab.store, id, &now).map(|restored| restored.outcome)
}

fn field(row: Value, name: &str, value: &str) -> Value {
    let mut row = row;
    row[name] = value.into();
    row
}

/// Two ends of a story: a session, a memory of it, and a rival of an edit of ours that had not seen it.
fn rivals(entity: Entity, common: Value, mine: (Op, Value), theirs: (&str, Value)) -> Desk {
    let mut desk = Desk::new();
    desk.clock = 100;
    desk.lab.apply(vec![
        up(1, "session", session("s1", "/a", 0)),
        up(2, "observation", observation("e1", "s1", "an end", 1)),
        up(3, "observation", observation("e2", "s1", "another end", 1)),
    ]);
    desk.lab.apply(vec![up(4, entity.as_str(), common)]);
    let key = mine.1["sync_id"].as_str().or(mine.1["id"].as_str()).unwrap().to_owned();
    let base = desk.lab.version(entity, &key).unwrap().hash();
    desk.lab.write_on(entity, mine.0, mine.1, Some(base));
    desk.lab.apply(vec![row(5, "alpha", entity.as_str(), theirs.0, theirs.1)]);
    desk
}

/// What was written last beats what it was restored over, on whatever device the two meet (CONV-3).
fn last_wins(desk: &Desk, over: &Version) -> Version {
    let last = desk.last();
    assert_eq!(last.base, Some(over.hash().to_string()), "it was made from what is shown");
    let version = last.version();
    assert!(version.leads(over));
    assert_eq!(merge(version.clone(), over.clone()).hash(), version.hash());
    version
}

#[test]
fn conv_6_a_lost_text_is_listed_shown_and_restored() {
    let common = observation("o1", "s1", "common", 1);
    let (mine, theirs) = (observation("o1", "s1", "mine", 10), observation("o1", "s1", "theirs", 20));
    let mut desk = rivals(Entity::Observation, common, (Op::Upsert, mine), ("upsert", theirs));
    let listed = conflicts(&desk);
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].title.as_str(), listed[0].entity_key.as_str()), ("mine", "o1"));
    let id = listed[0].id;
    let shown = desk.lab.store.read(|conn| store::conflict(conn, id)).unwrap().unwrap();
    let current = shown.current.unwrap().payload;
    assert!(shown.payload.contains("about mine") && current.contains("about theirs"), "{current}");
    let over = desk.lab.version(Entity::Observation, "o1").unwrap();
    assert_eq!(restore(&mut desk, id).unwrap(), "restored");
    let row = desk.get("o1").unwrap();
    assert_eq!((row.title.as_str(), row.content.as_str(), row.revision_count), ("mine", "about mine", 2));
    assert_eq!((desk.search("mine").len(), desk.search("theirs").len()), (1, 0), "the index follows");
    last_wins(&desk, &over);
    assert!(conflicts(&desk).is_empty(), "restored is listed no more");
    assert!(matches!(restore(&mut desk, id), Err(MemoryError::NotFound { .. })));
    desk.lab.check_index();
    desk.lab.check_books();
}

#[test]
fn conv_6_a_text_that_lost_to_a_delete_comes_back() {
    for hard in [false, true] {
        let common = observation("o1", "s1", "common", 1);
        let mine = observation("o1", "s1", "mine", 10);
        let mut desk = rivals(Entity::Observation, common, (Op::Upsert, mine), ("delete", gone("o1", "s1", 20, hard)));
        let (id, over) = (conflicts(&desk)[0].id, desk.lab.version(Entity::Observation, "o1"));
        assert_eq!(restore(&mut desk, id).unwrap(), "restored", "hard: {hard}");
        let row = desk.get("o1").unwrap();
        assert_eq!((row.title.as_str(), row.deleted_at), ("mine", None));
        assert_eq!(desk.search("mine").len(), 1);
        if let Some(over) = over {
            last_wins(&desk, &over);
        }
        desk.lab.check_index();
        desk.lab.check_books();
    }
}

#[test]
fn a_lost_delete_deletes() {
    for hard in [false, true] {
        let common = observation("o1", "s1", "common", 1);
        let theirs = observation("o1", "s1", "theirs", 20);
        let mine = (Op::Delete, gone("o1", "s1", 10, hard));
        let mut desk = rivals(Entity::Observation, common, mine, ("upsert", theirs));
        let listed = conflicts(&desk);
        assert_eq!((listed[0].op.as_str(), listed[0].title.as_str()), ("delete", ""));
        let over = desk.lab.version(Entity::Observation, "o1").unwrap();
        assert_eq!(restore(&mut desk, listed[0].id).unwrap(), "deleted");
        assert!(last_wins(&desk, &over).is_delete());
        assert_eq!(desk.get("o1").is_ok(), !hard, "a soft delete keeps the text here");
        assert!(desk.list(&Default::default()).iter().all(|row| row.sync_id != "o1"));
        desk.lab.check_index();
        desk.lab.check_books();
    }
}

#[test]
fn what_says_the_same_already_is_only_taken_off_the_list() {
    let common = observation("o1", "s1", "common", 1);
    let (mine, theirs) = (observation("o1", "s1", "mine", 10), observation("o1", "s1", "theirs", 20));
    let mut desk = rivals(Entity::Observation, common, (Op::Upsert, mine), ("upsert", theirs));
    let mut typed = engram_proto::ipc::request::UpdateRequest { id: "o1".to_owned(), ..Default::default() };
    (typed.title, typed.content) = (Some("mine".to_owned()), Some("about mine".to_owned()));
    desk.update(&typed).unwrap();
    let rows = desk.journal().len();
    let id = conflicts(&desk)[0].id;
    assert_eq!(restore(&mut desk, id).unwrap(), "unchanged");
    assert_eq!((desk.journal().len(), conflicts(&desk).len()), (rows, 0));
}

#[test]
fn relations_and_summaries_come_back_by_their_own_rules() {
    let common = relation("r1", "e1", "e2", 1);
    let mine = field(relation("r1", "e1", "e2", 10), "reason", "mine");
    let theirs = field(relation("r1", "e1", "e2", 20), "reason", "theirs");
    let mut desk = rivals(Entity::Relation, common, (Op::Upsert, mine), ("upsert", theirs));
    let (id, over) = (conflicts(&desk)[0].id, desk.lab.version(Entity::Relation, "r1").unwrap());
    assert_eq!(restore(&mut desk, id).unwrap(), "restored");
    last_wins(&desk, &over);
    assert_eq!(desk.lab.one::<String>("SELECT reason FROM memory_relations WHERE sync_id = 'r1'"), "mine");

    let ended = |summary: &str, seconds: i64| {
        let mut row = session("s1", "/a", 0);
        row["summary"] = summary.into();
        row["ended_at"] = at(seconds).to_string().into();
        row
    };
    let mut desk =
        rivals(Entity::Session, ended("first", 1), (Op::Upsert, ended("mine", 10)), ("upsert", ended("theirs", 20)));
    let (id, over) = (conflicts(&desk)[0].id, desk.lab.version(Entity::Session, "s1").unwrap());
    assert_eq!(restore(&mut desk, id).unwrap(), "restored");
    last_wins(&desk, &over);
    assert_eq!(desk.lab.one::<String>("SELECT summary FROM sessions WHERE id = 's1'"), "mine");
    assert_eq!(desk.lab.one::<String>("SELECT directory FROM sessions WHERE id = 's1'"), "/a");
}

/// What the rules cannot write again is refused with a next step, and nothing changes, the list included.
#[test]
fn what_cannot_come_back_is_refused_and_stays_listed() {
    let common = prompt("p1", "s1", "common", 1);
    let mine = prompt("p1", "s1", "mine", 10);
    let delete = json!({"sync_id": "p1", "session_id": "s1", "deleted": true, "deleted_at": at(20).to_string()});
    let mut desk = rivals(Entity::Prompt, common.clone(), (Op::Upsert, mine.clone()), ("delete", delete));
    let (id, before) = (conflicts(&desk)[0].id, desk.everything());
    let refused = restore(&mut desk, id).unwrap_err();
    let failure = refused.failure();
    assert!(refused.to_string().contains("never comes back"), "{refused}");
    assert!(failure.hint.unwrap().starts_with("engramctl prompt"));
    assert_eq!((desk.everything(), conflicts(&desk).len()), (before, 1));

    let mut desk = rivals(Entity::Prompt, common, (Op::Upsert, mine), ("upsert", prompt("p1", "s1", "theirs", 20)));
    let (id, over) = (conflicts(&desk)[0].id, desk.lab.version(Entity::Prompt, "p1").unwrap());
    assert_eq!(restore(&mut desk, id).unwrap(), "restored", "a prompt that is there can be written again");
    last_wins(&desk, &over);
    desk.lab.check_index();
}

/// The text rules hold for what another program wrote, too.
#[test]
fn a_restored_text_goes_through_the_text_rules() {
    let common = observation("o1", "s1", "common", 1);
    let mut theirs = field(observation("o1", "s1", "", 10), "content", "said <private>secret</private> aloud");
    theirs["revision_count"] = 1.into();
    let mut desk =
        rivals(Entity::Observation, common, (Op::Upsert, observation("o1", "s1", "mine", 30)), ("upsert", theirs));
    desk.clock = 1_000;
    let id = conflicts(&desk)[0].id;
    assert_eq!(restore(&mut desk, id).unwrap(), "restored");
    let row = desk.get("o1").unwrap();
    assert_eq!((row.title.as_str(), row.content.as_str()), ("said [REDACTED] aloud", "said [REDACTED] aloud"));
}
