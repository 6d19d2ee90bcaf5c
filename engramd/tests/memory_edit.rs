//! Changing, deleting and relating memories, opening and ending sessions: which keys versions get, and what is unsaid.
#![expect(clippy::unwrap_used, reason = "tests")]

mod memory_support;
mod store_support;

use engram_proto::ipc::request::{ListRequest, SaveRequest, UpdateRequest};
use engram_proto::merge::{Kind, Standing, Version, merge};
use engram_proto::mutation::Entity;
use engramd::memory::MemoryError;
use memory_support::{Desk, a_save};
use store_support::{at, gone, observation, relation, session, up, with_triggers};

/// What a pull would say of `after`, were `before` on the cloud.
fn beats(after: &Version, before: &Version) -> bool {
    after.leads(before) && merge(after.clone(), before.clone()).hash() == after.hash()
}

#[test]
fn only_what_is_given_changes() {
    let mut desk = Desk::new();
    let saved = desk.save(&SaveRequest {
        kind: Some("decision".to_owned()),
        topic: Some("auth".to_owned()),
        tool: Some("edit_file".to_owned()),
        ..a_save("Auth", "tokens")
    });
    let before = desk.get(&saved.sync_id).unwrap();
    desk.clock = 60;
    let changed = desk.retitle(&saved.id.to_string(), "Authentication");
    assert_eq!((changed.outcome.as_str(), changed.revision_count), ("updated", 2));
    let row = desk.get(&saved.sync_id).unwrap();
    let mut expected = before.clone();
    expected.title = "Authentication".to_owned();
    (expected.revision_count, expected.updated_at) = (2, at(60).to_string());
    assert_eq!(row, expected);
    assert_eq!((desk.search("Auth").len(), desk.search("Authentication").len()), (1, 1));
    let rows = desk.journal().len();
    let same = UpdateRequest {
        id: saved.sync_id.clone(),
        title: Some(" Authentication ".to_owned()),
        topic: Some("AUTH".to_owned()),
        scope: Some("whatever".to_owned()),
        ..UpdateRequest::default()
    };
    assert_eq!(desk.update(&same).unwrap().outcome, "unchanged");
    assert_eq!(
        desk.update(&UpdateRequest { id: saved.sync_id.clone(), ..UpdateRequest::default() }).unwrap().outcome,
        "unchanged"
    );
    assert_eq!(desk.journal().len(), rows, "what changes nothing is not written");
    let blank = UpdateRequest { id: saved.sync_id.clone(), content: Some(" ".to_owned()), ..UpdateRequest::default() };
    assert!(matches!(desk.update(&blank), Err(MemoryError::Invalid { field: "content", .. })));
    let cleared = UpdateRequest { id: saved.sync_id.clone(), topic: Some(String::new()), ..UpdateRequest::default() };
    desk.update(&cleared).unwrap();
    assert_eq!(desk.get(&saved.sync_id).unwrap().topic_key, None);
    desk.lab.check_index();
}

#[test]
fn an_id_is_a_local_number_first_and_then_a_sync_id() {
    let mut desk = Desk::new();
    desk.lab.apply(vec![
        up(1, "session", session("s1", "/d", 0)),
        up(2, "observation", observation("1", "s1", "named 1", 0)),
        up(3, "observation", observation("77", "s1", "named 77", 0)),
    ]);
    assert_eq!(desk.get("1").unwrap().title, "named 1");
    assert_eq!(desk.get("2").unwrap().title, "named 77");
    assert_eq!(desk.get(" 77 ").unwrap().title, "named 77");
    for id in ["", "999", "obs-0", "99999999999999999999999999", "-1", "x' OR 1", "a\0b"] {
        let failure = desk.get(id).unwrap_err().failure();
        assert_eq!((failure.reason_code.as_str(), failure.exit), ("not_found", engram_proto::reason::Exit::Failed));
    }
}

#[test]
fn conv_3_an_edit_beats_the_version_it_saw_even_with_a_clock_that_is_behind() {
    let mut desk = Desk::new();
    desk.lab.apply(vec![
        up(1, "session", session("s1", "/d", 500)),
        up(2, "observation", observation("obs-1", "s1", "from a device ahead", 500)),
        up(3, "observation", observation("obs-2", "s1", "another", 500)),
        up(4, "relation", relation("rel-1", "obs-1", "obs-2", 500)),
    ]);
    let seen = |desk: &Desk, entity, key| desk.lab.version(entity, key).unwrap();
    let before = seen(&desk, Entity::Observation, "obs-1");
    desk.retitle("obs-1", "edited with the clock at 0");
    let edit = desk.last();
    assert!(beats(&edit.version(), &before));
    assert_eq!(edit.version().time(), Some(at(500)), "never below what it saw, and not ahead of it without need");
    assert_eq!(edit.base.as_deref(), Some(before.hash().to_string().as_str()));
    desk.lab.apply(vec![up(5, "observation", observation("obs-1", "s1", "from a device ahead", 500))]);
    assert_eq!(desk.get("obs-1").unwrap().title, "edited with the clock at 0");
    // A delete, a judgment and a session's end of the same second.
    let before = seen(&desk, Entity::Observation, "obs-1");
    desk.delete("obs-1", false).unwrap();
    assert!(beats(&desk.last().version(), &before));
    let before = seen(&desk, Entity::Relation, "rel-1");
    let judged = desk.relate("obs-1", "conflicts_with", "obs-2").unwrap();
    assert_eq!(judged.sync_id, "rel-1", "one relation of two ends");
    assert!(beats(&desk.last().version(), &before));
    let mut ended = session("s1", "/d", 500);
    (ended["ended_at"], ended["summary"]) = (at(600).to_string().into(), "done there".into());
    desk.lab.apply(vec![up(6, "session", ended)]);
    let before = seen(&desk, Entity::Session, "s1");
    let row = desk.end("s1", Some("done here")).unwrap();
    assert_eq!(row.summary.as_deref(), Some("done here"));
    let after = desk.last().version();
    assert!(beats(&after, &before));
    assert_eq!(after.standing(&before), Standing::Wins);
}

#[test]
fn conv_3_an_edit_beats_what_is_known_even_where_the_row_lags_behind() {
    let mut desk = Desk::new();
    desk.lab.apply(vec![
        up(1, "session", session("s1", "/d", 0)),
        up(2, "observation", observation("obs-1", "s1", "known", 300)),
    ]);
    // Another program put an older text into the row, and told nobody.
    let put = "UPDATE observations SET title = 'old', updated_at = '2026-11-22 14:00:01' WHERE sync_id = 'obs-1'";
    desk.lab.store.write(|tx| Ok(with_triggers(tx, || tx.execute(put, []))?)).unwrap();
    let known = desk.lab.version(Entity::Observation, "obs-1").unwrap();
    let content = Some("mended".to_owned());
    desk.update(&UpdateRequest { id: "obs-1".to_owned(), content, ..UpdateRequest::default() }).unwrap();
    let written = desk.last();
    assert!(beats(&written.version(), &known));
    assert_eq!((written.text("title"), written.text("content")), ("old", "mended"), "what was seen is what was edited");
}

#[test]
fn what_a_newer_program_added_travels_on() {
    let mut desk = Desk::new();
    let mut newer = observation("obs-1", "s1", "with more", 0);
    newer["mood"] = "good".into();
    desk.lab.apply(vec![up(1, "session", session("s1", "/d", 0)), up(2, "observation", newer)]);
    desk.clock = 10;
    desk.retitle("obs-1", "edited");
    assert_eq!(desk.last().text("mood"), "good");
    desk.retitle("obs-1", "edited again, before it was sent");
    assert_eq!(desk.last().text("mood"), "good");
}

#[test]
fn a_soft_delete_hides_and_keeps() {
    let mut desk = Desk::new();
    let saved = desk.save(&a_save("Tokens", "They expire."));
    desk.clock = 60;
    assert_eq!(desk.delete(&saved.sync_id, false).unwrap().outcome, "deleted");
    assert!(desk.search("expire").is_empty());
    assert!(desk.list(&ListRequest::default()).is_empty());
    let deleted = desk.list(&ListRequest { deleted: true, ..ListRequest::default() });
    assert_eq!(deleted.len(), 1);
    let row = desk.get(&saved.sync_id).unwrap();
    assert_eq!((row.content.as_str(), row.deleted_at.as_deref()), ("They expire.", Some(at(60).to_string().as_str())));
    let written = desk.last();
    assert_eq!(
        (written.op.as_str(), written.text("content"), written.text("session_id")),
        ("delete", "", row.session_id.as_str())
    );
    let rows = desk.journal().len();
    assert_eq!(desk.delete(&saved.sync_id, false).unwrap().outcome, "unchanged");
    assert_eq!(desk.journal().len(), rows);
    let edit = UpdateRequest { id: saved.sync_id.clone(), title: Some("x".to_owned()), ..UpdateRequest::default() };
    assert!(matches!(desk.update(&edit), Err(MemoryError::Invalid { field: "ID", .. })));
    assert_eq!(desk.delete(&saved.sync_id, true).unwrap().outcome, "hard_deleted");
    assert!(matches!(desk.get(&saved.sync_id), Err(MemoryError::NotFound { .. })));
    assert!(matches!(desk.delete(&saved.sync_id, true), Err(MemoryError::NotFound { .. })));
    desk.lab.check_index();
    desk.lab.check_books();
}

#[test]
fn what_was_deleted_for_good_before_it_was_sent_is_never_sent() {
    let mut desk = Desk::new();
    let kept = desk.save(&a_save("kept", "kept"));
    let saved = desk.save(&a_save("Tokens", "hunter2"));
    desk.retitle(&saved.sync_id, "Secret tokens");
    let related = desk.relate(&kept.sync_id, "supersedes", &saved.sync_id).unwrap();
    desk.delete(&saved.sync_id, true).unwrap();
    let keys: Vec<String> = desk.journal().into_iter().map(|row| row.key).collect();
    assert!(!keys.contains(&saved.sync_id) && !keys.contains(&related.sync_id), "{keys:?}");
    assert_eq!(desk.lab.version(Entity::Observation, &saved.sync_id), None, "it leaves no version");
    assert!(!desk.lab.dump().contains(&saved.sync_id));
    let sent: Vec<String> = desk.lab.batch(100).rows.iter().map(|row| row.entity_key.clone()).collect();
    assert!(!sent.contains(&saved.sync_id) && sent.contains(&kept.sync_id), "{sent:?}");
    assert!(desk.search("hunter2").is_empty());
    let texts = "SELECT count(*) FROM sync_mutations WHERE payload LIKE '%hunter2%' OR payload LIKE '%Secret%'";
    assert_eq!(desk.lab.one::<i64>(texts), 0, "nor does it leave a text");
    desk.lab.check_index();
    desk.lab.check_books();
}

#[test]
fn what_a_request_carried_is_deleted_for_everybody() {
    let mut desk = Desk::new();
    let saved = desk.save(&a_save("Tokens", "They expire."));
    assert!(!desk.lab.batch(100).rows.is_empty(), "a request takes them along; no reply comes");
    desk.delete(&saved.sync_id, true).unwrap();
    let written = desk.last();
    assert_eq!((written.key.as_str(), written.op.as_str()), (saved.sync_id.as_str(), "delete"));
    let Version::Observation(version) = written.version() else { panic!("an observation") };
    assert_eq!((version.key.kind, version.created_at), (Kind::Hard, Some(at(0))));
    desk.lab.check_books();
}

#[test]
fn a_memory_older_than_the_journal_goes_without_a_word_unless_chunks_may_have_carried_it() {
    for chunks in [false, true] {
        let mut desk = Desk::new();
        let old = "INSERT INTO sessions (id, project, directory) VALUES ('s1', 'alpha', '/d');
            INSERT INTO observations (session_id, type, title, content) VALUES ('s1', 'manual', 'old', 'old');";
        desk.lab.store.write(|tx| Ok(with_triggers(tx, || tx.execute_batch(old))?)).unwrap();
        if chunks {
            let chunk = "INSERT INTO sync_chunks (chunk_id) VALUES ('0123abcd')";
            desk.lab.store.write(|tx| Ok(tx.execute(chunk, [])?)).unwrap();
        }
        // It has neither a sync id nor a project: it gets its own, and its session's.
        assert_eq!(desk.delete("1", true).unwrap().project, "alpha");
        assert_eq!(desk.journal().len(), usize::from(chunks));
        desk.lab.check_books();
    }
}

#[test]
fn a_memory_that_lacks_its_project_gets_that_of_its_session() {
    let mut desk = Desk::new();
    let old = "INSERT INTO sessions (id, project, directory) VALUES ('s1', 'alpha', '/d');
        INSERT INTO observations (session_id, type, title, content) VALUES ('s1', 'manual', 'old', 'old');";
    desk.lab.store.write(|tx| Ok(with_triggers(tx, || tx.execute_batch(old))?)).unwrap();
    let changed = desk.retitle("1", "new");
    assert_eq!((changed.project.as_str(), changed.outcome.as_str()), ("alpha", "updated"));
    assert_eq!(desk.last().project, "alpha");
    assert_eq!(desk.get(&changed.sync_id).unwrap().title, "new");
}

#[test]
fn a_hard_delete_orphans_relations_here_and_says_nothing_of_it() {
    let mut desk = Desk::new();
    desk.lab.apply(vec![
        up(1, "session", session("s1", "/d", 0)),
        up(2, "observation", observation("obs-1", "s1", "one", 0)),
        up(3, "observation", observation("obs-2", "s1", "two", 0)),
        up(4, "relation", relation("rel-1", "obs-1", "obs-2", 0)),
    ]);
    let pending = "INSERT INTO memory_relations (sync_id, source_id, target_id) VALUES ('rel-2', 'obs-2', 'obs-1')";
    desk.lab.store.write(|tx| Ok(tx.execute(pending, [])?)).unwrap();
    let dump = desk.lab.dump();
    let before = desk.lab.version(Entity::Relation, "rel-1");
    desk.delete("obs-1", true).unwrap();
    let statuses = "SELECT group_concat(judgment_status) FROM memory_relations";
    assert_eq!(desk.lab.one::<String>(statuses), "orphaned,orphaned");
    assert_eq!(desk.journal().iter().filter(|row| row.entity == "relation" && row.op == "upsert").count(), 0);
    assert_eq!(desk.lab.version(Entity::Relation, "rel-1"), before, "derived, so no other version");
    let relations =
        |dump: &str| dump.lines().filter(|line| line.contains("rel-")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(relations(&desk.lab.dump()), relations(&dump), "and one nobody judged stays unjudged");
}

#[test]
fn a_deleted_session_goes_with_its_last_memory() {
    let mut desk = Desk::new();
    desk.lab.apply(vec![
        up(1, "session", session("s1", "/d", 0)),
        up(2, "observation", observation("obs-1", "s1", "one", 0)),
    ]);
    let mut ended = session("s1", "/d", 0);
    ended["deleted_at"] = at(100).to_string().into();
    desk.lab.apply(vec![up(3, "session", ended)]);
    assert_eq!(desk.lab.one::<i64>("SELECT count(*) FROM sessions"), 1);
    desk.delete("obs-1", true).unwrap();
    assert_eq!(desk.lab.one::<i64>("SELECT count(*) FROM sessions"), 0);
    // Opened again, it is later than its deletion.
    let row = desk.start("s1", "alpha").unwrap();
    assert_eq!(row.started_at, at(101).to_string());
    let Some(Version::Session(version)) = desk.lab.version(Entity::Session, "s1") else { panic!("a session") };
    assert!(!Version::Session(version).is_delete());
    assert_eq!(desk.save(&a_save("a", "a")).session_id, "s1");
}

#[test]
fn a_pulled_delete_is_no_obstacle() {
    let mut desk = Desk::new();
    let saved = desk.save(&a_save("a", "a"));
    let row = desk.get(&saved.sync_id).unwrap();
    desk.lab.apply(vec![store_support::row(
        9,
        "alpha",
        "observation",
        "delete",
        gone(&saved.sync_id, &row.session_id, 900, false),
    )]);
    assert!(desk.get(&saved.sync_id).unwrap().deleted_at.is_some());
    let hard = desk.delete(&saved.sync_id, true).unwrap();
    assert_eq!(hard.outcome, "hard_deleted");
    let Version::Observation(version) = desk.last().version() else { panic!("an observation") };
    assert_eq!((version.key.kind, version.key.time), (Kind::Hard, Some(at(900))));
}
