//! Rows of chunks that cannot be applied: each is held with its evidence, and its directory is not whole before it left.
#![expect(clippy::unwrap_used, reason = "tests")]

mod chunk_support;
mod memory_support;
mod store_support;

use chunk_support::Shelf;
use engram_proto::ipc::chunks::ChunkPart;
use engram_proto::ipc::reply::{HeldKind, HeldRow};
use engram_proto::reason::ReasonCode;
use engramd::chunks;
use memory_support::Desk;
use serde_json::{Value, json};
use store_support::{at, observation, prompt, relation, session, up};

const PLACE: &str = "/clone/.engram";

fn nameless(mut row: Value) -> Value {
    row.as_object_mut().unwrap().remove("project");
    row
}

fn mutation(entity: &str, payload: &Value) -> Value {
    let key = payload["id"].as_str().or_else(|| payload["sync_id"].as_str()).unwrap();
    json!({"entity": entity, "entity_key": key, "op": "upsert", "payload": payload.to_string()})
}

fn held(desk: &Desk) -> Vec<HeldRow> {
    desk.lab.store.held().unwrap()
}

/// How many rows keep an import of this place from being whole.
fn left(desk: &Desk, place: &str) -> u64 {
    chunks::held(&desk.lab.store, place).unwrap().held
}

#[test]
fn iso_3_a_row_without_a_project_belongs_to_its_sessions() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    desk.lab.apply(vec![up(1, "session", session("s-here", "/d", 0))]);
    // Told by the store, by a session of the same chunk, by one that stands behind it, and by one of a later chunk.
    shelf.lay(
        1,
        &[
            (ChunkPart::Session, session("s-same", "/d", 0)),
            (ChunkPart::Observation, nameless(observation("o-here", "s-here", "here", 1))),
            (ChunkPart::Observation, nameless(observation("o-same", "s-same", "same", 1))),
            (ChunkPart::Observation, nameless(observation("o-behind", "s-behind", "behind", 1))),
            (ChunkPart::Observation, nameless(observation("o-later", "s-later", "later", 1))),
            (ChunkPart::Prompt, prompt("p-later", "s-later", "asked", 1)),
            (ChunkPart::Mutation, mutation("session", &session("s-behind", "/d", 0))),
            (ChunkPart::Mutation, mutation("relation", &relation("r-1", "o-here", "o-same", 1))),
            (ChunkPart::Mutation, mutation("relation", &relation("r-2", "o-late", "o-same", 1))),
        ],
    );
    shelf.import(&mut desk.lab.store);
    let waiting: Vec<_> = held(&desk).into_iter().map(|row| row.entity_key).collect();
    assert_eq!(waiting, ["o-later", "p-later", "r-2"]);
    assert_eq!(left(&desk, PLACE), 3);
    shelf.lay(
        2,
        &[
            (ChunkPart::Session, session("s-later", "/d", 0)),
            (ChunkPart::Observation, observation("o-late", "s-later", "late", 1)),
        ],
    );
    shelf.import(&mut desk.lab.store);
    assert_eq!((held(&desk), left(&desk, PLACE)), (vec![], 0));
    for key in ["o-here", "o-same", "o-behind", "o-later"] {
        assert!(desk.lab.title(key).is_some(), "{key}");
    }
    assert_eq!(desk.lab.one::<i64>("SELECT count(*) FROM user_prompts WHERE project = 'alpha'"), 1);
    assert_eq!(desk.lab.one::<i64>("SELECT count(*) FROM memory_relations"), 2);
    // It goes to the cloud like everything that a chunk brought.
    let batch = desk.lab.batch(20);
    assert!(batch.rows.iter().any(|row| row.entity_key == "o-later"), "{batch:?}");
    desk.lab.check_books();
    desk.lab.check_index();
}

#[test]
fn iso_3_what_waits_without_a_project_is_applied_when_the_cloud_brings_its_session() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    shelf.lay(1, &[(ChunkPart::Observation, nameless(observation("o-1", "s-1", "one", 1)))]);
    shelf.import(&mut desk.lab.store);
    assert_eq!(desk.lab.store.nameless().unwrap(), [(ReasonCode::RowUndeliverable, 1)].into());
    let _ = desk.lab.apply(vec![up(1, "session", session("s-1", "/d", 0)), up(2, "dream", json!({"id": "d-1"}))]);
    assert_eq!(desk.lab.title("o-1").as_deref(), Some("one"));
    // What came with the page is the cloud's, whatever was taken in between.
    assert_eq!(desk.lab.one::<i64>("SELECT cloud_seq FROM engramd_held WHERE entity_key = 'd-1'"), 2);
    assert_eq!((desk.lab.store.nameless().unwrap(), left(&desk, PLACE)), ([].into(), 0));
}

#[test]
fn iso_3_a_row_whose_project_nothing_tells_is_held_until_somebody_decides() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    let mut alone = nameless(observation("o-alone", "", "alone", 1));
    alone.as_object_mut().unwrap().remove("session_id");
    let rows = [
        (ChunkPart::Observation, nameless(observation("o-lost", "s-lost", "lost", 1))),
        (ChunkPart::Observation, alone),
        (ChunkPart::Observation, json!(["no row"])),
    ];
    let id = shelf.lay(1, &rows);
    assert!(shelf.import(&mut desk.lab.store).is_any_held, "whoever imports is told");
    let rows = held(&desk);
    let kinds: Vec<_> = rows.iter().map(|row| (row.kind, row.entity_key.as_str())).collect();
    assert_eq!(kinds, [(HeldKind::Deferred, "o-lost"), (HeldKind::Dead, "o-alone"), (HeldKind::Dead, "")]);
    for row in &rows {
        assert!(row.project.is_empty() && row.reason_code == "row_undeliverable", "{row:?}");
        assert!(row.evidence.contains(&id), "which chunk: {row:?}");
    }
    assert!(rows[0].evidence.contains("names no project") && rows[2].evidence.contains("JSON object"), "{rows:?}");
    let detail = desk.lab.store.held_detail(rows[1].id).unwrap().unwrap();
    assert!(detail.payload.contains("about alone"), "{detail:?}");
    // The next import says so again, and the place is not passed over before all of them left.
    desk.lab.store.place_settle(PLACE, "stamp", at(1)).unwrap();
    assert!(!desk.lab.store.place_is_settled(PLACE, "stamp").unwrap());
    assert_eq!((shelf.import(&mut desk.lab.store).rows, left(&desk, PLACE)), (0, 3));
    // The same file elsewhere, and the same row in another one, are not whole either; it is held once.
    let other = Shelf { path: "/other/.engram".to_owned(), ..shelf.clone() };
    assert!(other.import(&mut desk.lab.store).is_any_held);
    let mut third = Shelf::at("/third/.engram");
    let more = [
        (ChunkPart::Observation, nameless(observation("o-lost", "s-lost", "lost", 1))),
        (ChunkPart::Session, session("s-2", "/d", 0)),
    ];
    third.lay(3, &more);
    third.import(&mut desk.lab.store);
    assert_eq!((left(&desk, &other.path), left(&desk, &third.path), held(&desk).len()), (3, 1, 3));
    // Tried again: nothing changed, and it says so.
    assert_eq!(desk.lab.store.held_retry(None, at(9)).unwrap(), 0);
    let still = desk.lab.store.held_retry(Some(rows[0].id), at(9)).unwrap_err();
    assert!(still.to_string().contains("no project"), "{still}");
    // Somebody starts the session here: tried again it is applied.
    desk.start("s-lost", "alpha").unwrap();
    assert_eq!(desk.lab.store.held_retry(Some(rows[0].id), at(9)).unwrap(), 1);
    assert_eq!(desk.lab.title("o-lost").as_deref(), Some("lost"));
    assert!(
        desk.lab.store.held_drop(rows[1].id, at(9)).unwrap() && desk.lab.store.held_drop(rows[2].id, at(9)).unwrap()
    );
    assert_eq!((held(&desk), left(&desk, PLACE), left(&desk, &third.path)), (vec![], 0, 0));
    desk.lab.store.place_settle(PLACE, "stamp", at(1)).unwrap();
    assert!(desk.lab.store.place_is_settled(PLACE, "stamp").unwrap());
    assert_eq!(desk.lab.one::<i64>("SELECT count(*) FROM engramd_held_chunk"), 0);
    desk.lab.check_books();
}

#[test]
fn iso_3_what_a_chunk_holds_of_a_project_is_said_again_until_it_is_in() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    let mut dream = mutation("dream", &json!({"id": "d-1"}));
    dream["project"] = "alpha".into();
    shelf.lay(
        1,
        &[
            (ChunkPart::Mutation, dream),
            (ChunkPart::Mutation, mutation("relation", &relation("r-1", "o-1", "o-2", 1))),
            (ChunkPart::Session, session("s-1", "/d", 0)),
            (ChunkPart::Observation, observation("o-1", "s-1", "one", 1)),
        ],
    );
    shelf.import(&mut desk.lab.store);
    assert_eq!(left(&desk, PLACE), 2);
    // A row of the cloud that can never apply is none of the directory's.
    let _ = desk.lab.apply(vec![up(1, "dream", json!({"id": "d-2"}))]);
    assert_eq!((held(&desk).len(), left(&desk, PLACE)), (3, 2));
    // What waits is in the same chunk still after it was tried again.
    assert_eq!(desk.lab.store.held_retry(None, at(9)).unwrap(), 0);
    assert_eq!(left(&desk, PLACE), 2);
    let _ = desk.lab.apply(vec![up(2, "observation", observation("o-2", "s-1", "two", 1))]);
    assert_eq!(left(&desk, PLACE), 1);
}
