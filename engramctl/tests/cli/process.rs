//! The process: no daemon, another daemon, a closed pipe, wrong usage, help.

use crate::fake::{Fake, Ran, command};
use engram_proto::ipc::reply::{Observation, Reply};
use serde_json::json;
use std::io::Read as _;
use std::process::Stdio;

fn run(arguments: &[&str]) -> Ran {
    command().args(arguments).stdin(Stdio::null()).output().unwrap().into()
}

#[test]
fn no_daemon_is_exit_4_and_says_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let ran = run(&["status", "--data-dir", data]);
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""));
    let wanted = format!(
        "error: no daemon answers at {data}/engramd.sock: there is no such socket. Run: engramd run --data-dir {data}\n"
    );
    assert_eq!(ran.stderr, wanted);
    let ran = run(&["--json", "--data-dir", data, "get", "1"]);
    assert_eq!((ran.code, &ran.json()["error"]["reason_code"]), (4, &json!("no_daemon")));
}

#[test]
fn version_needs_no_daemon() {
    let ran = run(&["version", "--data-dir", "/nowhere", "--json"]);
    assert_eq!((ran.code, &ran.json()["daemon"]), (0, &json!(null)));
    let ran = run(&["version", "--data-dir", "/nowhere"]);
    assert!(ran.stdout.contains("engramd   no answer: no daemon answers at /nowhere/engramd.sock"), "{}", ran.stdout);
    let ran = Fake::speaking(99, vec![]).run(&["version", "--json"]);
    assert_eq!((ran.code, &ran.json()["daemon"]), (0, &json!({"version": "0.0.9", "protocol": 99, "pid": 4711})));
}

#[test]
fn another_protocol_is_exit_6() {
    let ran = Fake::speaking(0, vec![]).run(&["status"]);
    assert_eq!(ran.code, 6);
    assert!(ran.stderr.contains("engramd 0.0.9 (pid 4711) speaks protocol 0"), "{}", ran.stderr);
}

#[test]
fn wrong_usage_is_exit_2_and_an_object_for_scripts() {
    assert_eq!(run(&["frobnicate"]).code, 2);
    let ran = run(&["--json", "list", "--limit", "many"]);
    assert_eq!((ran.code, &ran.json()["error"]["reason_code"]), (2, &json!("usage")));
    let ran = run(&["cloud", "login", "--token=secret-token"]);
    assert_eq!(ran.code, 2);
    assert!(!ran.stderr.contains("secret-token"), "SECRET-1: {}", ran.stderr);
    let long = format!("/tmp/{}", "long/".repeat(30));
    let ran = run(&["status", "--data-dir", &long]);
    assert!(ran.code == 2 && ran.stderr.contains(&long) && ran.stderr.contains("ENGRAMD_SOCKET"), "{}", ran.stderr);
}

/// It is started for every question, and each library that the system looks for takes as long as a tenth of one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn l6_what_unwinds_is_in_the_program() {
    let ran = Ran::from(command().env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap());
    assert!(ran.stdout.contains("libc.so"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("libgcc_s"), "{}", ran.stdout);
}

#[test]
fn help_is_help() {
    let ran = run(&["--help"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains("Exit codes:") && ran.stdout.contains("no daemon answers"));
    let ran = run(&["held", "drop", "--help"]);
    assert!(ran.stdout.contains("engramctl held drop 3 --yes"), "{}", ran.stdout);
}

#[test]
fn completions_and_the_manual_need_no_daemon() {
    for (shell, words) in [("bash", "complete -F"), ("zsh", "#compdef engramctl"), ("fish", "complete -c engramctl")] {
        let ran = run(&["completions", shell, "--data-dir", "/nowhere"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(ran.stdout.contains(words) && ran.stdout.contains("conflicts"), "{shell}");
    }
    assert_eq!(run(&["completions", "cmd.exe"]).code, 2);
    let ran = run(&["man"]);
    assert!(ran.code == 0 && ran.stdout.contains(".TH engramctl 1"), "{}", ran.stderr);
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("man1");
    let ran = run(&["man", "--json"]);
    assert_eq!(ran.code, 2, "a page is no object: {}", ran.stdout);
    let ran = run(&["man", "--dir", dir.to_str().unwrap(), "--json"]);
    assert_eq!((ran.code, &ran.json()["dir"]), (0, &json!(dir)));
    assert!(dir.join("engramctl.1").is_file() && dir.join("engramctl-held-list.1").is_file());
    std::fs::write(directory.path().join("file"), "").unwrap();
    let ran = run(&["man", "--dir", directory.path().join("file/man1").to_str().unwrap()]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (1, 1));
    assert!(ran.stderr.contains("man --dir DIR"), "{}", ran.stderr);
}

#[test]
fn a_reader_that_went_away_is_no_panic() {
    let many = vec![Observation { content: "x".repeat(500), ..Observation::default() }; 2_000];
    let fake = Fake::new(vec![Reply::Observations(many)]);
    let mut child = command()
        .arg("--socket")
        .arg(fake.socket())
        .args(["list", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn colour_is_for_terminals_or_on_demand() {
    let fake = Fake::new(vec![Reply::Observations(vec![Observation::default()])]);
    assert!(!fake.run(&["list"]).stdout.contains('\x1b'));
    assert!(fake.run(&["--color", "always", "list"]).stdout.contains('\x1b'));
}
