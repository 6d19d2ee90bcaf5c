//! What can be counted about the code is counted here; the rest is in CONTRIBUTING.md.

use std::path::{Path, PathBuf};

/// No file is longer; a second subject in it would be a second file.
const LINES_MAX: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads every source file of a folder: its path from the root, and its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path());
            open.extend(entries.filter(|path| !path.ends_with("target")));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            found.push((path.strip_prefix(root()).expect("inside").display().to_string(), text));
        }
    }
    found.sort();
    found
}

fn all() -> Vec<(String, String)> {
    ["proto", "retry", "engramd", "engramctl", "engram-cloud", "tests"]
        .iter()
        .flat_map(|crate_| sources(crate_))
        .collect()
}

#[test]
fn every_file_says_what_it_owns_and_stays_short() {
    for (path, text) in all() {
        assert!(text.starts_with("//!"), "{path} does not begin with what it owns");
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{path} has {lines} lines: is there a second subject in it?");
    }
}

#[test]
fn nothing_is_left_undone_or_printed() {
    let banned =
        [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore]"), concat!("dbg", "!(")];
    for (path, text) in all() {
        for word in banned {
            assert!(!text.contains(word), "{path} has {word}");
        }
        let client = path.starts_with("engramctl/src") || path.starts_with("engramd/src");
        assert!(!client || !text.contains("println!("), "{path} prints in a way that panics on a closed pipe");
    }
}

/// ARCHITECTURE.md, "What is absent": arrows point one way.
#[test]
fn layers_know_only_what_is_below_them() {
    for (folder, banned) in [
        ("engramd/src/store", &["crate::driver", "crate::transport", "crate::ipc", "crate::memory", "reqwest"][..]),
        ("engramd/src/memory", &["crate::driver", "crate::transport", "crate::ipc", "reqwest"]),
        ("engramd/src/chunks", &["crate::driver", "crate::transport", "crate::ipc", "reqwest", "std::fs"]),
        ("engramd/src/transport", &["crate::driver", "crate::store", "crate::ipc", "rusqlite"]),
        ("engramd/src/peers", &["crate::driver", "crate::ipc", "rusqlite", "reqwest"]),
        ("engramd/src/driver", &["crate::ipc", "rusqlite", "reqwest"]),
        ("engramd/core/src", &["tokio", "rusqlite", "reqwest", "std::time", "rand::", "std::fs"]),
        ("proto/src", &["tokio", "rusqlite", "reqwest", "std::fs", "std::net", "SystemTime"]),
        ("engramctl/src", &["rusqlite", "engramd::"]),
        ("engram-cloud/src/api", &["rusqlite", "engramd::"]),
    ] {
        for (path, text) in sources(folder) {
            for word in banned {
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                assert!(!code.into_iter().any(|line| line.contains(word)), "{path} must not know {word}");
            }
        }
    }
}

/// Two crates that nobody maintains stand behind one module each (deny.toml).
#[test]
fn unmaintained_crates_stand_behind_one_module() {
    for (path, text) in all() {
        let names = |name: &str| text.lines().any(|line| line.contains(name) && !line.trim_start().starts_with("//"));
        assert!(!names("bincode::") || path == "proto/src/ipc/codec.rs" || path.ends_with("tidy.rs"), "{path}");
        assert!(!names("backoff::Exp") || path == "retry/src/lib.rs" || path.ends_with("tidy.rs"), "{path}");
    }
}

/// LOUD-2: the page, the command line and the log take their words from one table.
#[test]
fn loud_2_the_page_of_reasons_is_the_catalogue() {
    let page = std::fs::read_to_string(root().join("docs/reasons.md")).expect("the page");
    assert_eq!(page, engram_proto::reason_catalog::page(), "run `make docs`");
}

/// Each law is guarded by a test that carries its name.
#[test]
fn every_law_has_a_test_that_names_it() {
    let laws = std::fs::read_to_string(root().join("docs/laws.md")).expect("the laws");
    let names = laws.lines().filter_map(|line| line.strip_prefix("> **")?.split("**").next());
    let tests: String = all().into_iter().map(|(_, text)| text).collect();
    let missing: Vec<_> = names
        .filter(|law| {
            let name = law.to_lowercase().replace('-', "_");
            let named = |line: &str| line.contains("fn ") && line.contains(&name);
            !tests.lines().any(named)
        })
        .collect();
    assert!(missing.is_empty(), "no test is named after {missing:?}");
}
