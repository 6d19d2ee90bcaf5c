//! What was read and refused is named again and not read again, until it changes; and what is refused is refused early.

use crate::between::Opens;
use crate::harness::{Person, lay_chunk, lay_fixture};
use engram_tests::processes::until;
use std::io::Write as _;

const REFUSED: &str = "SELECT count(*) FROM engramd_refused";

/// A file that can be unpacked, and is no chunk.
fn no_chunk() -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(b"[]").expect("packed");
    gz.finish().expect("packed")
}

#[test]
fn cost_1_what_was_refused_is_named_again_and_read_again_once_it_changes() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    lay_fixture(&ana.work);
    let row = r#"{"sessions":[{"id":"s","project":"app","directory":"/d","started_at":"2026-11-22 10:00:00"}]}"#;
    let id = lay_chunk(&ana.place(), row.as_bytes());
    let path = ana.place().join(format!("chunks/{id}.jsonl.gz"));
    let good = std::fs::read(&path).expect("a chunk");
    std::fs::write(&path, no_chunk()).expect("written");
    let names = |args: &[&str], words: &str| {
        let answer = ana.chunks(args);
        assert!(answer.code == 5 && answer.out.contains(&id) && answer.out.contains(words), "{args:?}: {answer:?}");
    };
    // What is too new to be told from what comes after it is read once more.
    until("the file has rested", || {
        names(&["import"], "invalid type");
        ana.one::<i64>(REFUSED) == 1
    });
    let opens = Opens::of(&ana.place());
    for args in [&["import"][..], &["export", "--project", "gamma"], &["status", "--project", "gamma"], &["import"]] {
        names(args, "invalid type");
        let opened = opens.take();
        assert!(!opened.keys().any(|name| name.starts_with(&id)), "{args:?}: {opened:?}");
    }
    let state = ana.chunks(&["status", "--all", "--json"]).json();
    assert_eq!(state["to_import"], 0, "nothing that an import could take: {state}");
    // Who asks for a check gets one.
    names(&["verify"], "invalid type");
    assert!(opens.take().keys().any(|name| name.starts_with(&id)));
    // Another file of that name is read, whether it is better or not.
    std::fs::write(&path, b"broken").expect("written");
    names(&["import"], "end of file");
    assert!(opens.take().keys().any(|name| name.starts_with(&id)));
    std::fs::write(&path, &good).expect("written");
    let import = ana.json(&["import"]);
    assert_eq!((&import["outcome"], &import["chunks"]), (&"imported".into(), &1.into()));
    assert_eq!(ana.one::<i64>(REFUSED), 0, "what is no longer so is not kept");
}

#[test]
fn what_is_gone_is_no_longer_refused() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    lay_fixture(&ana.work);
    let path = ana.place().join("chunks/00000005.jsonl.gz");
    std::fs::write(&path, b"broken").expect("written");
    until("the file has rested", || ana.chunks(&["import"]).code == 5 && ana.one::<i64>(REFUSED) == 1);
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(ana.json(&["import"])["outcome"], "nothing");
    assert_eq!(ana.one::<i64>(REFUSED), 0);
}

#[test]
fn a_chunk_of_texts_that_hardly_differ_is_exported_and_imported() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, mut bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    bob.work = ana.work.clone();
    let text = "x".repeat(49_000);
    for n in 0..40 {
        let _ = ana.device.save("app", &format!("title {n}"), &format!("{n} {text}"));
    }
    let exported = ana.json(&["export", "--project", "app"]);
    assert_eq!((&exported["outcome"], &exported["chunks"][0]["memories"]), (&"exported".into(), &40.into()));
    assert_eq!(bob.json(&["import"])["outcome"], "imported");
    assert_eq!(bob.dump("app"), ana.dump("app"));
}
