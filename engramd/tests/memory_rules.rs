//! The write rules and the search, on a real store in memory.

#![expect(clippy::unwrap_used, reason = "tests")]

use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{SaveKind, Saved};
use engram_proto::ipc::request::{
    ListRequest, PromptRequest, RelateRequest, SaveRequest, SearchRequest, SessionStart, UpdateRequest,
};
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op, payload_text};
use engram_proto::time::RowTime;
use engramd::memory::{self, Now};
use engramd::store::{Store, versions};
use std::cell::Cell;

/// A store, and a clock that each test sets as it likes.
struct Desk {
    store: Store,
    second: Cell<i64>,
    drawn: Cell<u8>,
}

const NOON: i64 = 1_795_435_200;

impl Desk {
    fn new() -> Self {
        let now = RowTime::from_unix_s(NOON).unwrap();
        Self { store: Store::open_in_memory(now).unwrap(), second: Cell::new(NOON), drawn: Cell::new(0) }
    }

    fn now(&self) -> Now {
        self.drawn.set(self.drawn.get() + 1);
        Now { at: RowTime::from_unix_s(self.second.get()).unwrap(), random: [self.drawn.get(); 8] }
    }

    fn save(&mut self, title: &str, content: &str) -> Saved {
        self.save_as(&request(title, content))
    }

    fn save_as(&mut self, request: &SaveRequest) -> Saved {
        let now = self.now();
        memory::save(&mut self.store, request, &now).unwrap()
    }

    fn found(&self, query: &str) -> Vec<String> {
        let request = SearchRequest { query: query.to_owned(), limit: 50, ..SearchRequest::default() };
        self.found_by(&request)
    }

    fn found_by(&self, request: &SearchRequest) -> Vec<String> {
        let found = self.store.read(|conn| Ok(memory::search(conn, request).unwrap())).unwrap();
        found.into_iter().map(|one| one.observation.title).collect()
    }

    fn version(&self, sync_id: &str) -> Version {
        let project = ProjectName::parse("p").unwrap();
        let found = self.store.read(|conn| versions::row_version(conn, &project, Entity::Observation, sync_id));
        found.unwrap().unwrap()
    }

    /// Reads the journal: entity, key, and the version its payload is.
    fn journal(&self) -> Vec<(String, String, Version)> {
        let rows = self.store.read(|conn| {
            let mut statement = conn.prepare(
                "SELECT entity, entity_key, op, payload FROM sync_mutations WHERE acked_at IS NULL ORDER BY seq",
            )?;
            let rows = statement.query_map([], |row| {
                let text = |at| row.get::<_, String>(at);
                Ok((text(0)?, text(1)?, text(2)?, text(3)?))
            })?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        });
        let read = |(entity, key, op, payload): (String, String, String, String)| {
            let payload = payload_text(&payload).unwrap();
            let version = Version::read(Entity::parse(&entity).unwrap(), &key, Op::parse(&op).unwrap(), &payload);
            (entity, key, version.unwrap())
        };
        rows.unwrap().into_iter().map(read).collect()
    }
}

fn request(title: &str, content: &str) -> SaveRequest {
    SaveRequest {
        title: title.to_owned(),
        project: "P".to_owned(),
        content: content.to_owned(),
        directory: "/work".to_owned(),
        ..SaveRequest::default()
    }
}

#[test]
fn a_save_creates_counts_or_revises() {
    let mut desk = Desk::new();
    let first = desk.save("t", "same text");
    assert_eq!((first.outcome, first.project.as_str()), (SaveKind::Created, "p"));
    assert!(first.session_id.starts_with("manual-p-"), "one of this device's own");
    desk.second.set(NOON + 60);
    let again = desk.save("t", "Same   TEXT");
    assert_eq!((again.outcome, again.id), (SaveKind::Duplicate, first.id));
    desk.second.set(NOON + 16 * 60);
    assert_eq!(desk.save("t", "same text").outcome, SaveKind::Created, "the window is over");
    let topic = SaveRequest { topic: Some(" Data  Base ".to_owned()), ..request("v1", "first") };
    let made = desk.save_as(&topic);
    let revised = desk.save_as(&SaveRequest { content: "second".to_owned(), ..topic });
    assert_eq!((revised.outcome, revised.sync_id, revised.revision_count), (SaveKind::Revised, made.sync_id, 2));
}

/// DUR-1: a row, its index and its journal row come together, and a refused save leaves nothing behind.
#[test]
fn dur_1_a_save_is_whole_or_nothing() {
    let mut desk = Desk::new();
    let saved = desk.save("kept", "findable");
    assert_eq!(desk.found("findable"), ["kept"]);
    let journal = desk.journal();
    assert_eq!(journal.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["session", "observation"]);
    assert_eq!(journal[1].2, desk.version(&saved.sync_id), "the journal says what the row shows");
    for bad in [
        request("t", "  \n "),
        request("t", "nul \0"),
        SaveRequest { project: " ".to_owned(), ..request("t", "c") },
        SaveRequest { session: Some("nobody's".to_owned()), ..request("t", "c") },
    ] {
        let now = desk.now();
        let refused = memory::save(&mut desk.store, &bad, &now).unwrap_err().failure();
        assert!(refused.hint.is_some(), "{refused:?}");
    }
    // The last thing a save does is its journal row: where that fails, the rest is taken back.
    desk.store
        .write(|tx| {
            Ok(tx.execute_batch(
                "CREATE TRIGGER fail BEFORE INSERT ON sync_mutations BEGIN SELECT RAISE(ABORT, 'no'); END",
            )?)
        })
        .unwrap();
    let now = desk.now();
    memory::save(&mut desk.store, &request("lost", "unfindable"), &now).unwrap_err();
    assert!(desk.found("unfindable").is_empty());
    assert_eq!(desk.journal().len(), journal.len());
}

/// CONV-3: an edit beats what it edited, however far behind this device's clock is.
#[test]
fn conv_3_an_edit_beats_what_it_saw() {
    let mut desk = Desk::new();
    let saved = desk.save("t", "c");
    let seen = desk.version(&saved.sync_id);
    desk.second.set(NOON - 86_400);
    let now = desk.now();
    let update = UpdateRequest { id: saved.sync_id.clone(), title: Some("u".to_owned()), ..UpdateRequest::default() };
    assert_eq!(memory::update(&mut desk.store, &update, &now).unwrap().revision_count, 2);
    let edited = desk.version(&saved.sync_id);
    assert!(edited.leads(&seen) && edited.time() >= seen.time());
    assert_eq!(memory::update(&mut desk.store, &update, &now).unwrap().outcome, "unchanged");
    memory::delete(&mut desk.store, &saved.sync_id, false, &now).unwrap();
    let deleted = desk.version(&saved.sync_id);
    assert!(deleted.is_delete() && deleted.leads(&edited) && deleted.time() >= edited.time());
    memory::delete(&mut desk.store, &saved.sync_id, true, &now).unwrap();
    let start = SessionStart { id: Some("s".to_owned()), project: "p".to_owned(), directory: "/d".to_owned() };
    memory::session_start(&mut desk.store, &start, &now).unwrap();
    let once = memory::session_end(&mut desk.store, "s", Some("done"), &now).unwrap();
    let twice = memory::session_end(&mut desk.store, "s", None, &now).unwrap();
    assert!(
        twice.ended_at >= once.ended_at && twice.summary == once.summary,
        "an end that says nothing keeps the summary"
    );
}

/// ACK-2: what was deleted for good before any request carried it is never sent and leaves no version.
#[test]
fn ack_2_what_never_left_leaves_no_trace() {
    let mut desk = Desk::new();
    let (a, b) = (desk.save("a", "one"), desk.save("b", "two"));
    let now = desk.now();
    let relate = RelateRequest {
        source: a.sync_id.clone(),
        verb: "related".to_owned(),
        target: b.sync_id.clone(),
        ..Default::default()
    };
    memory::relate(&mut desk.store, &relate, &now).unwrap();
    memory::delete(&mut desk.store, &a.id.to_string(), true, &now).unwrap();
    let left: Vec<_> = desk.journal().into_iter().map(|row| row.1).collect();
    assert!(!left.contains(&a.sync_id) && left.contains(&b.sync_id), "{left:?}");
    assert!(left.iter().all(|key| !key.starts_with("rel-")), "a relation to it would wait for ever: {left:?}");
    let sets = desk.store.ack2(&ProjectName::parse("p").unwrap()).unwrap();
    assert_eq!((sets.written, sets.void), (sets.pending + sets.acked + sets.held + sets.void, 2));
    assert!(desk.found("one").is_empty());
}

#[test]
fn private_text_is_kept_nowhere() {
    let mut desk = Desk::new();
    desk.save_as(&SaveRequest {
        title: "a <private>hush1</private> title".to_owned(),
        content: "x <PRIVATE>hush2 <private>hush3</private> hush4</private> y <private>hush5".to_owned(),
        tool: Some("<private>hush6</private>tool".to_owned()),
        topic: Some("<private>hush7</private>".to_owned()),
        directory: "/<private>hush8</private>".to_owned(),
        kind: Some("<private>hush9</private>note".to_owned()),
        ..request("", "")
    });
    let prompt = PromptRequest {
        project: "p".to_owned(),
        content: "ask <private>hush10</private>".to_owned(),
        ..Default::default()
    };
    let now = desk.now();
    memory::prompt(&mut desk.store, &prompt, &now).unwrap();
    let all: String = desk
        .store
        .read(|conn| {
            let sql = "SELECT (SELECT group_concat(payload) FROM sync_mutations)
                || (SELECT group_concat(type || title || content || coalesce(tool_name, '') || coalesce(topic_key, '')) FROM observations)
                || (SELECT group_concat(content) FROM user_prompts) || (SELECT group_concat(directory) FROM sessions)";
            Ok(conn.query_row(sql, [], |row| row.get(0))?)
        })
        .unwrap();
    assert!(!all.contains("hush") && all.contains("[REDACTED]"), "{all}");
}

/// Whatever is typed is words, never syntax.
#[test]
fn search_answers_any_input() {
    let mut desk = Desk::new();
    desk.save("t", "plain words");
    for query in [
        "",
        " ",
        "\"",
        "\"\"\"",
        "'",
        "*",
        "a*",
        "AND",
        "OR NOT",
        "NEAR(",
        "NEAR(a b, 2)",
        "title:",
        "title: x",
        "col:y",
        "-x",
        "^a",
        "(",
        ")",
        "{a b}",
        "a + b",
        "\0",
        "\u{feff}",
        "🦀",
        "%",
        "_",
        "\\",
        ";",
        "--",
        "/* */",
        "日本語",
        "é",
        "a\"b",
        "x AND (y OR",
        "plain) OR (words",
        &"w ".repeat(5_000),
    ] {
        desk.found(query);
    }
    assert_eq!(desk.found("words AND"), ["t"], "operators are words like others");
}

#[test]
fn search_ranks_filters_and_forgets() {
    let mut desk = Desk::new();
    desk.save("about cursors", "nothing else here at all");
    desk.save("other", "a long text that mentions cursors once among many other words of no interest");
    desk.save_as(&SaveRequest {
        kind: Some("decision".to_owned()),
        scope: Some("personal".to_owned()),
        ..request("third", "cursors again")
    });
    desk.save_as(&SaveRequest { project: "q".to_owned(), ..request("elsewhere", "cursors in another project") });
    assert_eq!(desk.found("cursors")[0], "about cursors", "a word in the title weighs more");
    let ask = || SearchRequest { query: "cursors".to_owned(), limit: 9, ..SearchRequest::default() };
    assert_eq!(desk.found_by(&SearchRequest { project: Some("Q".to_owned()), ..ask() }), ["elsewhere"]);
    assert_eq!(desk.found_by(&SearchRequest { kind: Some("decision".to_owned()), ..ask() }), ["third"]);
    assert_eq!(desk.found_by(&SearchRequest { scope: Some("personal".to_owned()), ..ask() }), ["third"]);
    assert_eq!(desk.found_by(&SearchRequest { limit: 2, ..ask() }).len(), 2);
    assert_eq!(desk.found("curso"), desk.found("cursors"), "the beginning of a word will do");
    let now = desk.now();
    let listed = |desk: &Desk, deleted| {
        let request = ListRequest { deleted, limit: 10, ..ListRequest::default() };
        desk.store.read(|conn| Ok(memory::list(conn, &request).unwrap())).unwrap().len()
    };
    memory::delete(&mut desk.store, "1", false, &now).unwrap();
    assert!(!desk.found("cursors").contains(&"about cursors".to_owned()));
    assert_eq!((listed(&desk, false), listed(&desk, true)), (3, 1));
}
