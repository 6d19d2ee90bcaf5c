//! A repository that somebody filled with care: named errors, bounded memory, nothing written outside (chunks.md 6).

use crate::harness::{Person, files, lay_chunk, lay_fixture};
use std::os::unix::fs::symlink;
use std::path::Path;

/// Imports where one file is bad: it is named, and the good ones come in.
fn one_bad(person: &Person, id: &str, words: &str) {
    let import = person.chunks(&["import", "--json"]);
    let skipped = import.json()["skipped"].clone();
    let of: Vec<_> = skipped.as_array().expect("a list").iter().filter(|one| one["chunk"] == id).collect();
    assert_eq!((import.code, of.len()), (5, 1), "{id}: {import:?}");
    assert!(of[0]["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{words}: {skipped}");
    let verify = person.chunks(&["verify"]);
    assert!(verify.code == 5 && verify.out.contains(id) && verify.out.contains(words), "{verify:?}");
}

fn bad_file(name: &str, words: &str, lay: impl FnOnce(&Path)) {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    lay_fixture(&ana.work);
    std::fs::write(temp.path().join("secret"), "a secret of the machine").expect("written");
    lay(&ana.place().join("chunks").join(format!("{name}.jsonl.gz")));
    one_bad(&ana, name, words);
    let listed = ana.device.json(&["list", "--project", "gamma", "--limit", "1000"]);
    assert_eq!(listed["observations"].as_array().map(Vec::len), Some(36), "the good ones come in");
    let export = ana.chunks(&["export", "--project", "gamma"]);
    assert!(export.code == 5 && export.out.contains(name), "{export:?}");
    let manifest = std::fs::read_to_string(ana.place().join("manifest.json")).expect("a manifest");
    assert!(!manifest.contains(name), "what cannot be read is not listed");
}

fn packed(fill: impl Fn(&mut dyn std::io::Write)) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    fill(&mut gz);
    gz.finish().expect("packed")
}

#[test]
fn files_that_are_none_are_named_and_not_followed() {
    bad_file("00000001", "symbolic link", |path| {
        symlink(path.ancestors().nth(4).expect("above").join("secret"), path).expect("a link");
    });
    bad_file("00000002", "hard link", |path| {
        std::fs::hard_link(path.ancestors().nth(4).expect("above").join("secret"), path).expect("a link");
    });
    bad_file("00000003", "no plain file", |path| {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).expect("a pipe");
    });
    bad_file("00000004", "no plain file", |path| std::fs::create_dir(path).expect("a directory"));
    bad_file("00000005", "damaged", |path| std::fs::write(path, b"\x1f\x8b\x08 cut").expect("written"));
    bad_file("00000006", "has the hash", |path| {
        std::fs::copy(path.with_file_name("765fd67e.jsonl.gz"), path).expect("a copy");
    });
}

#[test]
fn bombs_end_early() {
    bad_file("0000000a", "far more than its size", |path| {
        let rows = br#"{"title":"the same again"},"#.repeat(40_000);
        let bomb = packed(|out| {
            out.write_all(br#"{"observations":["#).expect("written");
            (0..200).for_each(|_| out.write_all(&rows).expect("written"));
        });
        std::fs::write(path, bomb).expect("written");
    });
    bad_file("0000000b", "larger than", |path| {
        // Text that hardly shrinks, in one row.
        let mut dice = 1_u64;
        let mut text = br#"{"observations":[{"content":""#.to_vec();
        text.extend((0..8 << 20).map(|_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b'a' + u8::try_from((dice >> 33) % 26).unwrap_or(0)
        }));
        std::fs::write(path, packed(|out| out.write_all(&text).expect("written"))).expect("written");
    });
    bad_file("0000000c", "damaged", |path| {
        std::fs::write(path, packed(|out| out.write_all(&b"[".repeat(200_000)).expect("written"))).expect("written");
    });
}

#[test]
fn links_inside_are_not_followed_out() {
    for (name, what) in [("chunks", "chunks"), ("manifest.json", "manifest.json"), ("", ".engram")] {
        let temp = tempfile::tempdir().expect("a directory");
        let ana = Person::new(temp.path(), "ana");
        let _ = ana.device.save("app", "title", "text");
        let outside = temp.path().join("outside");
        std::fs::create_dir_all(outside.join("chunks")).expect("a directory");
        std::fs::write(outside.join("manifest.json"), r#"{"version":1,"chunks":[]}"#).expect("written");
        let before = files(&outside);
        if name.is_empty() {
            symlink(&outside, ana.place()).expect("a link");
        } else {
            std::fs::create_dir_all(ana.place()).expect("a directory");
            symlink(outside.join(name), ana.place().join(name)).expect("a link");
        }
        for command in [&["export", "--project", "app"][..], &["import"]] {
            let answer = ana.chunks(command);
            let named = answer.err.contains(what) && answer.err.contains("symbolic link");
            assert!(answer.code == 1 && named, "{name} {command:?}: {answer:?}");
        }
        assert_eq!(files(&outside), before, "{name}");
    }
}

#[test]
fn a_manifest_of_a_million_entries_is_not_read() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    lay_fixture(&ana.work);
    let entry = r#"{"id":"0123abcd","created_by":"","created_at":"","sessions":0,"memories":0,"prompts":0},"#;
    std::fs::write(ana.place().join("manifest.json"), entry.repeat(1_000_000)).expect("written");
    let import = ana.json(&["import"]);
    assert!(import["manifest"].as_str().is_some_and(|why| why.contains("larger than")), "{import}");
    assert_eq!(import["chunks"], 3);
    assert_eq!(ana.json(&["export", "--project", "gamma"])["manifest_written"], true);
    assert_eq!(ana.json(&["verify"])["chunks"], 3);
}

#[test]
fn an_id_that_other_content_has_gets_more_digits() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    let _ = ana.device.save("app", "title", "text");
    let exported = ana.json(&["export", "--project", "app"]);
    let id = exported["chunks"][0]["id"].as_str().expect("an id").to_owned();
    // The same memory from the same store has the same id; here something else lies under that name.
    let other = bob.work.join(".engram");
    std::fs::create_dir_all(other.join("chunks")).expect("a directory");
    std::fs::write(other.join(format!("chunks/{id}.jsonl.gz")), "other content").expect("written");
    let dir = other.to_str().expect("a path");
    let answer = ana.chunks(&["export", "--project", "app", "--dir", dir, "--json"]);
    let longer = answer.json()["chunks"][0]["id"].as_str().expect("an id").to_owned();
    assert!(answer.code == 5 && longer.len() == 16 && longer.starts_with(&id), "{answer:?}");
    std::fs::remove_file(other.join(format!("chunks/{id}.jsonl.gz"))).expect("removed");
    assert_eq!(bob.json(&["import"])["chunks"], 1);
    assert_eq!(bob.dump("app"), ana.dump("app"));
}

#[test]
fn iso_3_a_row_that_cannot_apply_is_held_and_the_rest_comes_in() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let rows = serde_json::json!({
        "sessions": null,
        "observations": [
            {"id": 7, "sync_id": "obs-1", "session_id": "s-nobody-has", "type": "t", "title": "kept", "content": "c",
             "project": "app", "scope": "project", "created_at": "2026-01-01 00:00:00", "updated_at": "2026-01-01 00:00:00"},
            {"sync_id": "obs-2", "session_id": "s-nobody-has", "type": "t", "title": "of no project", "content": "c",
             "scope": "project", "created_at": "2026-01-01 00:00:00", "updated_at": "2026-01-01 00:00:00"},
            {"sync_id": "obs-3", "session_id": "s-of-nobody", "type": "t", "title": "lost", "content": "c"},
        ],
        "prompts": [],
        "mutations": [
            {"entity": "relation", "entity_key": "rel-1", "op": "upsert", "project": "app", "payload":
             "{\"sync_id\":\"rel-1\",\"source_id\":\"obs-1\",\"target_id\":\"obs-missing\",\"relation\":\"refines\",\"judgment_status\":\"judged\"}"},
            {"entity": "dream", "entity_key": "d-1", "op": "upsert", "project": "app", "payload": "{}"},
            {"entity": "relation", "entity_key": "rel-2", "op": "delete", "project": "app", "payload": "{}"},
        ],
    });
    let id = lay_chunk(&ana.place(), rows.to_string().as_bytes());
    let import = ana.chunks(&["import", "--json"]);
    let answer = import.json();
    assert_eq!((import.code, &answer["chunks"]), (5, &1.into()), "{import:?}");
    let held = answer["held_rows"].to_string();
    for named in ["rel-1", "d-1", "rel-2", "obs-3"] {
        assert!(held.contains(named), "{named}: {held}");
    }
    assert!(held.contains(&id), "what names no project is found by its chunk: {held}");
    // Every chunk was read, so the session is stood in for; that tells the project of what names none, too.
    assert!(!held.contains("obs-1") && !held.contains("obs-2"), "{held}");
    assert!(ana.device.titles("of no project").contains(&"of no project".to_owned()));
    // As long as something of it is held the import is not whole, and says so.
    let again = ana.chunks(&["import", "--json"]);
    assert_eq!((again.code, &again.json()["chunks"], &again.json()["held"]), (5, &0.into(), &4.into()), "{again:?}");
    let listed = ana.device.json(&["held", "list"]);
    let listed = listed["held"].as_array().expect("a list");
    assert_eq!(listed.len(), 4, "{listed:?}");
    let codes: Vec<_> = ana.device.report()["findings"].as_array().expect("a list").clone();
    assert!(codes.iter().any(|finding| finding["code"] == "row_undeliverable"), "{codes:?}");
    for row in listed {
        assert_eq!(ana.device.ctl(&["held", "drop", &row["id"].to_string(), "--yes"]).code, 0);
    }
    assert_eq!(ana.chunks(&["import"]).code, 0);
}
