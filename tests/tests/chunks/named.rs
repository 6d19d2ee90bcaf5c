//! Which directory is meant where one is named, and what is not overwritten there: a repository may have a `manifest.json`
//! and `chunks` of its own.

use crate::harness::{Person, client, files, lay_chunk, lay_fixture};
use engram_tests::processes::Answer;
use std::os::unix::fs::symlink;
use std::path::Path;

const EXTENSION: &str = r#"{"name": "an extension", "version": "1.0.3", "manifest_version": 3}"#;

const ROW: &str = r#"{"sessions":[{"id":"s","project":"app","directory":"/d","started_at":"2026-11-22 10:00:00"}]}"#;

/// Lays the files of a project that makes web pages.
fn lay_project(dir: &Path, manifest: &str) {
    std::fs::create_dir_all(dir.join("chunks")).expect("a directory");
    std::fs::write(dir.join("chunks/main.4889e940.js"), "let a = 1").expect("written");
    std::fs::write(dir.join("manifest.json"), manifest).expect("written");
}

fn at(dir: &Path) -> [&str; 2] {
    ["--dir", dir.to_str().expect("a path")]
}

fn refused(answer: &Answer, words: &[&str]) {
    let named = words.iter().all(|words| answer.err.contains(words));
    assert!(answer.code == 1 && named && answer.err.contains("Hint: "), "{words:?}: {answer:?}");
}

#[test]
fn a_repository_means_its_engram_whatever_else_lies_in_it() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    let _ = ana.device.save("app", "title", "text");
    // What git and what an earlier export has made shows which one it is.
    for what in [".git", ".engram"] {
        let dir = temp.path().join(format!("with{what}"));
        std::fs::create_dir_all(dir.join(what)).expect("a directory");
        lay_project(&dir, EXTENSION);
        let before = files(&dir);
        let [option, path] = at(&dir);
        let exported = ana.json(&["export", "--project", "app", option, path]);
        assert_eq!(exported["outcome"], "exported", "{what}: {exported}");
        let place = Path::new(exported["dir"].as_str().expect("a path"));
        assert!(place.ends_with(format!("with{what}/.engram")), "{place:?}");
        let after: Vec<_> =
            files(&dir).into_iter().filter(|(path, _)| !path.starts_with(dir.join(".engram"))).collect();
        assert_eq!(after, before, "{what}: what was there is as it was");
        // A link on the way is no link inside.
        let link = temp.path().join(format!("link{what}"));
        symlink(&dir, &link).expect("a link");
        let [option, path] = at(&link);
        assert_eq!(bob.json(&["import", option, path])["dir"], exported["dir"], "{what}");
    }
    assert_eq!(bob.dump("app"), ana.dump("app"));
}

#[test]
fn what_is_no_directory_of_chunks_is_named_and_left_as_it_is() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let _ = ana.device.save("app", "title", "text");
    let commented = format!("// For the shop.\n{EXTENSION}");
    let cases =
        [("extension", EXTENSION), ("bundler", r#"["main.4889e940.js"]"#), ("commented", &commented), ("others", "")];
    for (name, manifest) in cases {
        let dir = temp.path().join(name);
        lay_project(&dir, manifest);
        let mut words =
            vec!["manifest.json cannot be used: it is no manifest of chunks", "name the .engram of a repository"];
        if manifest.is_empty() {
            std::fs::remove_file(dir.join("manifest.json")).expect("removed");
            std::fs::write(dir.join("index.html"), "<p>").expect("written");
            words =
                vec!["it holds other files, and no chunks", "name a repository, its .engram, or an empty directory"];
        }
        let before = files(&dir);
        let [option, path] = at(&dir);
        for args in [&["export", "--all"][..], &["import"], &["status", "--all"], &["verify"]] {
            refused(&ana.chunks(&[args, &[option, path]].concat()), &words);
        }
        assert_eq!(files(&dir), before, "{name}");
    }
}

#[test]
fn what_looks_like_a_directory_of_chunks_may_be_named_itself() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    let _ = ana.device.save("app", "title", "text");
    let dir = temp.path().join("shelf");
    let [option, path] = at(&dir);
    let import = |person: &Person| person.chunks(&["import", option, path, "--json"]).json()["outcome"].clone();
    std::fs::create_dir(&dir).expect("a directory");
    assert_eq!(import(&bob), "nothing", "an empty one");
    // Killed before it listed anything.
    std::fs::create_dir(dir.join("chunks")).expect("a directory");
    std::fs::write(dir.join(".engramctl-writing"), "{").expect("written");
    assert_eq!(ana.json(&["export", "--project", "app", option, path])["outcome"], "exported");
    std::fs::write(dir.join("README"), "whose it is").expect("written");
    assert_eq!(import(&bob), "imported", "a list in our form");
    std::fs::write(dir.join("manifest.json"), r#"{"chunks":[],"version":1}"#).expect("written");
    assert_eq!(import(&bob), "nothing", "in another");
    std::fs::write(dir.join("manifest.json"), "<<<<<<< HEAD").expect("written");
    assert_eq!(import(&bob), "nothing", "a conflict, with chunks");
    std::fs::remove_file(dir.join("manifest.json")).expect("removed");
    assert_eq!(import(&bob), "nothing", "chunks alone");
    assert_eq!(bob.dump("app"), ana.dump("app"));
}

#[test]
fn a_manifest_of_another_kind_is_read_past_and_not_overwritten() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    lay_fixture(&ana.work);
    let _ = lay_chunk(&ana.place(), ROW.as_bytes());
    let manifest = ana.place().join("manifest.json");
    let good = std::fs::read(&manifest).expect("a manifest");
    std::fs::write(&manifest, EXTENSION).expect("written");
    let import = ana.json(&["import"]);
    assert_eq!((&import["chunks"], &import["manifest"]), (&4.into(), &"it is no manifest of chunks".into()));
    let verify = ana.chunks(&["verify"]);
    assert!(verify.code == 5 && verify.out.contains("no manifest of chunks; move it away"), "{verify:?}");
    let _ = ana.device.save("app", "title", "text");
    let before = files(&ana.place());
    refused(
        &ana.chunks(&["export", "--project", "app"]),
        &["manifest.json cannot be used", "no manifest of chunks", "move "],
    );
    assert_eq!(files(&ana.place()), before, "nothing is written");
    std::fs::write(&manifest, &good).expect("written");
    assert_eq!(ana.json(&["export", "--project", "app"])["manifest_written"], true);
    assert_eq!(ana.json(&["verify"])["chunks"], 5);
}

#[test]
fn no_link_is_followed_that_stands_where_the_chunks_should() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let _ = ana.device.save("app", "title", "text");
    let outside = temp.path().join("outside");
    let _ = lay_chunk(&outside.join(".engram"), ROW.as_bytes());
    let before = files(temp.path().join("outside").as_path());
    for (name, to) in
        [(".engram", outside.join(".engram")), ("memory", outside.join(".engram")), (".engram", outside.clone())]
    {
        let link = ana.work.join(name);
        symlink(&to, &link).expect("a link");
        let mut ways = vec![link.clone(), link.join("."), ana.work.join("./").join(name)];
        if name == ".engram" {
            ways.extend([ana.work.clone(), link.join(".engram"), link.join(".."), link.join("../.engram")]);
        }
        for way in &ways {
            let [option, path] = at(way);
            for args in [&["export", "--project", "app"][..], &["import"], &["status", "--all"], &["verify"]] {
                refused(&ana.chunks(&[args, &[option, path]].concat()), &[name, "symbolic link"]);
            }
            // A watch goes on, so it is ended by whoever stops listening.
            let watch = client(&ana, &["watch", path]).stderr(std::process::Stdio::piped()).spawn();
            let mut watch = watch.expect("it starts");
            let mut said = String::new();
            let mut errors = std::io::BufReader::new(watch.stderr.take().expect("a pipe"));
            std::io::BufRead::read_line(&mut errors, &mut said).expect("a line");
            watch.kill().expect("ended");
            watch.wait().expect("ended");
            assert!(said.contains("symbolic link"), "{way:?}: {said}");
        }
        std::fs::remove_file(&link).expect("removed");
    }
    assert_eq!(files(&outside), before);
    assert_eq!(ana.one::<i64>("SELECT count(*) FROM sessions WHERE id = 's'"), 0, "nothing of it was read");
}
