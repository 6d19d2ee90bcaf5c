//! docs/testing.md keeps its word: every law and every fault of the Go program has a row, and every test it names is there.

use std::collections::BTreeMap;
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

/// Each law has a row with tests, of which at least one carries its name, and with a fault that was seen.
#[test]
fn every_law_has_its_guard_and_its_fault() {
    let (laws, rows) = (read("docs/laws.md"), rows(&read("docs/testing.md")));
    for law in laws.lines().filter_map(|line| line.strip_prefix("> **")?.split("**").next()) {
        let row = rows.get(law).unwrap_or_else(|| panic!("{law} has no row"));
        let name = law.to_lowercase().replace('-', "_");
        assert!(named(&row[0]).iter().any(|(_, function)| function.contains(&name)), "{law}: no test carries its name");
        assert!(row[1].len() > 10, "{law}: which fault was put in?");
    }
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
