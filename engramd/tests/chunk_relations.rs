//! When a relation goes into a chunk: once whoever reads the place was told each of its ends as more than deleted.
#![expect(clippy::unwrap_used, reason = "tests")]

mod chunk_support;
mod memory_support;
mod store_support;

use chunk_support::{Shelf, keys};
use engram_proto::ipc::chunks::ChunkPart;
use engram_proto::ipc::reply::Saved;
use engramd::store::Store;
use memory_support::{Desk, a_save};
use store_support::{Lab, at, gone, observation, relation, row, session, up};

const PLACE: &str = "/clone/.engram";

/// Two memories and the relation between them; the target was deleted before anybody was told of it.
fn deleted_untold(desk: &mut Desk) -> (Saved, Saved, String) {
    // Of what was written within the last day, relations are looked at in any case.
    desk.clock = -200_000;
    let [source, target] = ["source", "target"].map(|title| desk.save(&a_save(title, "content")));
    let relation = desk.relate(&source.sync_id, "refines", &target.sync_id).unwrap().sync_id;
    desk.delete(&target.sync_id, false).unwrap();
    (source, target, relation)
}

#[test]
fn a_relation_waits_for_an_end_that_was_told_only_as_deleted() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    let told = desk.save(&a_save("told", "before it was deleted")).sync_id;
    shelf.export(&mut desk.lab.store, "alpha");
    let (source, target, relation) = deleted_untold(&mut desk);
    let rows = shelf.export(&mut desk.lab.store, "alpha");
    assert_eq!(keys(&rows, ChunkPart::Observation), std::slice::from_ref(&source.sync_id));
    assert_eq!(keys(&rows, ChunkPart::Mutation), std::slice::from_ref(&target.sync_id), "the delete alone");
    assert_eq!(shelf.export(&mut desk.lab.store, "alpha"), []);
    // An end that is deleted after it was told is no obstacle.
    desk.clock = 10;
    let other = desk.relate(&told, "refines", &source.sync_id).unwrap().sync_id;
    desk.delete(&told, false).unwrap();
    let rows = shelf.export(&mut desk.lab.store, "alpha");
    assert_eq!(keys(&rows, ChunkPart::Mutation), [told.clone(), other.clone()]);
    // Where nobody was told, it is.
    let elsewhere = Shelf::at("/other/.engram").export(&mut desk.lab.store, "alpha");
    let mutations = keys(&elsewhere, ChunkPart::Mutation);
    assert!(mutations.contains(&told) && !mutations.contains(&other), "{mutations:?}");
    // What is restored takes its relation along.
    let restored = observation(&target.sync_id, &target.session_id, "restored", 20);
    desk.lab.apply(vec![up(1, "observation", restored)]);
    let rows = shelf.export(&mut desk.lab.store, "alpha");
    assert_eq!(keys(&rows, ChunkPart::Observation), [target.sync_id]);
    assert_eq!(keys(&rows, ChunkPart::Mutation), [relation]);
    assert_eq!(shelf.export(&mut desk.lab.store, "alpha"), []);
}

#[test]
fn a_relation_travels_when_a_colleagues_chunk_tells_the_end_that_is_deleted_here() {
    let mut desk = Desk::new();
    let (_, target, relation) = deleted_untold(&mut desk);
    let (mut here, mut there) = (Shelf::at(PLACE), Shelf::at("/other/.engram"));
    for shelf in [&mut here, &mut there] {
        let rows = shelf.export(&mut desk.lab.store, "alpha");
        assert_eq!(keys(&rows, ChunkPart::Mutation), std::slice::from_ref(&target.sync_id));
    }
    let older = observation(&target.sync_id, &target.session_id, "what a colleague has of it", -300_000);
    // The same content is read at one place, and known at the other one.
    for shelf in [&mut here, &mut there] {
        assert_eq!(shelf.export(&mut desk.lab.store, "alpha"), []);
        shelf.lay(1, &[(ChunkPart::Observation, older.clone())]);
        let rows = shelf.export(&mut desk.lab.store, "alpha");
        assert_eq!(keys(&rows, ChunkPart::Mutation), std::slice::from_ref(&relation));
        assert_eq!(shelf.export(&mut desk.lab.store, "alpha"), []);
    }
}

#[test]
fn a_relation_waits_for_an_end_of_which_an_older_program_wrote_down_a_chunk() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    let mut shelf = Shelf::at(PLACE);
    let memory = |id: &str, n| up(n, "observation", observation(id, "s-1", id, 1));
    let delete = |id: &str, n| row(n, "alpha", "observation", "delete", gone(id, "s-1", 2, false));
    lab.apply(vec![
        up(1, "session", session("s-1", "/d", 0)),
        memory("o-1", 2),
        memory("o-told", 3),
        memory("o-untold", 4),
        delete("o-untold", 5),
    ]);
    assert_eq!(keys(&shelf.export(&mut lab.store, "alpha"), ChunkPart::Mutation), ["o-untold"]);
    lab.apply(vec![delete("o-told", 6)]);
    assert_eq!(keys(&shelf.export(&mut lab.store, "alpha"), ChunkPart::Mutation), ["o-told"]);
    let back =
        "ALTER TABLE engramd_exported DROP COLUMN deletes; UPDATE engramd_meta SET value = '1.15' WHERE key = 'schema'";
    lab.store.read(|conn| Ok(conn.execute_batch(back)?)).unwrap();
    drop(lab);
    let mut lab = Lab::on(Store::open(&path, at(10)).unwrap());
    let related = |key: &str, end: &str, n| up(n, "relation", relation(key, "o-1", end, 3));
    lab.apply(vec![related("r-told", "o-told", 7), related("r-untold", "o-untold", 8)]);
    assert_eq!(keys(&shelf.export(&mut lab.store, "alpha"), ChunkPart::Mutation), ["r-told"]);
}
