//! The real program: what it prints, what it refuses, how it ends.

use crate::harness::{client, now};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Finds the program beside this test; `cargo build --bins` puts it there.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let target = test.ancestors().nth(2).expect("target/profile/deps/test");
    let program = target.join("engram-cloud");
    assert!(program.is_file(), "{} is missing: run cargo build --bins first", program.display());
    program
}

fn command(args: &[&str], data_dir: &Path, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program());
    command.args(args).env_clear().env("ENGRAM_CLOUD_DATA_DIR", data_dir).envs(env.iter().copied());
    command
}

pub(crate) fn output(args: &[&str], data_dir: &Path, env: &[(&str, &str)]) -> Output {
    command(args, data_dir, env).output().expect("it runs")
}

pub(crate) struct Running {
    child: Child,
    lines: Vec<String>,
    pub(crate) url: String,
}

impl Running {
    pub(crate) fn start(data_dir: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = command(&["serve", "--port", "0"], data_dir, env);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
            let line = line.expect("text");
            lines.push(line.clone());
            if let Some(url) = line.strip_prefix("engram-cloud listening on ") {
                return Self { child, lines, url: url.to_owned() };
            }
        }
        panic!("it ended without listening: {lines:?} {:?}", child.wait_with_output());
    }

    /// Ends it as systemd does, and returns what it wrote to stderr.
    pub(crate) fn terminate(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        let began = now();
        assert!(self.child.wait().expect("it ends").success());
        assert!(began.elapsed() < Duration::from_secs(5));
        let mut log = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut log).expect("text");
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn weak_and_contradictory_settings_are_one_line_and_no_start() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let long = "a-secret-of-more-than-thirty-two-bytes";
    let cases: [(&[(&str, &str)], &str); 9] = [
        (
            &[("ENGRAM_JWT_SECRET", "too-short")],
            "ENGRAM_JWT_SECRET has 9 bytes; valid is a secret of at least 32 bytes",
        ),
        (&[("ENGRAM_CLOUD_TOKEN_PEPPER", "too-short")], "ENGRAM_CLOUD_TOKEN_PEPPER has 9 bytes"),
        (&[("ENGRAM_CLOUD_TOKEN", "fifteen-bytes-x"), ("ENGRAM_CLOUD_ALLOWED_PROJECTS", "*")], "at least 16 bytes"),
        (&[("ENGRAM_JWT_SECRET", "engram-dev-jwt-secret-for-local-smoke-1234")], "well-known development secret"),
        (&[("ENGRAM_CLOUD_TOKEN", long)], "ENGRAM_CLOUD_ALLOWED_PROJECTS"),
        (&[("ENGRAM_CLOUD_TOKEN", long), ("ENGRAM_CLOUD_INSECURE_NO_AUTH", "1")], "contradicts ENGRAM_CLOUD_TOKEN"),
        (&[("ENGRAM_CLOUD_HOST", "0.0.0.0"), ("ENGRAM_CLOUD_INSECURE_NO_AUTH", "1")], "loopback"),
        (&[("ENGRAM_PORT", "80a")], "ENGRAM_PORT (--port) is \"80a\"; valid is a number from 1 to 65535"),
        (
            &[("ENGRAM_DATABASE_URL", "mysql://u:pw@h/db")],
            "ENGRAM_DATABASE_URL (--database-url) is no address of Postgres",
        ),
    ];
    for (env, says) in cases {
        let out = output(&["serve"], dir.path(), env);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
        assert!(!said.contains(long) && !said.contains("pw@"), "SECRET-1: {said}");
        assert!(out.stdout.is_empty());
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0, "nothing was opened");
}

/// SECRET-1: the first start makes a token and shows it once, with the line to use it; it stands in no log.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_a_token_and_shows_it_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = Running::start(dir.path(), &[("ENGRAM_CLOUD_LOG_LEVEL", "trace")]);
    let login = format!("  engramctl cloud login --server {} --token-stdin", first.url);
    assert!(first.lines.contains(&login), "{:?}", first.lines);
    let token = std::fs::read_to_string(dir.path().join("token")).expect("kept").trim().to_owned();
    assert!(first.lines.iter().any(|line| line.trim() == token));
    let pull = |url: &str, token: &str| client().get(format!("{url}/sync/mutations/pull")).bearer_auth(token).send();
    assert_eq!(pull(&first.url, &token).await.expect("an answer").status(), 200);
    assert_eq!(pull(&first.url, "wrong").await.expect("an answer").status(), 401);
    let log = first.terminate();
    assert!(log.contains("not let in") && !log.contains(&token), "{log}");
    let second = Running::start(dir.path(), &[]);
    assert_eq!(second.lines.len(), 1, "{:?}", second.lines);
    assert_eq!(pull(&second.url, &token).await.expect("an answer").status(), 200);
    second.terminate();
}

/// OWN-1: one process per data directory, and the second is told the first one's pid.
#[test]
fn own_1_a_second_server_names_the_first() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = Running::start(dir.path(), &[]);
    let out = output(&["serve", "--port", "0"], dir.path(), &[]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains(&format!("pid {}", first.child.id())), "{said}");
    first.terminate();
}

/// cloud.md: `admin` works beside a running server, which sees the change at the next request.
#[tokio::test(flavor = "multi_thread")]
async fn admin_pauses_and_resumes_beside_a_running_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let missing = output(&["admin", "paused"], &dir.path().join("nothing"), &[]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no store at"));
    let server = Running::start(dir.path(), &[("ENGRAM_CLOUD_INSECURE_NO_AUTH", "1")]);
    let push = || async {
        let entry = crate::harness::session("my-project", "s");
        let body = serde_json::json!({"entries": [entry]}).to_string();
        let sent = client().post(format!("{}/sync/mutations/push", server.url)).body(body).send().await;
        sent.expect("an answer").status()
    };
    assert_eq!(push().await, 200);
    let paused = output(&["admin", "pause", "My--Project", "--reason", "moving house"], dir.path(), &[]);
    assert!(paused.status.success());
    assert_eq!(push().await, 409);
    let listed = output(&["admin", "paused"], dir.path(), &[]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.starts_with("my-project\t") && listed.contains("moving house"), "{listed}");
    let resume = |project| {
        let resumed = output(&["admin", "resume", project], dir.path(), &[]);
        assert!(resumed.status.success());
        String::from_utf8_lossy(&resumed.stdout).into_owned()
    };
    assert_eq!(resume("my-project"), "resumed my-project\n");
    assert_eq!(resume("my-project"), "my-project was not paused\n");
    assert_eq!(resume("nosuch"), "nosuch was not paused\n");
    assert_eq!(push().await, 200);
    server.terminate();
}

#[test]
fn help_names_every_setting() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let help = output(&["serve", "--help"], dir.path(), &[]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for setting in [
        "ENGRAM_PORT",
        "ENGRAM_CLOUD_HOST",
        "ENGRAM_CLOUD_DATA_DIR",
        "ENGRAM_DATABASE_URL",
        "ENGRAM_CLOUD_TOKEN",
        "ENGRAM_CLOUD_ALLOWED_PROJECTS",
        "ENGRAM_CLOUD_ADMIN",
        "ENGRAM_JWT_SECRET",
        "ENGRAM_CLOUD_TOKEN_PEPPER",
        "ENGRAM_CLOUD_INSECURE_NO_AUTH",
        "ENGRAM_CLOUD_MAX_PUSH_BYTES",
        "ENGRAM_CLOUD_LOG_LEVEL",
    ] {
        assert!(help.contains(setting), "{setting}");
    }
    assert!(!help.contains("--token"), "secrets come by the environment only");
}
