//! Opening and ending sessions, relating memories.
#![expect(clippy::unwrap_used, reason = "tests")]

mod memory_support;
mod store_support;

use engram_proto::ipc::request::RelateRequest;
use engram_proto::merge::{Version, merge};
use engram_proto::mutation::Entity;
use engramd::memory::MemoryError;
use memory_support::{Desk, a_save};
use store_support::{at, observation, session, up};

/// What a pull would say of `after`, were `before` on the cloud.
fn beats(after: &Version, before: &Version) -> bool {
    after.leads(before) && merge(after.clone(), before.clone()).hash() == after.hash()
}

#[test]
fn sessions_open_once_and_end_once() {
    let mut desk = Desk::new();
    let opened = desk.start("s1", "Alpha").unwrap();
    assert_eq!((opened.project.as_str(), opened.ended_at.as_deref()), ("alpha", None));
    desk.clock = 60;
    assert_eq!(desk.start("s1", "alpha").unwrap(), opened, "open already");
    assert_eq!(desk.journal().len(), 1);
    assert!(matches!(desk.start("s1", "beta"), Err(MemoryError::Invalid { field: "session", .. })));
    let ended = desk.end("s1", Some("done")).unwrap();
    assert_eq!(
        (ended.ended_at.as_deref(), ended.summary.as_deref()),
        (Some(at(60).to_string().as_str()), Some("done"))
    );
    let rows = desk.journal().len();
    desk.clock = 120;
    assert_eq!(desk.end("s1", None).unwrap(), ended);
    assert_eq!(desk.end("s1", Some(" done ")).unwrap(), ended);
    assert_eq!(desk.journal().len(), rows, "what changes nothing is not written");
    assert_eq!(desk.end("s1", Some("more")).unwrap().summary.as_deref(), Some("more"));
    assert!(matches!(desk.start("s1", "alpha"), Err(MemoryError::Invalid { field: "session", .. })));
    assert!(matches!(desk.end("s9", None), Err(MemoryError::NotFound { .. })));
    let new = desk.start("", "alpha").unwrap();
    assert!(new.id.starts_with("session-"), "{}", new.id);
    let listed =
        desk.lab.store.read(|conn| Ok(engramd::memory::session_list(conn, Some("ALPHA"), 0))).unwrap().unwrap();
    assert_eq!(listed.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), [new.id.as_str(), "s1"]);
    let all = desk.lab.store.read(|conn| Ok(engramd::memory::session_list(conn, None, 1))).unwrap().unwrap();
    assert_eq!(all.len(), 1);
    desk.lab.check_books();
}

#[test]
fn an_end_without_a_summary_carries_the_known_one() {
    let mut desk = Desk::new();
    let mut known = session("s1", "/d", 0);
    known["summary"] = "so far".into();
    desk.lab.apply(vec![up(1, "session", known)]);
    let before = desk.lab.version(Entity::Session, "s1").unwrap();
    assert_eq!(desk.end("s1", None).unwrap().summary.as_deref(), Some("so far"));
    assert!(beats(&desk.last().version(), &before));
}

#[test]
fn a_stand_in_gives_way_to_the_session_that_is_opened() {
    let mut desk = Desk::new();
    desk.lab.apply(vec![up(1, "observation", observation("obs-1", "s1", "an orphan", 50))]);
    desk.lab.stand_ins();
    assert_eq!(desk.get("obs-1").unwrap().session_id, "s1");
    assert!(matches!(desk.end("s1", None), Err(MemoryError::NotFound { .. })), "nobody told us of it");
    assert_ne!(desk.save(&a_save("a", "a")).session_id, "s1");
    let row = desk.start("s1", "alpha").unwrap();
    assert_eq!((row.directory.as_str(), row.started_at), ("/home/dev/alpha", at(0).to_string()));
    assert_eq!(desk.last().text("started_at"), at(0).to_string(), "without merging with it");
}

#[test]
fn two_memories_are_related_once() {
    let mut desk = Desk::new();
    let one = desk.save(&a_save("one", "one"));
    let two = desk.save(&a_save("two", "two"));
    desk.delete(&two.sync_id, false).unwrap();
    let request = RelateRequest {
        source: one.id.to_string(),
        verb: " supersedes ".to_owned(),
        target: two.sync_id.clone(),
        reason: Some("it is older".to_owned()),
        confidence: Some(0.75),
    };
    let first = desk.relate_as(&request).unwrap();
    assert_eq!((first.source_id.as_str(), first.target_id.as_str()), (one.sync_id.as_str(), two.sync_id.as_str()));
    assert_eq!((first.relation.as_str(), first.project.as_str()), ("supersedes", "alpha"));
    let written = desk.last();
    assert_eq!(Entity::Relation.missing_field(&written.payload), None);
    assert_eq!((written.text("judgment_status"), written.text("marked_by_actor")), ("judged", "user"));
    assert_eq!(written.payload["confidence"], 0.75);
    let rows = desk.journal().len();
    assert_eq!(desk.relate_as(&request).unwrap(), first);
    assert_eq!(desk.journal().len(), rows, "the same judgment says nothing new");
    let before = written.version();
    let again = desk.relate(&one.sync_id, "conflicts_with", &two.sync_id).unwrap();
    assert_eq!((&again.sync_id, again.relation.as_str()), (&first.sync_id, "conflicts_with"));
    let after = desk.last().version();
    assert!(beats(&after, &before));
    assert_eq!(after.time().is_some_and(|time| time > at(0)), after.hash() < before.hash(), "no later than needed");
    let back = desk.relate(&two.sync_id, "superseded by", &one.sync_id).unwrap();
    assert_ne!(back.sync_id, first.sync_id);
    let row = desk.lab.store.read(|conn| {
        engramd::store::versions::row_version(conn, &store_support::project("alpha"), Entity::Relation, &again.sync_id)
    });
    assert_eq!(row.unwrap(), Some(after));
    desk.lab.check_books();
}

#[test]
fn what_makes_no_relation_is_refused() {
    let mut desk = Desk::new();
    let one = desk.save(&a_save("one", "one"));
    let two = desk.save(&a_save("two", "two"));
    let before = desk.everything();
    assert!(matches!(desk.relate(&one.sync_id, "x", "obs-9"), Err(MemoryError::NotFound { .. })));
    assert!(matches!(desk.relate("99", "x", &one.sync_id), Err(MemoryError::NotFound { .. })));
    assert!(matches!(desk.relate(&one.sync_id, "x", &one.id.to_string()), Err(MemoryError::Invalid { .. })));
    assert!(matches!(desk.relate(&one.sync_id, " ", &two.sync_id), Err(MemoryError::Invalid { .. })));
    for confidence in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let request = RelateRequest {
            source: one.sync_id.clone(),
            verb: "x".to_owned(),
            target: two.sync_id.clone(),
            reason: None,
            confidence: Some(confidence),
        };
        assert!(matches!(desk.relate_as(&request), Err(MemoryError::Invalid { field: "confidence", .. })));
    }
    assert_eq!(desk.everything(), before);
}
