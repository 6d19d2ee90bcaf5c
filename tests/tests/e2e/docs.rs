//! What the pages say of JSON is what the programs print and read.

use engram_proto::http::pull::PullRequest;
use engram_tests::processes::{Cloud, Device};
use serde_json::Value;
use std::path::Path;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).expect("the page")
}

/// Finds the row of a command in the table of ipc.md: what it says of the object.
fn row<'a>(page: &'a str, command: &str) -> &'a str {
    let name = format!("`{command}`");
    let mut rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    rows.find(|(commands, _)| commands.split(", ").any(|one| one == name)).map_or("", |(_, object)| object)
}

/// Every key that a command prints stands in its row.
#[test]
fn ipc_md_names_every_key_that_is_printed() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let device = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let manual = temp.path().join("man1");
    let (manual, page) = (manual.to_str().expect("a path"), page("ipc.md"));
    for (command, args) in [
        ("save", &["save", "--project", "demo", "--title", "t", "words"][..]),
        ("status", &["status"]),
        ("sync", &["sync"]),
        ("get", &["get", "1"]),
        ("list", &["list"]),
        ("search", &["search", "words"]),
        ("held list", &["held", "list"]),
        ("conflicts list", &["conflicts", "list"]),
        ("session list", &["session", "list"]),
        ("projects", &["projects"]),
        ("man --dir", &["man", "--dir", manual]),
    ] {
        let said = row(&page, command);
        let printed = device.json(args);
        for key in printed.as_object().expect("an object").keys() {
            assert!(said.contains(&format!("`{key}`")), "{command} prints {key}, and the page says: {said}");
        }
    }
}

/// The requests in sync-protocol.md are requests: every key is one that the server reads.
#[test]
fn sync_protocol_md_shows_requests_as_they_are() {
    let page = page("sync-protocol.md");
    let examples: Vec<Value> = page.split('`').filter_map(|span| serde_json::from_str(span).ok()).collect();
    let requests: Vec<&Value> = examples.iter().filter(|example| example.get("cursors").is_some()).collect();
    assert!(!requests.is_empty(), "the page shows none");
    for example in requests {
        let read: PullRequest = serde_json::from_value(example.clone()).expect("a request");
        let written = serde_json::to_value(&read).expect("JSON");
        for key in example.as_object().expect("an object").keys() {
            assert!(written.get(key).is_some_and(|value| !value.is_null()), "{key} is not read: {written}");
        }
    }
}
