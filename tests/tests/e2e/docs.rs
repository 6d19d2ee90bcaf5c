//! What the pages say of JSON is what the programs print and read.

use engram_proto::http::pull::PullRequest;
use engram_tests::processes::{Answer, Cloud, Device, TOKEN, program, until};
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

/// The blocks of a page: what stands behind the fence, and the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let fenced = page.split("```").skip(1).step_by(2);
    let pairs = fenced.filter_map(|block| block.split_once('\n'));
    pairs.map(|(info, text)| (info.trim().to_owned(), text.to_owned())).collect()
}

/// Compares an answer with the one that a page shows: the same kinds of values, every key that is shown, and no key that
/// the page does not name.
fn assert_alike(shown: &Value, got: &Value, page: &str, at: &str) {
    match (shown, got) {
        (Value::Object(shown), Value::Object(got)) => {
            for (key, value) in shown {
                let got = got.get(key).unwrap_or_else(|| panic!("{at}: {key} is shown, and was not answered: {got:?}"));
                // These are words that somebody's program looks for.
                if ["capabilities", "status"].contains(&key.as_str()) {
                    assert_eq!(value, got, "{at}.{key}");
                }
                assert_alike(value, got, page, &format!("{at}.{key}"));
            }
            for key in got.keys().filter(|key| !shown.contains_key(*key)) {
                assert!(page.contains(&format!("`{key}`")), "{at}: {key} was answered, and the page does not name it");
            }
        }
        (Value::Array(shown), Value::Array(got)) if shown.iter().all(Value::is_string) => {
            assert!(got.iter().all(Value::is_string), "{at}: {got:?}");
        }
        (Value::Array(shown), Value::Array(got)) => {
            assert_eq!(shown.len(), got.len(), "{at}: {got:?}");
            shown.iter().zip(got).for_each(|(shown, got)| assert_alike(shown, got, page, at));
        }
        _ => assert_eq!(std::mem::discriminant(shown), std::mem::discriminant(got), "{at}: {shown} and {got}"),
    }
}

/// Every request of sync-protocol.md is sent, in the order of the page, and answered as shown.
#[test]
fn sync_protocol_md_shows_answers_as_they_are() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let page = page("sync-protocol.md");
    let blocks = blocks(&page);
    let mut sent = 0;
    for pair in blocks.windows(2).filter(|pair| pair[0].0 == "http") {
        let (line, body) = pair[0].1.split_once('\n').expect("a request line");
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = http.request(method, format!("{}{path}", cloud.url)).bearer_auth(TOKEN).body(body.to_owned());
        let (status, answer) = runtime.block_on(async {
            let answer = request.send().await.expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("a body"))
        });
        assert_eq!(pair[1].0, format!("json {status}"), "{line}: {answer}");
        let shown = serde_json::from_str(&pair[1].1).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_alike(&shown, &serde_json::from_str(&answer).expect("JSON"), &page, line);
        sent += 1;
    }
    assert!(sent >= 5, "{sent}");
}

/// Splits a console block into commands, as words without the program, and what follows each.
fn commands<'a>(text: &'a str, program: &str) -> Vec<(Vec<String>, &'a str)> {
    let all = text.split("$ ").skip(1).map(|part| part.split_once('\n').expect("a line"));
    all.map(|(line, said)| {
        let words = crate::readme::words(line);
        assert_eq!(words[0], program);
        (words[1..].to_vec(), said)
    })
    .collect()
}

/// Every command of ipc.md prints what it shows.
#[test]
fn ipc_md_shows_answers_as_they_are() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let device = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let page = page("ipc.md");
    let consoles = blocks(&page).into_iter().filter(|(info, _)| info == "console");
    let mut ran = 0;
    for (_, text) in consoles {
        for (args, shown) in commands(&text, "engramctl") {
            let shown = serde_json::from_str(shown).unwrap_or_else(|error| panic!("{args:?}: {error}"));
            if args[0] == "sync" {
                until("it is pushed", || device.report()["totals"]["pending"] == 0);
            }
            let answer = device.ctl(&args.iter().map(String::as_str).collect::<Vec<_>>());
            assert_alike(&shown, &answer.json(), &page, &args.join(" "));
            ran += 1;
        }
    }
    assert!(ran >= 5, "{ran}");
}

/// What stores.md shows of `admin` is what it prints, but for time and name.
#[test]
fn stores_md_shows_what_admin_prints() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let _cloud = Cloud::start(&dir);
    let page = page("engram-cloud/stores.md");
    let consoles = blocks(&page).into_iter().filter(|(info, _)| info == "console");
    let mut ran = 0;
    for (_, text) in consoles {
        for (args, shown) in commands(&text, "engram-cloud") {
            let mut command = std::process::Command::new(program("engram-cloud"));
            command.args(&args).env_clear().env("ENGRAM_CLOUD_DATA_DIR", &dir);
            let answer = Answer::of(&command.output().expect("it runs"));
            assert_eq!(answer.code, 0, "{answer:?}");
            let without_time_and_name = |text: &str| {
                let columns = text.trim_end().split('\t');
                let known =
                    columns.filter(|column| !["since ", "at ", "by "].iter().any(|word| column.starts_with(word)));
                known.map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(without_time_and_name(&answer.out), without_time_and_name(shown), "{args:?}");
            ran += 1;
        }
    }
    assert_eq!(ran, 4);
}
