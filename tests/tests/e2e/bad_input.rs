//! Each mistake ends in one clear line with the next step, the right reason code and exit code, and changes nothing.

use engram_tests::processes::{Answer, Cloud, Device, TOKEN, ctl, daemon, program};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

fn login(device: &Device, server: &str, token: &str) -> Answer {
    device.ctl_with(&["cloud", "login", "--server", server, "--token-stdin", "--json"], token)
}

fn reason(answer: &Answer) -> String {
    answer.json()["error"]["reason_code"].as_str().unwrap_or_default().to_owned()
}

/// Answers every request with a web page.
fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let page = "<html><body>Welcome to the hotel's network</body></html>";
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    url
}

#[test]
fn a_login_that_cannot_be_right_keeps_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::start(&temp.path().join("a"));
    let html = web_server();
    for (server, token, code, expected) in [
        ("not a url", TOKEN, 3, "cloud_config_error"),
        ("ftp://127.0.0.1", TOKEN, 3, "cloud_config_error"),
        ("http://engram.example.com", TOKEN, 3, "cloud_config_error"),
        (cloud.url.as_str(), "a-wrong-token-for-sure", 3, "auth_required"),
        (cloud.url.as_str(), "", 2, "usage"),
        (html.as_str(), TOKEN, 3, "transport_failed"),
    ] {
        let answer = login(&a, server, token);
        assert_eq!((answer.code, reason(&answer).as_str()), (code, expected), "{server}: {answer:?}");
        assert_eq!(answer.err.trim().lines().count(), 1, "one line: {answer:?}");
        assert!(answer.json()["error"]["hint"].is_string(), "a next step: {answer:?}");
        assert!(!answer.err.contains("wrong-token"), "SECRET-1: {answer:?}");
        assert!(!a.dir.join("cloud.json").exists(), "{server} was kept");
    }
    let nobody = login(&a, "http://127.0.0.1:9", TOKEN);
    assert_eq!(nobody.code, 5, "stored, not checked: {nobody:?}");
    assert!(a.dir.join("cloud.json").exists());
}

#[test]
fn a_socket_path_too_long_names_the_way_out() {
    let temp = tempfile::tempdir().expect("a directory");
    let long = temp.path().join("x".repeat(120));
    let refused = Answer::of(&daemon(&long).output().expect("it ends"));
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("ENGRAMD_SOCKET") && refused.err.trim().lines().count() == 1, "{refused:?}");
    assert!(!long.exists(), "nothing was made");
    let client = ctl(&long, &["status"], "");
    assert!(client.err.contains("ENGRAMD_SOCKET"), "{client:?}");
    assert_ne!(client.code, 0);
}

#[test]
fn settings_that_cannot_be_right_are_refused() {
    let temp = tempfile::tempdir().expect("a directory");
    std::fs::write(temp.path().join("engramd.toml"), "# mine\nlong_pol_seconds = 5\n").expect("a file");
    for command in ["run", "check-config"] {
        let refused = engramd(temp.path(), command, &[]);
        assert_eq!(refused.code, 1);
        assert_eq!(refused.err.trim().lines().count(), 1, "{refused:?}");
        for word in ["engramd.toml", "line 2", "long_poll_seconds"] {
            assert!(refused.err.contains(word), "{refused:?}");
        }
    }
    assert!(!temp.path().join("engram.db").exists(), "nothing was made");
}

fn engramd(dir: &Path, command: &str, variables: &[(&str, &str)]) -> Answer {
    let mut engramd = Command::new(program("engramd"));
    engramd.arg(command).arg("--data-dir").arg(dir).env_clear().envs(variables.iter().copied());
    Answer::of(&engramd.output().expect("it ends"))
}

/// SECRET-1: where each value comes from is said, the token never; half a file is named; no store is made.
#[test]
fn secret_1_check_config_says_what_it_found_and_no_token() {
    let temp = tempfile::tempdir().expect("a directory");
    let nothing = engramd(temp.path(), "check-config", &[]);
    assert!(nothing.code == 0 && nothing.out.contains("not configured; engramctl cloud login"), "{nothing:?}");
    std::fs::write(temp.path().join("engramd.toml"), "log_level = \"debug\"\n").expect("a file");
    let file = temp.path().join("cloud.json");
    std::fs::write(&file, r#"{"server_url":"https://engram.example.com","token":"hush-file"}"#).expect("a file");
    let found = engramd(temp.path(), "check-config", &[("ENGRAM_CLOUD_TOKEN", "hush-variable")]);
    assert_eq!(found.code, 0, "{found:?}");
    for line in [
        "log_level          debug (engramd.toml)",
        "long_poll_seconds  25 (default)",
        "cloud server       https://engram.example.com (cloud.json)",
        "cloud token        given (ENGRAM_CLOUD_TOKEN)",
    ] {
        assert!(found.out.contains(line), "{line}: {found:?}");
    }
    assert!(!format!("{found:?}").contains("hush"), "{found:?}");
    std::fs::write(&file, r#"{"server_url":"https://engram.example.com","token":"hush"#).expect("a file");
    let half = engramd(temp.path(), "check-config", &[]);
    assert_eq!((half.code, half.err.trim().lines().count()), (1, 1), "{half:?}");
    assert!(half.err.contains("cloud.json") && half.err.contains("line 1"), "{half:?}");
    assert!(half.err.contains("engramctl cloud login") && !half.err.contains("hush"), "{half:?}");
    assert!(!temp.path().join("engram.db").exists(), "no store was touched");
}

#[test]
fn memory_commands_say_what_is_wrong() {
    let temp = tempfile::tempdir().expect("a directory");
    let a = Device::start(&temp.path().join("a"));
    for (args, code, words) in [
        (&["get", "obs-none"][..], 1, "obs-none"),
        (&["update", "17", "--title", "x"], 1, "17"),
        (&["save", "--project", " ", "--title", "t", "c"], 1, "project"),
        (&["save", "--project", "p", "--title", "t", "  "], 1, "content"),
        (&["save", "--project", "p", "--session", "none", "--title", "t", "c"], 1, "session start"),
        (&["relate", "1", "supersedes", "2"], 1, "1"),
        (&["held", "show", "5"], 1, "held list"),
        (&["list", "--limit", "many"], 2, "--limit"),
        (&["frobnicate"], 2, "frobnicate"),
    ] {
        let answer = a.ctl(args);
        assert_eq!(answer.code, code, "{args:?}: {answer:?}");
        assert!(answer.err.contains(words), "{args:?}: {answer:?}");
    }
    assert_eq!(a.json(&["list"])["observations"].as_array().map(Vec::len), Some(0), "nothing was kept");
    assert_eq!(a.json(&["search", "\"AND ( NEAR *"])["observations"].as_array().map(Vec::len), Some(0));
}
