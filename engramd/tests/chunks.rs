//! What goes into a chunk, what comes out of one, and what is kept of it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod chunk_support;
mod memory_support;
mod store_support;

use chunk_support::{Shelf, json_of, keys};
use engram_proto::ipc::chunks::{ChunkPart, ChunkRow};
use memory_support::{Desk, a_save};
use serde_json::{Value, json};
use store_support::{at, observation, project, relation, row, session, up};

const PLACE: &str = "/clone/.engram";

#[test]
fn cost_1_an_export_looks_at_nothing_but_what_changed() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    let ids: Vec<_> = (0..5).map(|n| desk.save(&a_save(&format!("title {n}"), "content")).sync_id).collect();
    assert_eq!(keys(&shelf.export(&mut desk.lab.store, "alpha"), ChunkPart::Observation).len(), 5);
    assert_eq!(shelf.export(&mut desk.lab.store, "alpha"), []);
    desk.retitle(&ids[2], "another");
    let candidates = |desk: &Desk| {
        let count = "SELECT count(*) FROM temp.engramd_candidates";
        desk.lab.store.read(|conn| Ok(conn.query_row(count, [], |row| row.get::<_, i64>(0))?)).unwrap()
    };
    assert_eq!(keys(&shelf.export(&mut desk.lab.store, "alpha"), ChunkPart::Observation), [ids[2].clone()]);
    assert_eq!(candidates(&desk), 1);
    // Elsewhere all of it is in no chunk.
    let mut other = Shelf::at("/other/.engram");
    assert_eq!(keys(&other.export(&mut desk.lab.store, "alpha"), ChunkPart::Observation).len(), 5);
    // A change that only the cloud told of leaves no row in any list, and is exported all the same.
    desk.lab.apply(vec![
        up(1, "observation", observation("o-cloud", "s-cloud", "pulled", 1)),
        up(2, "session", session("s-cloud", "/c", 0)),
    ]);
    assert_eq!(shelf.export(&mut desk.lab.store, "alpha").len(), 2);
    desk.lab.apply(vec![up(3, "observation", observation("o-cloud", "s-cloud", "pulled again", 2))]);
    assert_eq!(keys(&shelf.export(&mut desk.lab.store, "alpha"), ChunkPart::Observation), ["o-cloud"]);
    assert_eq!(candidates(&desk), 1);
}

#[test]
fn what_was_exported_or_imported_is_deleted_by_a_delete_that_travels() {
    let (mut ana, mut bob, mut shelf) = (Desk::new(), Desk::new(), Shelf::at(PLACE));
    bob.drawn_from(1 << 32);
    let never = ana.save(&a_save("never", "left")).sync_id;
    ana.delete(&never, true).unwrap();
    let sent = ana.save(&a_save("sent", "once")).sync_id;
    let rows = shelf.export(&mut ana.lab.store, "alpha");
    assert!(!rows.iter().any(|row| row.json.contains(&never)), "what never left is not even named");
    ana.delete(&sent, true).unwrap();
    let rows = shelf.export(&mut ana.lab.store, "alpha");
    assert_eq!(keys(&rows, ChunkPart::Mutation), std::slice::from_ref(&sent));
    assert!(!rows[0].json.contains("once"), "without its text");

    let kept = ana.save(&a_save("kept", "by ana")).sync_id;
    shelf.export(&mut ana.lab.store, "alpha");
    shelf.import(&mut bob.lab.store);
    bob.delete(&kept, true).unwrap();
    assert_eq!(keys(&shelf.export(&mut bob.lab.store, "alpha"), ChunkPart::Mutation), std::slice::from_ref(&kept));
    shelf.import(&mut ana.lab.store);
    assert!(ana.get(&kept).is_err());
    assert_eq!(ana.lab.dump(), bob.lab.dump());
}

#[test]
fn a_relation_that_was_left_out_travels_when_its_end_comes() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    let source = desk.save(&a_save("source", "content")).sync_id;
    // A Go process of long ago joined it to a memory that was not there.
    let sql = format!(
        "INSERT INTO memory_relations (sync_id, source_id, target_id, created_at, updated_at)
         VALUES ('rel-go', '{source}', 'obs-late', '{0}', '{0}')",
        at(-900_000)
    );
    desk.lab.store.read(|conn| Ok(conn.execute_batch(&sql)?)).unwrap();
    assert_eq!(keys(&shelf.export(&mut desk.lab.store, "alpha"), ChunkPart::Mutation), [""; 0]);
    desk.lab.apply(vec![
        up(1, "session", session("s-late", "/d", 0)),
        up(2, "observation", observation("obs-late", "s-late", "late", 1)),
    ]);
    assert_eq!(keys(&shelf.export(&mut desk.lab.store, "alpha"), ChunkPart::Mutation), ["rel-go"]);
    assert_eq!(shelf.export(&mut desk.lab.store, "alpha"), []);
}

#[test]
fn conv_5_what_may_be_in_a_file_is_deleted_by_a_delete_whatever_ended_the_export() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    let told = desk.save(&a_save("told", "to a client that was killed")).sync_id;
    let alpha = [project("alpha")];
    desk.lab.store.export_begins(&alpha).unwrap();
    let rows = |desk: &Desk| {
        let mut rows = Vec::new();
        let put = |row| {
            rows.push(row);
            Ok(())
        };
        desk.lab.store.read(|conn| engramd::chunks::export(conn, PLACE, &alpha, at(5_000), put)).unwrap();
        rows
    };
    assert_eq!(keys(&rows(&desk), ChunkPart::Observation), std::slice::from_ref(&told));
    // The client may have written its file, and the daemon never heard of it.
    desk.delete(&told, true).unwrap();
    assert_eq!(keys(&shelf.export(&mut desk.lab.store, "alpha"), ChunkPart::Mutation), [told]);
}

#[test]
fn conv_6_an_edit_that_lost_to_a_chunk_and_was_in_none_is_kept() {
    let (mut ana, mut bob, mut shelf) = (Desk::new(), Desk::new(), Shelf::at(PLACE));
    bob.drawn_from(1 << 32);
    let id = ana.save(&a_save("first", "content")).sync_id;
    shelf.export(&mut ana.lab.store, "alpha");
    shelf.import(&mut bob.lab.store);
    let lost = |desk: &Desk| desk.lab.one::<i64>("SELECT count(*) FROM engramd_conflict");
    // An edit of what was seen is no conflict.
    bob.clock = 10;
    bob.retitle(&id, "seen");
    shelf.export(&mut bob.lab.store, "alpha");
    shelf.import(&mut ana.lab.store);
    assert_eq!((lost(&ana), lost(&bob)), (0, 0));
    // Two edits that had not seen each other are one.
    (ana.clock, bob.clock) = (20, 30);
    ana.retitle(&id, "unseen");
    bob.retitle(&id, "wins");
    shelf.export(&mut bob.lab.store, "alpha");
    shelf.import(&mut ana.lab.store);
    assert_eq!((ana.get(&id).unwrap().title.as_str(), lost(&ana)), ("wins", 1));
    let payload: String = ana.lab.one("SELECT payload FROM engramd_conflict");
    assert!(payload.contains("unseen"), "{payload}");
}

#[test]
fn relations_travel_with_both_ends_and_pending_ones_without_a_judge() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    let ids: Vec<_> = (0..4).map(|n| desk.save(&a_save(&format!("title {n}"), "content")).sync_id).collect();
    let mut elsewhere = a_save("elsewhere", "content");
    elsewhere.project = "beta".to_owned();
    let elsewhere = desk.save(&elsewhere).sync_id;
    let judged = desk.relate(&ids[0], "supersedes", &ids[1]).unwrap().sync_id;
    let apart = desk.relate(&ids[0], "refines", &elsewhere).unwrap().sync_id;
    let lost = desk.relate(&ids[0], "refines", &ids[3]).unwrap().sync_id;
    shelf.export(&mut desk.lab.store, "beta");
    desk.delete(&ids[3], true).unwrap();
    // A Go process notes a relation that nobody judged, and later judges it in place; neither is journalled.
    let go = |desk: &Desk, sql: &str| desk.lab.store.read(|conn| Ok(conn.execute_batch(sql)?)).unwrap();
    let (source, target) = (&ids[0], &ids[2]);
    go(
        &desk,
        &format!(
            "INSERT INTO memory_relations (sync_id, source_id, target_id, created_at, updated_at)
         VALUES ('rel-go', '{source}', '{target}', '{0}', '{0}')",
            at(0)
        ),
    );
    let rows = shelf.export(&mut desk.lab.store, "alpha");
    let mutations = keys(&rows, ChunkPart::Mutation);
    assert!([&judged, &apart, &"rel-go".to_owned()].iter().all(|id| mutations.contains(id)), "{mutations:?}");
    assert!(!mutations.contains(&lost), "{mutations:?}");
    let pending = rows.iter().map(json_of).find(|row| row["entity_key"] == "rel-go").unwrap();
    let payload: Value = serde_json::from_str(pending["payload"].as_str().unwrap()).unwrap();
    assert!(payload["judgment_status"] == "pending" && payload.get("marked_by_actor").is_none(), "{payload}");
    go(
        &desk,
        &format!(
            "UPDATE memory_relations SET judgment_status = 'judged', relation = 'refines', updated_at = '{}',
             marked_by_actor = 'a', marked_by_kind = 'agent' WHERE sync_id = 'rel-go'",
            at(6_000)
        ),
    );
    assert_eq!(keys(&shelf.export(&mut desk.lab.store, "alpha"), ChunkPart::Mutation), ["rel-go"]);
    // Once, whoever is exported.
    assert_eq!(shelf.export_all(&mut desk.lab.store, &[project("alpha"), project("beta")]), []);
}

/// A memory of alpha that refines one of beta, both of long ago; returns their ids and the relation's.
fn across(desk: &mut Desk) -> [String; 3] {
    // Of what was written within the last day, relations are looked at in any case.
    desk.clock = -200_000;
    let source = desk.save(&a_save("source", "content")).sync_id;
    let mut elsewhere = a_save("elsewhere", "content");
    elsewhere.project = "beta".to_owned();
    let target = desk.save(&elsewhere).sync_id;
    let relation = desk.relate(&source, "refines", &target).unwrap().sync_id;
    [source, target, relation]
}

#[test]
fn a_relation_between_two_projects_travels_with_the_one_that_is_exported_last() {
    for order in [["alpha", "beta"], ["beta", "alpha"]] {
        let (mut desk, mut other, mut shelf) = (Desk::new(), Desk::new(), Shelf::at(PLACE));
        let [_, _, relation] = across(&mut desk);
        let first = shelf.export(&mut desk.lab.store, order[0]);
        assert_eq!(keys(&first, ChunkPart::Mutation), [""; 0], "{order:?}: never with an end that does not travel");
        let last = shelf.export(&mut desk.lab.store, order[1]);
        assert_eq!(keys(&last, ChunkPart::Mutation), std::slice::from_ref(&relation), "{order:?}");
        let said = last.iter().map(json_of).find(|row| row["entity_key"] == relation.as_str()).unwrap();
        assert_eq!(said["project"], "alpha", "whose its source is");
        for again in [&order[..1], &order[1..], &["alpha", "beta"]] {
            let projects: Vec<_> = again.iter().map(|name| project(name)).collect();
            assert_eq!(shelf.export_all(&mut desk.lab.store, &projects), [], "{order:?} and {again:?}");
        }
        shelf.import(&mut other.lab.store);
        assert_eq!(other.lab.dump(), desk.lab.dump());
        assert!(desk.lab.dump().contains(&relation));
        // Both at once: once.
        let both = Shelf::at("/other/.engram").export_all(&mut desk.lab.store, &[project("beta"), project("alpha")]);
        assert_eq!(keys(&both, ChunkPart::Mutation), [relation]);
    }
}

#[test]
fn a_relation_travels_when_a_colleague_brings_its_end_to_the_place() {
    let (mut ana, mut bob) = (Desk::new(), Desk::new());
    bob.drawn_from(1 << 32);
    let [_, target, relation] = across(&mut ana);
    let mut here = Shelf::at(PLACE);
    let mut there = Shelf::at("/other/.engram");
    for shelf in [&mut here, &mut there] {
        assert_eq!(keys(&shelf.export(&mut ana.lab.store, "alpha"), ChunkPart::Mutation), [""; 0]);
    }
    // Bob has the memory of beta, and no relation; his chunk comes to one place, and later to another one.
    bob.lab.store.enroll(&project("beta"), at(0)).unwrap();
    let mut payload = observation(&target, "s-bob", "elsewhere", 1);
    payload["project"] = "beta".into();
    let mut parent = session("s-bob", "/b", 0);
    parent["project"] = "beta".into();
    bob.lab.apply(vec![row(1, "beta", "session", "upsert", parent), row(2, "beta", "observation", "upsert", payload)]);
    let mut of_bob = Shelf::at(PLACE);
    assert_eq!(of_bob.export(&mut bob.lab.store, "beta").len(), 2);
    for shelf in [&mut here, &mut there] {
        assert_eq!(shelf.export(&mut ana.lab.store, "alpha"), []);
        shelf.chunks.extend(of_bob.chunks.clone());
        assert_eq!(
            keys(&shelf.export(&mut ana.lab.store, "alpha"), ChunkPart::Mutation),
            std::slice::from_ref(&relation)
        );
        assert_eq!(shelf.export(&mut ana.lab.store, "alpha"), []);
    }
}

#[test]
fn iso_3_a_child_waits_for_its_session_and_gets_a_stand_in_at_the_end() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    let one = |part, value: Value| vec![ChunkRow { part, json: value.to_string() }];
    let child = one(ChunkPart::Observation, observation("o-1", "s-late", "child", 1));
    let orphan = one(ChunkPart::Observation, observation("o-2", "s-never", "orphan", 2));
    let parent = one(ChunkPart::Session, session("s-late", "/d", 0));
    // The files are read in the order of their names.
    shelf.chunks.insert(format!("1{}", chunk_support::hash(&child)), child);
    shelf.chunks.insert(format!("2{}", chunk_support::hash(&orphan)), orphan);
    shelf.chunks.insert(format!("3{}", chunk_support::hash(&parent)), parent);
    let taken = shelf.import(&mut desk.lab.store);
    assert_eq!(taken.rows, 3);
    assert_eq!(desk.lab.one::<i64>("SELECT count(*) FROM engramd_held"), 0);
    assert_eq!(desk.get("o-1").unwrap().session_id, "s-late");
    assert_eq!(
        desk.lab.one::<String>("SELECT directory FROM sessions WHERE id = 's-never'"),
        "(recovered-missing-session)"
    );
    let rows = Shelf::at("/new/.engram").export(&mut desk.lab.store, "alpha");
    assert!(!keys(&rows, ChunkPart::Session).contains(&"s-never".to_owned()), "a stand-in is never exported");
    desk.lab.check_index();
}

#[test]
fn ack_2_rows_of_chunks_are_queued_once_and_not_what_the_cloud_served() {
    let (mut desk, mut shelf) = (Desk::new(), Shelf::at(PLACE));
    desk.lab.apply(vec![
        up(1, "session", session("s-1", "/d", 0)),
        up(2, "observation", observation("o-1", "s-1", "served", 1)),
    ]);
    let rows: Vec<ChunkRow> = [
        (ChunkPart::Session, session("s-1", "/d", 0)),
        (ChunkPart::Observation, observation("o-1", "s-1", "served", 1)),
        (ChunkPart::Observation, observation("o-2", "s-1", "news", 1)),
    ]
    .into_iter()
    .map(|(part, value)| ChunkRow { part, json: value.to_string() })
    .collect();
    shelf.chunks.insert(chunk_support::hash(&rows).to_string(), rows);
    assert_eq!(shelf.import(&mut desk.lab.store).queued, 1);
    let batch = desk.lab.batch(10);
    assert_eq!(batch.rows.iter().map(|row| row.entity_key.as_str()).collect::<Vec<_>>(), ["o-2"]);
    desk.lab.check_books();
    let told = "SELECT count(*) FROM sync_state WHERE target_key IN ('cloud', 'cloud:alpha') AND lifecycle = 'pending'
                AND last_enqueued_seq = (SELECT max(seq) FROM sync_mutations)";
    assert_eq!(desk.lab.one::<i64>(told), 2, "whoever looks at the state is told of them");
    // IDEM-1: read at another place, the same content changes nothing.
    let before = desk.everything();
    let again = Shelf { path: "/elsewhere/.engram".to_owned(), ..shelf.clone() };
    assert_eq!(again.import(&mut desk.lab.store).rows, 0);
    assert_eq!(desk.everything(), before);
    // A row that is dead because of what this engramd does not know is tried again as what it was: a chunk's.
    let odd = vec![ChunkRow {
        part: ChunkPart::Mutation,
        json: json!({"entity": "dream", "entity_key": "d", "op": "upsert", "project": "alpha", "payload": "{}"})
            .to_string(),
    }];
    shelf.chunks.insert(chunk_support::hash(&odd).to_string(), odd);
    shelf.import(&mut desk.lab.store);
    assert_eq!(desk.lab.one::<i64>("SELECT count(*) FROM engramd_held WHERE cloud_seq IS NULL AND kind = 'dead'"), 1);
    desk.lab.store.held_retry(None, at(9_000)).unwrap();
    assert_eq!(desk.lab.one::<i64>("SELECT count(*) FROM engramd_held"), 1);
}

#[test]
fn a_newer_programs_fields_go_through_a_chunk_and_come_back() {
    let (mut desk, mut other, mut shelf) = (Desk::new(), Desk::new(), Shelf::at(PLACE));
    let mut payload = observation("o-1", "s-1", "title", 1);
    payload["mood"] = "bright".into();
    desk.lab.apply(vec![up(1, "session", session("s-1", "/d", 0)), row(2, "alpha", "observation", "upsert", payload)]);
    shelf.export(&mut desk.lab.store, "alpha");
    assert_eq!(shelf.export(&mut desk.lab.store, "alpha"), []);
    desk.lab.apply(vec![up(3, "relation", relation("r-1", "o-1", "o-1", 1))]);
    shelf.import(&mut other.lab.store);
    shelf.export(&mut desk.lab.store, "alpha");
    shelf.import(&mut other.lab.store);
    assert!(other.lab.dump().contains("bright"));
    assert_eq!(other.lab.dump(), desk.lab.dump());
}
