//! Saving memories and prompts: what becomes of texts, which memory is meant, which session it belongs to.
#![expect(clippy::unwrap_used, reason = "tests")]

mod memory_support;
mod store_support;

use engram_proto::ipc::reply::{SaveKind, SessionRow};
use engram_proto::ipc::request::{PromptRequest, RelateRequest, SaveRequest, SessionStart, UpdateRequest};
use engram_proto::merge::Version;
use engramd::memory::{self, MemoryError};
use memory_support::{Desk, a_save};
use store_support::{at, session, up};

#[test]
fn a_save_is_a_row_an_index_entry_and_a_journal_row() {
    let mut desk = Desk::new();
    let saved = desk.save(&SaveRequest {
        kind: Some("decision".to_owned()),
        tool: Some("edit_file".to_owned()),
        topic: Some(" Auth  Model ".to_owned()),
        project: " Alpha--Beta ".to_owned(),
        ..a_save("Tokens", "They expire.")
    });
    assert_eq!((saved.outcome, saved.revision_count), (SaveKind::Created, 1));
    assert_eq!(saved.project, "alpha-beta");
    assert!(saved.sync_id.starts_with("obs-") && saved.sync_id.len() == 20);
    let row = desk.get(&saved.id.to_string()).unwrap();
    assert_eq!((row.kind.as_str(), row.scope.as_str()), ("decision", "project"));
    assert_eq!((row.topic_key.as_deref(), row.tool_name.as_deref()), (Some("auth-model"), Some("edit_file")));
    assert_eq!(row.review_after.as_deref(), Some("2027-05-22 14:00:00"), "a decision is looked at again in 6 months");
    assert_eq!((row.created_at.as_str(), row.updated_at.as_str()), ("2026-11-22 14:00:00", "2026-11-22 14:00:00"));
    assert_eq!(desk.search("expire"), ["Tokens"]);
    let written = desk.last();
    assert_eq!((written.key.as_str(), written.project.as_str()), (saved.sync_id.as_str(), "alpha-beta"));
    let project = store_support::project("alpha-beta");
    let entity = engram_proto::mutation::Entity::Observation;
    let row = desk.lab.store.read(|c| engramd::store::versions::row_version(c, &project, entity, &saved.sync_id));
    assert_eq!(row.unwrap(), Some(written.version()), "the row shows what was journalled");
    assert_eq!(entity.missing_field(&written.payload), None);
    desk.lab.check_books();
    desk.lab.check_index();
}

/// D22: two devices that use one topic at the same time have two memories, and both go on with the same one of them.
#[test]
fn two_memories_of_one_topic_are_revised_alike_on_every_device() {
    let memory = |key: &str| {
        let mut memory = store_support::observation(key, "s1", key, 5);
        memory["topic_key"] = "auth-model".into();
        memory
    };
    let save = SaveRequest {
        topic: Some("auth model".to_owned()),
        project: "alpha".to_owned(),
        ..a_save("Tokens", "They expire.")
    };
    for order in [["o1", "o2"], ["o2", "o1"]] {
        let mut desk = Desk::new();
        desk.lab.apply(vec![store_support::up(1, "session", store_support::session("s1", "/a", 0))]);
        for (seq, key) in (2..).zip(order) {
            desk.lab.apply(vec![store_support::up(seq, "observation", memory(key))]);
        }
        let saved = desk.save(&save);
        assert_eq!((saved.outcome, saved.sync_id.as_str()), (SaveKind::Revised, "o2"), "{order:?}");
    }
}

/// D27: a memory that another device saved is looked at again when it would be here.
#[test]
fn what_was_pulled_has_its_review_date() {
    let mut desk = Desk::new();
    let mut note = store_support::observation("o2", "s1", "a note", 5);
    note["type"] = "note".into();
    desk.lab.apply(vec![
        store_support::up(1, "session", store_support::session("s1", "/a", 0)),
        store_support::up(2, "observation", store_support::observation("o1", "s1", "a decision", 5)),
        store_support::up(3, "observation", note),
    ]);
    assert_eq!(desk.get("o1").unwrap().review_after.as_deref(), Some("2027-05-22 14:00:00"));
    assert_eq!(desk.get("o2").unwrap().review_after, None);
}

#[test]
fn what_is_left_out_is_derived_and_what_cannot_be_is_refused() {
    let mut desk = Desk::new();
    let saved = desk.save(&a_save("  ", "\n First line \nsecond"));
    let row = desk.get(&saved.sync_id).unwrap();
    assert_eq!((row.title.as_str(), row.kind.as_str()), ("First line", "manual"));
    assert_eq!(row.review_after, None);
    let before = desk.everything();
    for (request, field) in [
        (a_save("t", " \n "), "content"),
        (SaveRequest { project: " ".to_owned(), ..a_save("t", "c") }, "project"),
        (a_save("t\0", "c"), "title"),
        (a_save("t", "c\0"), "content"),
        (SaveRequest { topic: Some("a\0".to_owned()), ..a_save("t", "c") }, "topic"),
        (SaveRequest { session: Some(" ".to_owned()), ..a_save("t", "c") }, "session"),
    ] {
        match desk.try_save(&request) {
            Err(error @ MemoryError::Invalid { field: named, .. }) => {
                assert_eq!(named, field);
                let failure = error.failure();
                assert_eq!((failure.reason_code.as_str(), failure.hint.is_some()), ("invalid_argument", true));
            }
            other => panic!("{field}: {other:?}"),
        }
    }
    assert_eq!(desk.everything(), before);
}

#[test]
fn no_text_field_keeps_what_is_private() {
    let mut desk = Desk::new();
    let secret = |text: &str| format!("{text} <Private>hunter2 <private>x</private></PRIVATE>");
    let opened = SessionStart { id: None, project: "alpha".to_owned(), directory: secret("/d") };
    let now = desk.now();
    let opened: SessionRow = memory::session_start(&mut desk.lab.store, &opened, &now).unwrap();
    let one = desk.save(&SaveRequest {
        kind: Some(secret("kind")),
        topic: Some(secret("topic")),
        tool: Some(secret("tool")),
        ..a_save(&secret("title"), &secret("content"))
    });
    let two = desk.save(&a_save("two", "<private>hunter2 for ever"));
    let update = UpdateRequest { id: two.sync_id.clone(), title: Some(secret("new")), ..UpdateRequest::default() };
    desk.update(&update).unwrap();
    desk.prompt(&secret("prompt"), None);
    desk.relate_as(&RelateRequest {
        source: one.sync_id.clone(),
        target: two.sync_id,
        verb: secret("verb"),
        reason: Some(secret("reason")),
        confidence: None,
    })
    .unwrap();
    desk.end(&opened.id, Some(&secret("summary"))).unwrap();
    assert!(
        desk.try_save(&SaveRequest { project: secret("p"), ..a_save("t", "c") }).is_err(),
        "no name can be redacted"
    );
    let everything = desk.everything();
    assert!(!everything.contains("hunter2"), "{everything}");
    let row = desk.get(&one.sync_id).unwrap();
    assert_eq!((row.title.as_str(), row.content.as_str()), ("title [REDACTED]", "content [REDACTED]"));
    assert_eq!((row.kind.as_str(), row.tool_name.as_deref()), ("kind [REDACTED]", Some("tool [REDACTED]")));
}

#[test]
fn a_topic_has_one_memory_in_its_project_and_scope() {
    let mut desk = Desk::new();
    let about = |content: &str| SaveRequest {
        topic: Some("auth".to_owned()),
        kind: Some("decision".to_owned()),
        tool: Some("edit_file".to_owned()),
        ..a_save("Auth", content)
    };
    let first = desk.save(&about("sessions"));
    desk.clock = 60;
    let second = desk.save(&SaveRequest { tool: None, ..about("tokens") });
    assert_eq!((second.outcome, second.id, second.revision_count), (SaveKind::Revised, first.id, 2));
    assert_eq!((&second.sync_id, &second.session_id), (&first.sync_id, &first.session_id));
    let row = desk.get(&first.sync_id).unwrap();
    assert_eq!((row.content.as_str(), row.revision_count), ("tokens", 2));
    assert_eq!((row.updated_at.as_str(), row.created_at.as_str()), ("2026-11-22 14:01:00", "2026-11-22 14:00:00"));
    assert_eq!(row.tool_name.as_deref(), Some("edit_file"), "what is not given stays");
    assert_eq!((desk.search("tokens").len(), desk.search("sessions").len()), (1, 0));
    let personal = desk.save(&SaveRequest { scope: Some("Personal".to_owned()), ..about("tokens") });
    let elsewhere = desk.save(&SaveRequest { project: "beta".to_owned(), ..about("tokens") });
    assert_eq!((personal.outcome, elsewhere.outcome), (SaveKind::Created, SaveKind::Created));
    desk.delete(&first.sync_id, false).unwrap();
    let again = desk.save(&about("cookies"));
    assert_eq!(again.outcome, SaveKind::Created, "only a live memory is revised");
    desk.lab.check_index();
}

#[test]
fn the_same_within_fifteen_minutes_is_counted() {
    let mut desk = Desk::new();
    let first = desk.save(&a_save("Tokens", "They  EXPIRE."));
    desk.clock = 15 * 60;
    let second = desk.save(&a_save("Tokens", "they expire."));
    assert_eq!((second.outcome, second.id, second.revision_count), (SaveKind::Duplicate, first.id, 1));
    let row = desk.get(&first.sync_id).unwrap();
    assert_eq!((row.duplicate_count, row.content.as_str()), (2, "They  EXPIRE."));
    assert_eq!(row.last_seen_at.as_deref(), Some("2026-11-22 14:15:00"));
    assert_eq!(row.updated_at, "2026-11-22 14:00:00", "a fold is no change");
    let journal = desk.journal();
    let versions: Vec<_> =
        journal.iter().filter(|row| row.entity == "observation").map(memory_support::Written::version).collect();
    let [Version::Observation(one), Version::Observation(two)] = versions.as_slice() else { panic!("two rows") };
    assert_eq!(one.key, two.key, "no rival loses by a fold");
    assert_eq!(two.duplicate_count, Some(2));
    for (what, other) in [
        ("title", a_save("Other", "they expire.")),
        ("type", SaveRequest { kind: Some("bugfix".to_owned()), ..a_save("Tokens", "they expire.") }),
        ("scope", SaveRequest { scope: Some("global".to_owned()), ..a_save("Tokens", "they expire.") }),
        ("project", SaveRequest { project: "beta".to_owned(), ..a_save("Tokens", "they expire.") }),
    ] {
        assert_eq!(desk.save(&other).outcome, SaveKind::Created, "{what}");
    }
    desk.clock = 15 * 60 + 1;
    assert_eq!(desk.save(&a_save("Tokens", "they expire.")).outcome, SaveKind::Created, "the window is over");
}

#[test]
fn a_memory_belongs_to_the_open_session_or_to_one_of_this_device() {
    let mut desk = Desk::new();
    let own: String = desk.lab.store.device_id().chars().take(8).collect();
    let manual = format!("manual-alpha-{own}");
    assert_eq!(desk.save(&a_save("a", "a")).session_id, manual);
    let started = desk.journal().remove(0);
    assert_eq!((started.entity.as_str(), started.key.as_str()), ("session", manual.as_str()));
    assert_eq!(started.text("directory"), "/home/dev/alpha");
    desk.start("other", "beta").unwrap();
    assert_eq!(desk.save(&a_save("b", "b")).session_id, manual, "another project's session is no one's here");
    desk.start("s1", "alpha").unwrap();
    desk.clock = 1;
    desk.start("s2", "alpha").unwrap();
    assert_eq!(desk.save(&a_save("c", "c")).session_id, "s2");
    assert_eq!(desk.prompt("what?", None).session_id, "s2");
    desk.end("s2", None).unwrap();
    assert_eq!(desk.save(&a_save("d", "d")).session_id, "s1");
    assert_eq!(desk.save(&SaveRequest { session: Some("s2".to_owned()), ..a_save("e", "e") }).session_id, "s2");
    desk.end("s1", None).unwrap();
    // What machines share, or made for themselves, is nobody's open session.
    for id in ["manual-save", "manual-save-alpha", "manual-alpha-0123abcd"] {
        desk.lab.apply(vec![up(9, "session", session(id, "/elsewhere", 9))]);
    }
    assert_eq!(desk.save(&a_save("f", "f")).session_id, manual);
    let sessions = desk.journal().iter().filter(|row| row.key == manual).count();
    assert_eq!(sessions, 1, "made once");
}

#[test]
fn a_named_session_that_is_not_there_is_said() {
    let mut desk = Desk::new();
    let before = desk.everything();
    let refused = desk.try_save(&SaveRequest { session: Some("s9".to_owned()), ..a_save("a", "a") }).unwrap_err();
    assert_eq!(refused.to_string(), "the session \"s9\" does not exist");
    let failure = refused.failure();
    assert_eq!(failure.reason_code, "not_found");
    assert_eq!(failure.hint.as_deref(), Some("engramctl session start --id s9 --project alpha"));
    assert_eq!(desk.everything(), before);
    desk.save(&a_save("a", "a"));
    let same = SaveRequest { session: Some("s9".to_owned()), ..a_save("a", "a") };
    assert!(desk.try_save(&same).is_err(), "for a duplicate too");
}

#[test]
fn dur_1_a_save_that_fails_half_way_leaves_nothing() {
    let mut desk = Desk::new();
    let saved = desk.save(&SaveRequest { topic: Some("t".to_owned()), ..a_save("a", "a") });
    // The last thing a write does is its journal row; that one fails.
    let block = |desk: &mut Desk, sql: &str| desk.lab.store.write(|tx| Ok(tx.execute_batch(sql)?)).unwrap();
    let last = desk.lab.one::<i64>("SELECT max(seq) FROM sync_mutations");
    block(&mut desk, &format!("CREATE UNIQUE INDEX no ON sync_mutations (min(seq, {last}))"));
    let before = desk.everything();
    assert!(desk.try_save(&SaveRequest { project: "beta".to_owned(), ..a_save("new", "new") }).is_err());
    assert!(desk.try_save(&SaveRequest { topic: Some("t".to_owned()), ..a_save("b", "b") }).is_err());
    assert!(desk.try_save(&a_save("a", "a")).is_err());
    assert!(desk.delete(&saved.sync_id, false).is_err());
    assert!(desk.start("s1", "alpha").is_err());
    let now = desk.now();
    let request = PromptRequest { project: "gamma".to_owned(), content: "x".to_owned(), ..PromptRequest::default() };
    assert!(memory::prompt(&mut desk.lab.store, &request, &now).is_err());
    assert_eq!(desk.everything(), before);
    assert!(desk.search("new").is_empty());
    block(&mut desk, "DROP INDEX no");
    desk.save(&a_save("b", "b"));
    desk.lab.check_index();
    desk.lab.check_books();
}

#[test]
fn a_prompt_outlives_the_deletion_of_its_session_that_it_knows_of() {
    let mut desk = Desk::new();
    let mut gone = session("s1", "/d", 0);
    gone["deleted_at"] = at(100).to_string().into();
    desk.lab.apply(vec![up(1, "session", session("s1", "/d", 0))]);
    let first = desk.save(&SaveRequest { session: Some("s1".to_owned()), ..a_save("a", "a") });
    desk.lab.apply(vec![up(2, "session", gone)]);
    assert_eq!(first.session_id, "s1");
    let saved = desk.prompt("still there?", Some("s1"));
    assert_eq!(desk.last().text("created_at"), at(101).to_string(), "not as old as the deletion");
    assert!(saved.sync_id.starts_with("prompt-"));
    assert!(desk.lab.dump().contains("still there?"), "{}", desk.lab.dump());
    desk.lab.check_index();
}
