//! A repository that somebody filled with care: named errors, bounded memory, nothing written outside (chunks.md 6).

use crate::harness::{Person, files, lay_chunk, lay_fixture, lay_names};
use engram_proto::chunk::ChunkId;
use serde_json::{Value, json};
use std::collections::HashMap;
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
    let summary = export.out.lines().next().unwrap_or_default();
    assert!(summary.starts_with("Partial: ") && summary.ends_with(", 1 skipped."), "one line says it: {export:?}");
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
fn so_large_a_file_and_so_many_names_are_not_read() {
    bad_file("0000000d", "larger than 67108864 bytes", |path| {
        // One that takes no room on the disk.
        std::fs::File::create(path).and_then(|file| file.set_len((64 << 20) + 1)).expect("a file");
    });
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    lay_names(&ana.place(), (0..200_000).map(|n| n.to_string()));
    for args in [&["export", "--all"][..], &["import"], &["status", "--all"], &["verify"]] {
        let answer = ana.chunks(args);
        let named = answer.err.contains("chunks cannot be used: there are more than 200000 files");
        assert!(answer.code == 1 && named && answer.err.contains("take away what does not belong"), "{answer:?}");
    }
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
    let eve = Person::new(temp.path(), "eve");
    // What an export makes of one memory, by its number: two of them begin with the same 32 bits.
    const NUMBER: &str = "1000000000";
    let save = |person: &Person, number: &str| {
        let store = rusqlite::Connection::open(person.device.dir.join("engram.db")).expect("the store");
        let sql = "INSERT INTO sessions (id, project, directory, started_at) VALUES ('s-NUMBER', 'app', '/d', '2026-11-22 10:00:00');
            INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, created_at, updated_at)
                VALUES ('o-NUMBER', 's-NUMBER', 'note', 'title', 'text', 'app', 'project', '2026-11-22 10:00:00',
                    '2026-11-22 10:00:00');";
        store.execute_batch(&sql.replace("NUMBER", number)).expect("saved");
    };
    let export = |person: &Person, dir: &Path| {
        let dir = dir.to_str().expect("a path");
        let exported = person.json(&["export", "--project", "app", "--dir", dir]);
        exported["chunks"][0]["id"].as_str().expect("an id").to_owned()
    };
    save(&eve, NUMBER);
    let id = export(&eve, &eve.place());
    let text = unpacked(&eve.place().join(format!("chunks/{id}.jsonl.gz")));
    assert!(text.contains(NUMBER), "{text}");
    let (mut seen, id_of) =
        (HashMap::new(), |number: u32| ChunkId::of_bytes(text.replace(NUMBER, &number.to_string()).as_bytes()));
    let pair = (1_000_000_001..).find_map(|number| {
        let other = seen.insert(id_of(number), number)?;
        Some((other, number, id_of(number).to_string()))
    });
    let (one, other, id) = pair.expect("among some hundred thousand");
    save(&ana, &one.to_string());
    save(&bob, &other.to_string());
    let place = temp.path().join("shared/.engram");
    assert_eq!(export(&ana, &place), id);
    let longer = export(&bob, &place);
    assert!(longer.len() == 16 && longer.starts_with(&id), "{id} {longer}");
    let dir = place.to_str().expect("a path");
    assert_eq!(bob.json(&["verify", "--dir", dir])["chunks"], 2);
    // Each of the others has both, whoever has which under the short name.
    for person in [&ana, &bob] {
        assert_eq!(person.json(&["import", "--dir", dir])["chunks"], 1);
        assert_eq!(person.one::<i64>("SELECT count(*) FROM observations"), 2);
        assert_eq!(person.json(&["export", "--project", "app", "--dir", dir])["outcome"], "nothing");
    }
    assert_eq!(bob.dump("app"), ana.dump("app"));
    // Something that is no chunk under the name that a chunk would have is in its way too.
    let garbage = temp.path().join("garbage/.engram");
    std::fs::create_dir_all(garbage.join("chunks")).expect("a directory");
    std::fs::write(garbage.join(format!("chunks/{}.jsonl.gz", id_of(1_000_000_000))), "no chunk").expect("written");
    let dir = garbage.to_str().expect("a path");
    let answer = eve.chunks(&["export", "--project", "app", "--dir", dir, "--json"]);
    assert_eq!((answer.code, answer.json()["chunks"][0]["id"].as_str().map(str::len)), (5, Some(16)), "{answer:?}");
}

fn unpacked(path: &Path) -> String {
    let file = std::fs::File::open(path).expect("a chunk");
    std::io::read_to_string(flate2::read::GzDecoder::new(file)).expect("a text")
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
    assert_eq!((&answer["held"], &answer["held_more"]), (&4.into(), &0.into()), "{answer}");
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

#[test]
fn loud_1_held_rows_that_are_not_named_are_counted() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let dream = |n| json!({"entity": "dream", "entity_key": format!("d-{n}"), "op": "upsert", "project": "app", "payload": "{}"});
    let dreams: Vec<Value> = (0..23).map(dream).collect();
    let rows = json!({"sessions": [], "observations": [], "prompts": [], "mutations": dreams});
    let _ = lay_chunk(&ana.place(), rows.to_string().as_bytes());
    let import = ana.chunks(&["import", "--json"]);
    let answer = import.json();
    assert_eq!(import.code, 5, "{import:?}");
    let named = answer["held_rows"].as_array().map(Vec::len);
    assert_eq!((&answer["held"], named, &answer["held_more"]), (&23.into(), Some(20), &3.into()), "{answer}");
    let said = ana.chunks(&["import"]);
    assert!(said.out.contains("  held     and 3 more\n"), "{said:?}");
}
