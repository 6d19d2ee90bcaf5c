//! A manifest that a merge left broken is made again from the chunks.

use crate::harness::{Person, lay_fixture, read_by_others};

fn two_exports(temp: &std::path::Path) -> Person {
    let ana = Person::new(temp, "ana");
    for n in 0..3 {
        let _ = ana.device.save("app", &format!("title {n}"), "text");
        assert_eq!(ana.json(&["export", "--project", "app"])["outcome"], "exported");
    }
    ana
}

#[test]
fn a_broken_manifest_is_made_again_from_the_chunks() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = two_exports(temp.path());
    let path = ana.place().join("manifest.json");
    let good = std::fs::read_to_string(&path).expect("a manifest");
    let entries: serde_json::Value = serde_json::from_str(&good).expect("an object");
    let id = entries["chunks"][1]["id"].as_str().expect("an id");
    let doubled = good.replacen("\"chunks\": [", &format!("\"chunks\": [{},", entries["chunks"][1]), 1);
    let marked = good.replacen("    {\n", "<<<<<<< HEAD\n    {\n=======\n    {\n>>>>>>> theirs\n", 1);
    // Of two entries at one place git marks the lines that differ, and merges the others as it likes.
    let last = entries["chunks"][2]["id"].as_str().expect("an id");
    let line = |id: &str| format!("      \"id\": \"{id}\",\n");
    let (head, tail) = good.split_once(&line(last)).expect("the last one");
    let mixed = tail.replace("\"memories\": 1", "\"memories\": 7");
    let mixed = format!("{head}<<<<<<< HEAD\n{}=======\n{}>>>>>>> theirs\n{mixed}", line(last), line("ffffffff"));
    for (what, broken) in [
        ("conflict markers", marked),
        ("conflict markers within an entry", mixed),
        ("duplicates", doubled),
        ("nothing", String::new()),
        ("garbage", "\u{0}{{{[".to_owned()),
        ("an entry that is none", good.replace(id, "../../etc/passwd")),
    ] {
        std::fs::write(&path, &broken).expect("written");
        let import = ana.chunks(&["import"]);
        assert!([0, 5].contains(&import.code), "{what}: {import:?}");
        assert_eq!(std::fs::read_to_string(&path).expect("a manifest"), broken, "an import writes nothing");
        let export = ana.chunks(&["export", "--project", "app"]);
        assert!([0, 5].contains(&export.code), "{what}: {export:?}");
        let state = read_by_others(&ana.place());
        assert_eq!(state["observations"].as_object().expect("rows").len(), 3, "{what}");
        assert_eq!(ana.json(&["verify"])["chunks"], 3, "{what}");
        assert_eq!(ana.json(&["export", "--project", "app"])["manifest_written"], false, "{what}");
        if what.starts_with("conflict markers") {
            assert_eq!(std::fs::read_to_string(&path).expect("a manifest"), good, "who wrote what is kept");
        }
    }
}

#[test]
fn a_chunk_that_is_missing_is_named_and_what_it_held_goes_out_again() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = two_exports(temp.path());
    let (bob, first) = (Person::new(temp.path(), "bob"), ana.json(&["status", "--project", "app"]));
    assert_eq!((&first["to_import"], &first["to_export"]), (&0.into(), &0.into()));
    let manifest = std::fs::read_to_string(ana.place().join("manifest.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("an object");
    let id = manifest["chunks"][0]["id"].as_str().expect("an id");
    std::fs::remove_file(ana.place().join(format!("chunks/{id}.jsonl.gz"))).expect("removed");
    let dir = ana.place();
    let import = bob.chunks(&["import", "--dir", dir.to_str().expect("a path"), "--json"]);
    assert_eq!((import.code, &import.json()["skipped"][0]["chunk"]), (5, &id.into()), "{import:?}");
    assert_eq!(import.json()["chunks"], 2, "the rest comes in");
    let verify = ana.chunks(&["verify"]);
    assert!(verify.code == 5 && verify.out.contains(id), "{verify:?}");
    let export = ana.chunks(&["export", "--project", "app", "--json"]);
    assert_eq!((export.code, &export.json()["chunks"][0]["id"]), (0, &id.into()), "the same rows, the same chunk");
    assert_eq!(ana.json(&["export", "--project", "app"])["outcome"], "nothing");
    assert_eq!(read_by_others(&ana.place())["observations"].as_object().expect("rows").len(), 3);
    assert_eq!(bob.json(&["import", "--dir", dir.to_str().expect("a path")])["outcome"], "imported");
    assert_eq!(bob.dump("app"), ana.dump("app"));
}

/// LOUD-1: the command that is named works where it is named.
#[test]
fn loud_1_a_chunk_that_is_damaged_comes_back_by_the_command_that_is_named() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    lay_fixture(&ana.work);
    for args in [&["init", "-q"][..], &["add", ".engram"], &["commit", "-qm", "memory"]] {
        ana.must(args);
    }
    std::fs::write(ana.place().join("chunks/259f6ed7.jsonl.gz"), "broken").expect("written");
    std::fs::remove_file(ana.place().join("chunks/765fd67e.jsonl.gz")).expect("removed");
    for args in [["import"], ["verify"]] {
        let answer = ana.chunks(&args);
        let named = ["259f6ed7: it is damaged", "765fd67e: the manifest lists it, but its file is missing"];
        assert!(answer.code == 5 && named.iter().all(|words| answer.out.contains(words)), "{answer:?}");
    }
    assert!(ana.chunks(&["status"]).out.contains("restore chunks"), "whoever asks how it stands is told too");
    let said = ana.chunks(&["verify"]).out;
    let command = said.lines().find_map(|line| line.trim().strip_prefix("Run: ")).expect("a command");
    let done = std::process::Command::new("sh").args(["-c", command]).output().expect("it runs");
    assert!(done.status.success(), "{command}: {done:?}");
    assert_eq!(ana.json(&["verify"])["outcome"], "ok");
    assert_eq!(ana.json(&["import"])["chunks"], 2, "those that were passed over");
}
