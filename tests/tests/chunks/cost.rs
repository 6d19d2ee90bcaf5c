//! COST-1 between client, daemon and directory: how many questions are asked and how many files are opened, whatever has
//! gathered in the directory.

use crate::between::{Between, Opens};
use crate::harness::{Person, lay_chunk};
use engram_tests::processes::until;
use rustix::fs::inotify::WatchFlags;
use std::collections::BTreeMap;

fn row(n: usize) -> String {
    let (session, at) =
        (r#"{"id":"s","project":"app","directory":"/d","started_at":"2026-11-22 10:00:00"}"#, "2026-11-22 10:00:01");
    format!(
        r#"{{"sessions":[{session}],"observations":[{{"sync_id":"obs-{n}","session_id":"s","type":"note","title":"t {n}","content":"c","project":"app","scope":"project","created_at":"{at}","updated_at":"{at}"}}],"prompts":[]}}"#
    )
}

#[test]
fn cost_1_questions_and_files_go_by_what_is_new() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let (between, place) = (Between::start(&ana), ana.place());
    let mut next = 0;
    let mut lay = |count: usize| {
        next += count;
        (next - count..next).map(|n| lay_chunk(&place, row(n).as_bytes())).collect::<Vec<_>>()
    };
    lay(1);
    let opens = Opens::of(&place);
    for before in [20, 200] {
        lay(before);
        // Many small chunks are given at once.
        let asked = between.asked(&ana, &["import"]);
        assert_eq!(asked, ["meet", "found", "rows", "imported"], "{before} chunks");
        assert_eq!(between.asked(&ana, &["import"]), ["meet"]);
        let _ = opens.take();
        // Of what is new, each file is opened once, and nothing else of what has gathered.
        let new = lay(3);
        let _ = opens.take();
        assert_eq!(between.asked(&ana, &["import"]), ["meet", "rows", "imported"], "few are not asked for");
        let opened = opens.take();
        let chunks: Vec<_> = opened.iter().filter(|(name, _)| name.ends_with(".gz")).collect();
        assert_eq!(chunks.len(), new.len(), "{opened:?}");
        assert!(
            chunks.iter().all(|(name, times)| new.iter().any(|id| name.starts_with(id)) && **times == 1),
            "{opened:?}"
        );
    }
    // Once all of it is in and listed, and the directory has rested, neither list nor directory is read.
    assert_eq!(ana.json(&["export", "--project", "app"])["manifest_written"], true);
    until("the directory has rested", || between.asked(&ana, &["import"]).last() == Some(&"settle"));
    let _ = opens.take();
    assert_eq!(between.asked(&ana, &["import"]), ["settled"]);
    assert_eq!(between.asked(&ana, &["export", "--project", "app"]), ["export"]);
    assert_eq!(opens.take(), BTreeMap::new(), "nothing is opened");
    // A stamp that is another one is answered so, and nothing is looked for before the place was.
    lay(1);
    let asked = || between.asked(&ana, &["export", "--project", "app"]);
    until("the directory has rested again", || asked() == ["export", "meet", "export"]);
    assert_eq!(between.asked(&ana, &["import"]), ["settled", "meet", "rows", "imported"], "which settles it");
    assert_eq!((asked(), asked()), (vec!["export", "exported"], vec!["export"]));
    let _ = opens.take();
    // What is new here is written beside its place and moved there; the one new chunk is the only one that is opened.
    let _ = ana.device.save("app", "new", "text");
    let writes = Opens::with(&place, WatchFlags::MODIFY);
    let asked = between.asked(&ana, &["export", "--project", "app"]);
    assert_eq!(asked, ["export", "rows", "exported"]);
    let opened = opens.take();
    assert_eq!(opened.keys().filter(|name| name.ends_with(".gz")).count(), 1, "{opened:?}");
    assert_eq!(opened.get("manifest.json"), Some(&1), "the list is read once: {opened:?}");
    let written = writes.take();
    assert_eq!(written.keys().collect::<Vec<_>>(), [".engramctl-writing"], "whole or not there");
    // Somebody else's chunk is seen at once, however short the rest was.
    lay(1);
    assert_eq!(between.asked(&ana, &["import"]), ["meet", "rows", "imported"]);
    assert_eq!(ana.one::<i64>("SELECT count(*) FROM observations"), 1 + 20 + 3 + 200 + 3 + 1 + 1 + 1);
}

/// What is asked does not grow with the chunks that are wanted, and the list is looked at once, by one look where it lists
/// what lies there.
#[test]
fn cost_1_a_first_import_asks_once_and_looks_at_the_list_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, bob, eve) =
        (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"), Person::new(temp.path(), "eve"));
    let place = ana.place();
    (0..700).for_each(|n| drop(lay_chunk(&place, row(n).as_bytes())));
    let here = ["import", "--dir", place.to_str().expect("a path")];
    // Three times as much as goes into one frame.
    assert_eq!(Between::start(&ana).asked(&ana, &here), ["meet", "found", "rows", "rows", "rows", "imported"]);
    assert_eq!(ana.json(&["export", "--project", "app"])["manifest_written"], true);
    let opens = Opens::of(&place);
    let bobs = Between::start(&bob);
    assert_eq!(bobs.asked(&bob, &here), ["meet", "found", "rows", "rows", "rows", "imported"]);
    let mut opened = opens.take();
    let _ = opened.remove("chunks");
    assert!(opened.len() == 701 && opened.values().all(|times| *times == 1), "{opened:?}");
    for person in [&ana, &bob] {
        assert_eq!(person.one::<i64>("SELECT count(*) FROM observations"), 700);
    }
    // The same content at another place is asked for load by load, and not sent.
    let copy = eve.place();
    (0..700).for_each(|n| drop(lay_chunk(&copy, row(n).as_bytes())));
    let there = ["import", "--dir", copy.to_str().expect("a path")];
    assert_eq!(bobs.asked(&bob, &there), ["meet", "found", "found", "found"]);
}

#[test]
fn what_is_broken_is_named_however_long_the_directory_has_rested() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let place = ana.place();
    let _ = lay_chunk(&place, row(1).as_bytes());
    assert_eq!(ana.json(&["export", "--project", "app"])["outcome"], "nothing");
    std::fs::write(place.join("chunks/00000005.jsonl.gz"), "broken").expect("written");
    let between = Between::start(&ana);
    until("the directory has rested", || between.ask(&ana, &["import"]).first() == Some(&"settled"));
    for _ in 0..2 {
        let import = ana.chunks(&["import", "--json"]);
        assert_eq!((import.code, &import.json()["skipped"][0]["chunk"]), (5, &"00000005".into()), "{import:?}");
    }
    std::fs::remove_file(place.join("chunks/00000005.jsonl.gz")).expect("removed");
    assert_eq!(ana.json(&["import"])["outcome"], "nothing");
}
