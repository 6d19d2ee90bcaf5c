//! docs/testing.md keeps its word: every law has all its guards there and its faults, every fault of the Go program has a
//! row, and every test that is named is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of every table, by their first cell.
fn rows(page: &str) -> BTreeMap<String, Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let inside = line.trim().trim_start_matches('|').trim_end_matches('|');
        inside.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = page.lines().filter(|line| line.starts_with("| ")).map(cells);
    rows.map(|mut row| (row.remove(0), row)).collect()
}

/// The tests that a text names as `path::function`.
fn named(text: &str) -> Vec<(&str, &str)> {
    text.split('`').filter_map(|span| span.split_once("::")).filter(|(path, _)| path.ends_with(".rs")).collect()
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let page = read("docs/testing.md");
    let all = named(&page);
    assert!(all.len() > 100, "{}", all.len());
    for (path, function) in all {
        let text = read(path);
        let there = ["(", "<"].iter().any(|end| text.contains(&format!("fn {function}{end}")));
        assert!(there, "{path} has no test {function}");
    }
}

/// A law in the page: the faults that were put in, and the tests that guard it.
struct Guarded<'page> {
    faults: Vec<&'page str>,
    guards: Vec<&'page str>,
}

/// What the page says of a law.
fn section<'page>(page: &'page str, law: &str) -> Guarded<'page> {
    let lines = page.lines().skip_while(|line| *line != format!("### {law}")).skip(1);
    let lines: Vec<_> = lines.take_while(|line| !line.starts_with('#')).collect();
    let items = |list: &str| {
        let lines = lines.iter().skip_while(|line| **line != list).skip(2);
        lines.map_while(|line| line.strip_prefix("- ")).collect()
    };
    Guarded { faults: items("Faults:"), guards: items("Guards:") }
}

/// The names of the laws.
fn laws(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix("> **")?.split("**").next())
}

/// Every function of the sources: its file from the root, and its name.
fn functions() -> Vec<(String, String)> {
    let crates = ["proto", "retry", "engramd", "engramctl", "engram-cloud", "tests", "benches"];
    let mut open: Vec<_> = crates.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(root()).expect("inside").display().to_string();
            let text = read(&file);
            let names = text.lines().filter_map(|line| line.split_once("fn ")?.1.split(['(', '<']).next());
            found.extend(names.map(|name| (file.clone(), name.to_owned())));
        }
    }
    found
}

/// Each law has a fault that was seen, and its guards are the tests that carry its name, all of them, and maybe more.
#[test]
fn every_law_has_its_guards_and_its_faults() {
    let (known, page, functions) = (read("docs/laws.md"), read("docs/testing.md"), functions());
    for law in laws(&known) {
        let Guarded { faults, guards } = section(&page, law);
        assert!(!faults.is_empty(), "{law}: which fault was put in?");
        let carried = format!("_{}_", law.to_lowercase().replace('-', "_"));
        let carries = functions.iter().filter(|(_, name)| format!("_{name}").contains(&carried));
        let mut all: Vec<_> = carries.map(|(path, name)| format!("`{path}::{name}`")).collect();
        assert!(!all.is_empty(), "{law}: no test carries its name");
        all.extend(guards.iter().map(|&guard| guard.to_owned()));
        all.sort();
        all.dedup();
        let lines: String = all.iter().map(|guard| format!("- {guard}\n")).collect();
        assert!(guards == all, "the guards of {law} in docs/testing.md are not these, in this order:\n{lines}");
    }
}

/// What a fault was seen to break stands among the guards of a law, and each guard was seen to fail.
#[test]
fn what_a_fault_broke_is_a_guard_and_every_guard_was_broken() {
    let (known, page) = (read("docs/laws.md"), read("docs/testing.md"));
    let sections: Vec<_> = laws(&known).map(|law| (law, section(&page, law))).collect();
    let guards = sections.iter().flat_map(|(_, section)| &section.guards).flat_map(|guard| named(guard));
    let guards: BTreeSet<_> = guards.map(|(_, name)| name).collect();
    let mut broken = seen_to_fail(&page);
    for (law, Guarded { faults, .. }) in &sections {
        for (fault, tests) in faults.iter().filter_map(|fault| fault.split_once(" → ")) {
            let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
            let missing: Vec<_> = names.iter().filter(|name| !guards.contains(*name)).collect();
            assert!(missing.is_empty(), "{law}, {fault}: {missing:?} are guards of no law");
            broken.extend(names);
        }
    }
    let never: Vec<_> = guards.difference(&broken).collect();
    assert!(never.is_empty(), "docs/testing.md names no fault that these were seen to fail of: {never:#?}");
}

/// The tests in tables of faults.
fn seen_to_fail(page: &str) -> BTreeSet<&str> {
    let lines: Vec<_> = page.lines().collect();
    let tables = lines.split(|line| !line.starts_with('|'));
    let of_faults = tables.filter(|rows| rows.first().is_some_and(|head| head.starts_with("| Fault | Test")));
    of_faults.flatten().flat_map(|row| named(row)).map(|(_, name)| name).collect()
}

/// Each fault of the Go program is guarded by a test, or has its reason.
#[test]
fn every_fault_of_the_go_program_has_its_answer() {
    let rows = rows(&read("docs/testing.md"));
    for number in 1..=70 {
        let row = rows.get(&format!("D{number}")).unwrap_or_else(|| panic!("D{number} has no row"));
        let (state, answer) = (row[0].as_str(), row[1].as_str());
        match state {
            "guarded" => assert!(!named(answer).is_empty(), "D{number}: by which test?"),
            "by design" | "not yet" | "not ours" => assert!(answer.len() > 20, "D{number}: why?"),
            other => panic!("D{number} is {other:?}"),
        }
    }
}
