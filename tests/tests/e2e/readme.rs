//! The README's commands are run as they stand.

use engram_tests::processes::{Cloud, Device, TOKEN, ctl, until};
use std::path::Path;

/// Reads the commands of a program out of the README's shell blocks.
fn commands(program: &str) -> Vec<Vec<String>> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("it");
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| line.starts_with(&format!("{program} ")));
    lines.map(|line| words(line.trim_end_matches(" &"))).collect()
}

/// Splits a line as a shell would, as far as our pages go.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("a word").push(c),
        }
    }
    words
}

#[test]
fn the_five_minutes_of_the_readme_work() {
    let temp = tempfile::tempdir().expect("a directory");
    assert_eq!(commands("engramd"), [["engramd", "run"]]);
    assert_eq!(commands("engram-cloud"), [["engram-cloud", "serve"]]);
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let (a, b) = (Device::start(&temp.path().join("a")), Device::start(&temp.path().join("b")));
    let mut ran = 0;
    for command in commands("engramctl") {
        let mut args: Vec<_> = command[1..]
            .iter()
            .map(|word| match word.as_str() {
                "https://engram.example.com" => cloud.url.as_str(),
                word => word,
            })
            .collect();
        if args[0] == "cloud" {
            args.push("--token-stdin");
        }
        // Saving is for the first machine, finding for the second, the rest for both.
        let devices: &[&Device] = match args[0] {
            "save" => &[&a],
            "search" | "status" => &[&b],
            _ => &[&a, &b],
        };
        for device in devices {
            if args[0] == "search" {
                until("it is found", || ctl(&device.dir, &args, "").out.contains("Use SQLite"));
            }
            let answer = ctl(&device.dir, &args, TOKEN);
            assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
            ran += 1;
        }
    }
    assert!(ran >= 7, "{ran}");
}
