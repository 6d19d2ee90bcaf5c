//! Finding memories: any input is words, what fits best comes first, filters hold, deleted ones are never found.
#![expect(clippy::unwrap_used, reason = "tests")]

mod memory_support;
mod store_support;

use engram_proto::ipc::request::{ListRequest, SaveRequest, SearchRequest};
use memory_support::{Desk, a_save};
use store_support::{observation, session, up};

#[test]
fn no_input_is_an_error() {
    let mut desk = Desk::new();
    desk.save(&a_save("Emoji 🚀 and NEAR", "col: a \"quoted\" AND escaped \\ one; señal — 決定"));
    for query in [
        "",
        " ",
        "\0",
        "a\0b",
        "\0\"",
        "\"",
        "\"\"",
        "\"\"\"",
        "'",
        "''",
        "`",
        "a\"b",
        "\"a",
        "a\"",
        "AND",
        "OR",
        "NOT",
        "NEAR",
        "NEAR(",
        "NEAR(a b, 2)",
        "NEAR(\"a\", 2",
        "a AND",
        "AND a",
        "a OR",
        "NOT a",
        "a NOT b",
        "(",
        ")",
        "(a",
        "a)",
        "()",
        "*",
        "**",
        "a*",
        "*a",
        "a *",
        "^",
        "^a",
        "a^",
        "col:",
        "title:a",
        "{title content}:a",
        "{",
        "}",
        ":",
        "+",
        "a+b",
        "a + b",
        "-",
        "-a",
        "--",
        "a--b",
        ";",
        "; DROP TABLE observations;",
        "%",
        "_",
        "\\",
        "\\\"",
        "/",
        "?",
        "🚀",
        "🚀🚀 ",
        "決定",
        "señal",
        "SEÑAL",
        "\u{feff}",
        "\u{200d}",
        "\u{301}",
        "e\u{301}",
        "\u{1F468}\u{200d}\u{1F469}",
        "\u{10ffff}",
        "\u{7f}",
        "\r\n\t",
        "rank MATCH 'x'",
        "observations_fts",
        "a,b",
        "[a]",
        "<a>",
        "a=b",
        "1",
        "-1",
        "1e999",
    ] {
        desk.search(query);
        desk.search(&format!("{query} quoted"));
        desk.search(&format!("quoted {query}"));
    }
    desk.search(&"word ".repeat(100_000));
    desk.search(&(0..5_000).map(|n| format!("w{n} ")).collect::<String>());
    desk.search(&"x".repeat(1_000_000));
    desk.search(&"\"".repeat(10_001));
    for found in ["quoted", "\"quoted\"", "AND", "near(", "SEÑAL", "senal", "決定", "col:", "escaped *", "\0quoted\0"]
    {
        assert_eq!(desk.search(found).len(), 1, "{found:?}");
    }
    for nothing in ["", " ", "\0", "***", "\"\"", "🚀", "-", "absent"] {
        assert!(desk.search(nothing).is_empty(), "{nothing:?}");
    }
}

#[test]
fn all_words_then_a_beginning_then_any() {
    let mut desk = Desk::new();
    desk.save(&a_save("both", "cursor and lease"));
    desk.save(&a_save("one", "cursor alone"));
    desk.save(&a_save("longer", "leasehold"));
    assert_eq!(desk.search("cursor lease"), ["both"]);
    assert_eq!(desk.search("leaseh"), ["longer"]);
    assert_eq!(desk.search("cursor alo"), ["one"]);
    let mut any = desk.search("cursor nowhere");
    any.sort();
    assert_eq!(any, ["both", "one"]);
    assert_eq!(desk.search("cursor-alone"), ["one"], "what is written together stands together");
}

#[test]
fn a_title_weighs_more_than_a_content_and_the_newer_wins_a_draw() {
    let mut desk = Desk::new();
    let filler = "some other words that say nothing at all about the matter in question";
    desk.save(&a_save("Gzip", filler));
    for n in 0..20 {
        desk.save(&a_save(&format!("filler {n}"), &format!("{filler} {n}")));
    }
    desk.save(&a_save("Something else", &format!("gzip {filler}")));
    assert_eq!(desk.search("gzip"), ["Gzip", "Something else"]);
    let one = desk.save(&a_save("Twin", "zstd old"));
    let two = desk.save(&a_save("Twin", "zstd new"));
    let found = desk.find(&SearchRequest { query: "zstd".to_owned(), ..SearchRequest::default() });
    assert_eq!(found.iter().map(|found| found.observation.id).collect::<Vec<_>>(), [two.id, one.id]);
    assert!(found[0].snippet.contains("zstd new"), "{}", found[0].snippet);
}

#[test]
fn filters_hold() {
    let mut desk = Desk::new();
    for (n, (project, kind, scope)) in
        [("alpha", "decision", "project"), ("alpha", "bugfix", "personal"), ("beta", "decision", "global")]
            .iter()
            .enumerate()
    {
        desk.save(&SaveRequest {
            project: (*project).to_owned(),
            kind: Some((*kind).to_owned()),
            scope: Some((*scope).to_owned()),
            topic: Some("shared topic".to_owned()),
            ..a_save(&n.to_string(), "the same text")
        });
    }
    let some = |text: &str| Some(text.to_owned());
    for query in ["text", "shared-topic"] {
        let by = |project, kind, scope| {
            let request = SearchRequest { query: query.to_owned(), project, kind, scope, limit: 50 };
            let mut titles: Vec<_> = desk.find(&request).into_iter().map(|found| found.observation.title).collect();
            titles.sort();
            titles
        };
        assert_eq!(by(None, None, None), ["0", "1", "2"]);
        assert_eq!(by(some(" ALPHA "), None, None), ["0", "1"]);
        assert_eq!(by(None, some("decision"), None), ["0", "2"]);
        assert_eq!(by(None, None, some("Global")), ["2"]);
        assert_eq!(by(some("alpha"), some("bugfix"), some("personal")), ["1"]);
        assert!(by(some("gamma"), None, None).is_empty());
    }
    let request = SearchRequest { query: "text".to_owned(), project: some(" "), ..SearchRequest::default() };
    assert!(desk.lab.store.read(|conn| Ok(engramd::memory::search(conn, &request))).unwrap().is_err());
    assert_eq!(desk.find(&SearchRequest { query: "text".to_owned(), limit: 2, ..SearchRequest::default() }).len(), 2);
    assert_eq!(
        desk.list(&ListRequest { project: some("alpha"), kind: some("bugfix"), ..ListRequest::default() }).len(),
        1
    );
}

#[test]
fn what_was_named_exactly_comes_first_and_once() {
    let mut desk = Desk::new();
    let auth = desk.save(&SaveRequest { topic: Some("auth model".to_owned()), ..a_save("Tokens", "They expire.") });
    for n in 0..5 {
        desk.save(&a_save(&format!("auth model {n}"), "auth model auth model"));
    }
    let found = desk.search("Auth  Model");
    assert_eq!((found.len(), found[0].as_str()), (6, "Tokens"));
    assert_eq!(desk.search(&auth.sync_id), ["Tokens"]);
    let found = desk.find(&SearchRequest { query: auth.sync_id.clone(), ..SearchRequest::default() });
    assert_eq!(found[0].snippet, "They expire.");
    let two = SearchRequest { query: "auth model".to_owned(), limit: 2, ..SearchRequest::default() };
    assert_eq!(desk.find(&two).len(), 2);
    desk.delete(&auth.sync_id, false).unwrap();
    assert!(desk.search(&auth.sync_id).is_empty());
}

#[test]
fn a_memory_is_found_at_once_after_every_write_and_never_when_deleted() {
    let mut desk = Desk::new();
    desk.lab.apply(vec![
        up(1, "session", session("s1", "/d", 0)),
        up(2, "observation", observation("obs-1", "s1", "pulled", 0)),
    ]);
    assert_eq!(desk.search("pulled").len(), 1);
    let saved = desk.save(&a_save("local", "written"));
    assert_eq!(desk.search("written"), ["local"]);
    desk.retitle("obs-1", "edited");
    assert_eq!((desk.search("edited").len(), desk.search("pulled").len()), (1, 1), "its content still says so");
    desk.delete("obs-1", false).unwrap();
    desk.delete(&saved.sync_id, true).unwrap();
    assert!(desk.search("edited").is_empty() && desk.search("written").is_empty());
    desk.lab.check_index();
}

#[test]
fn lists_are_newest_first_and_as_long_as_asked() {
    let mut desk = Desk::new();
    for n in 0..30 {
        desk.clock = n / 10;
        desk.save(&a_save(&n.to_string(), &n.to_string()));
    }
    let titles = |request: &ListRequest| desk.list(request).into_iter().map(|row| row.title).collect::<Vec<_>>();
    let all: Vec<String> = (0..30).rev().map(|n| n.to_string()).collect();
    assert_eq!(titles(&ListRequest { limit: u64::MAX, ..ListRequest::default() }), all);
    assert_eq!(titles(&ListRequest::default()), all[..20]);
    let project = Some("alpha".to_owned());
    assert_eq!(titles(&ListRequest { project: project.clone(), limit: 3, ..ListRequest::default() }), all[..3]);
    assert!(titles(&ListRequest { project, deleted: true, ..ListRequest::default() }).is_empty());
}
