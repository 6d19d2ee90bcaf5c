//! Situation 7: Status tells the truth. 13. Errors name the thing, the reason and the fix: one root cause in each state, with one
//! command that works in that very state, which is run here.

use crate::queue::{self, Row};
use engram_tests::gateway::{Gateway, Instead};
use engram_tests::processes::{Answer, Cloud, Device, TOKEN, program, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// A device with two projects behind a gateway, at rest and healthy.
pub(crate) struct Place {
    pub(crate) temp: tempfile::TempDir,
    dir: PathBuf,
    cloud: Cloud,
    pub(crate) gateway: Gateway,
    pub(crate) device: Device,
}

impl Place {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("cloud");
        let cloud = Cloud::start(&dir);
        let gateway = Gateway::start(&cloud.url);
        let device = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
        assert_eq!(device.ctl(&["enroll", "other"]).code, 0);
        let place = Self { temp, dir, cloud, gateway, device };
        place.healthy();
        place
    }

    /// Everything is done, and that is what is said.
    pub(crate) fn healthy(&self) {
        until("it is healthy", || {
            let _ = self.device.ctl(&["sync"]);
            self.device.ctl(&["status"]).code == 0
        });
        let report = self.device.report();
        assert_eq!(report["sync"]["health"], "healthy", "{report}");
        assert_eq!(report["totals"]["pending"], 0, "{report}");
        let row = "SELECT consecutive_failures || ' ' || coalesce(last_error, '') || ' ' || lifecycle
            FROM sync_state WHERE target_key = 'cloud'";
        until("the database row says the same", || {
            queue::store(&self.device).query_row(row, [], |row| row.get::<_, String>(0)).expect("a row") == "0  healthy"
        });
    }

    pub(crate) fn answer(&self, path: &'static str, status: u16, body: &Value) {
        self.gateway.inside().instead = vec![Instead { path, holding: "", status, body: body.to_string() }];
    }

    pub(crate) fn clear(&self) {
        self.gateway.inside().instead.clear();
    }

    /// Waits for a finding, and checks that it is the one root cause, says what it must, and shows everywhere alike.
    pub(crate) fn root(&self, code: &str) -> Value {
        let mut wrong = Vec::new();
        until(&format!("{code} is the one root cause"), || {
            let _ = self.device.ctl(&["sync"]);
            let report = self.device.report();
            let all = report["findings"].as_array().expect("a list").iter();
            wrong = all.filter(|finding| finding["severity"] != "info").cloned().collect();
            wrong.len() == 1 && wrong[0]["code"] == code
        });
        let finding = wrong[0].clone();
        let text = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        assert!(text("message").len() > 10 && !text("since").is_empty() && !text("title").is_empty(), "{finding}");
        let status = self.device.ctl(&["status"]);
        assert_eq!(status.code, 3, "{status:?}");
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat(&status.out).contains(&flat(&text("message"))), "the same words: {status:?} {finding}");
        assert!(flat(&status.out).contains(&text("hint")), "and the command: {status:?}");
        finding
    }

    /// Runs the command that a finding names; a token and a URL are what its reader has.
    pub(crate) fn run(&self, finding: &Value) -> Answer {
        let hint = finding["hint"].as_str().expect("a command");
        let url = self.gateway.url.as_str();
        let words = hint.split(' ').map(|word| if word == "URL" { url } else { word });
        let mut words: Vec<_> = words.collect();
        let program_name = words.remove(0);
        if words.starts_with(&["cloud", "login"]) {
            words.push("--token-stdin");
        }
        let answer = if program_name == "engramctl" {
            self.device.ctl_with(&words, TOKEN)
        } else {
            let mut command = Command::new(program(program_name));
            command.args(&words).arg("--data-dir").arg(&self.device.dir).env_clear();
            Answer::of(&command.output().expect("it ends"))
        };
        assert!(![2, 4].contains(&answer.code), "{hint} does not work here: {answer:?}");
        answer
    }
}

/// LOUD-1, LOUD-2: what the server answers: each is its own reason, names whom it is about, and ends with its cause.
#[test]
fn scenario_13_loud_1_loud_2_every_answer_has_one_reason_and_one_command_that_works() {
    let place = Place::new();
    for (path, status, code) in [
        ("/", 502, "transport_failed"),
        ("/sync", 401, "auth_required"),
        ("/sync", 403, "policy_forbidden"),
        ("/sync", 404, "server_unsupported"),
    ] {
        let body = json!({"error": "no", "error_class": "auth", "error_code": "no"});
        place.answer(path, status, &body);
        let _ = place.device.save("other", "t", &format!("text {status}"));
        let finding = place.root(code);
        assert!(finding["message"].as_str().is_some_and(|words| words.contains("127.0.0.1")), "the host: {finding}");
        let still = place.run(&finding);
        assert_ne!(still.code, 0, "{code} still stands: {still:?}");
        place.clear();
        let mended = place.run(&finding);
        assert_eq!(mended.code, 0, "{code}: {mended:?}");
        place.healthy();
    }
}

/// LOUD-1, ISO-2: a project that is refused names itself; the others go on.
#[test]
fn scenario_13_loud_1_a_refused_project_is_named_alone() {
    let mut place = Place::new();
    let port = place.cloud.url.rsplit(':').next().expect("a port").to_owned();
    let allow = |place: &mut Place, projects: &str| {
        place.cloud.process.kill();
        place.cloud = Cloud::start_at(&place.dir, &port, projects);
    };
    allow(&mut place, "demo");
    let _ = place.device.save("other", "t", "waits");
    let finding = place.root("policy_forbidden");
    assert_eq!((&finding["project"], &finding["scope"]), (&"other".into(), &"project".into()), "{finding}");
    assert!(finding["message"].as_str().is_some_and(|words| words.contains("other")), "{finding}");
    let report = place.device.report();
    let projects = report["projects"].as_array().expect("a list").iter();
    let states: Vec<_> = projects.map(|one| (one["project"].clone(), one["state"].clone())).collect();
    assert_eq!(states, [("demo".into(), "healthy".into()), ("other".into(), "degraded".into())]);
    assert_eq!(place.run(&finding).code, 3);
    allow(&mut place, "*");
    assert_eq!(place.run(&finding).code, 0);
    place.healthy();
}

/// LOUD-1: a project that the administrator paused names him and his words; the others go on.
#[test]
fn scenario_13_loud_1_a_pause_of_the_administrator_is_said() {
    let place = Place::new();
    let admin = |args: &[&str]| {
        let mut command = Command::new(program("engram-cloud"));
        command.arg("admin").args(args).arg("--data-dir").arg(&place.dir).env_clear();
        let answer = Answer::of(&command.output().expect("it ends"));
        assert_eq!(answer.code, 0, "{answer:?}");
    };
    admin(&["pause", "other", "--reason", "moving house"]);
    let _ = place.device.save("other", "t", "waits");
    let _ = place.device.save("demo", "t", "goes on");
    let finding = place.root("sync_paused");
    assert!(finding["message"].as_str().is_some_and(|words| words.contains("moving house")), "{finding}");
    assert_eq!(place.run(&finding).code, 3);
    let gone = "SELECT entity_key FROM cloud_mutations WHERE project = 'demo' AND entity = 'observation'";
    until("the other project goes on", || queue::cloud(&place.dir, gone).len() == 1);
    admin(&["resume", "other"]);
    assert_eq!(place.run(&finding).code, 0);
    place.healthy();
}

/// LOUD-1: rows that were refused, and one that is too large, are listed by the command that is named.
#[test]
fn scenario_13_loud_1_held_rows_are_one_command_away() {
    let place = Place::new();
    place.gateway.inside().body_bytes_max = Some(100_000);
    for (key, row, code) in [
        ("huge", Row::memory("demo", "huge", "s").with("content", json!("x".repeat(200_000))), "payload_too_large"),
        ("blank", Row::memory("demo", "blank", "s").with("title", json!("")), "row_rejected"),
    ] {
        // Alone, for the daemon may take the rows up one by one, it would be to blame after three rounds only (reasons.md).
        let beside = Row::memory("demo", &format!("beside {key}"), "s");
        queue::add(&place.device, &[Row::session("demo", "s"), row, beside]);
        let finding = place.root(code);
        assert!(finding["message"].as_str().is_some_and(|words| words.contains("demo")), "{finding}");
        let listed = place.run(&finding);
        assert!(listed.code == 0 && listed.out.contains(key), "{listed:?}");
        let id = place.device.json(&["held", "list"])["held"][0]["id"].to_string();
        assert_eq!(place.device.ctl(&["held", "drop", &id, "--yes"]).code, 0);
        place.healthy();
    }
}

/// LOUD-1: a server that cannot be reached: no such host, no secure connection, clocks that differ.
#[test]
fn scenario_13_loud_1_names_certificates_and_clocks_have_their_reasons() {
    let mut place = Place::new();
    let file = place.device.dir.join("cloud.json");
    let good = std::fs::read_to_string(&file).expect("it");
    let port = place.cloud.url.rsplit(':').next().expect("a port").to_owned();
    for (url, code, named) in [
        ("https://no-such-host.invalid".to_owned(), "transport_failed", "no-such-host.invalid"),
        (format!("https://127.0.0.1:{port}"), "tls_failed", "127.0.0.1"),
    ] {
        std::fs::write(&file, json!({"server_url": url, "token": TOKEN}).to_string()).expect("written");
        let finding = place.root(code);
        assert!(finding["message"].as_str().is_some_and(|words| words.contains(named)), "{finding}");
        assert_eq!(place.run(&finding).code, 3);
        std::fs::write(&file, &good).expect("written");
        assert_eq!(place.run(&finding).code, 0);
        place.healthy();
    }
    // A server whose clock is ten minutes ahead; it is asked at the next start.
    let cloud = place.device.report()["cloud"].clone();
    let ahead = engram_proto::time::rfc3339_from_ms(unix_ms() + 600_000);
    let health = json!({"status": "ok", "service": "engram-cloud", "version": cloud["version"],
        "cloud_id": cloud["cloud_id"], "capabilities": cloud["capabilities"], "time": ahead});
    place.answer("/health", 200, &health);
    place.device.daemon.kill();
    place.device.boot();
    let finding = place.root("clock_skew");
    assert_eq!(place.run(&finding).code, 0, "sync goes on");
    place.clear();
    place.device.daemon.kill();
    place.device.boot();
    place.healthy();
}

/// LOUD-1: what was written into the file cannot be used: which file, and what of it; the command that is named says it too,
/// and says that all is well once it is.
#[test]
fn scenario_13_loud_1_a_configuration_that_cannot_be_used_is_said_and_checked() {
    let place = Place::new();
    let file = place.device.dir.join("cloud.json");
    let good = std::fs::read_to_string(&file).expect("it");
    for (text, named) in [
        ("{ not json".to_owned(), "cloud.json"),
        (json!({"server_url": "ftp://127.0.0.1", "token": TOKEN}).to_string(), "ftp"),
        (json!({"server_url": "http://engram.example.com", "token": TOKEN}).to_string(), "engram.example.com"),
    ] {
        std::fs::write(&file, text).expect("written");
        let finding = place.root("cloud_config_error");
        let words = finding["message"].as_str().expect("words");
        assert!(words.contains(named), "{finding}");
        let checked = place.run(&finding);
        assert!(checked.code == 1 && checked.err.contains(named), "{named}: {checked:?}");
        std::fs::write(&file, &good).expect("written");
        let checked = place.run(&finding);
        assert!(checked.code == 0 && checked.out.contains(&place.gateway.url), "{named}: {checked:?}");
        place.healthy();
    }
}

/// LOUD-1, SCOPE-1: a command that names a project that takes no part is refused with the command that lets it, which works
/// as it is said, in a shell, for every name.
#[test]
fn scenario_13_loud_1_a_project_that_is_not_enrolled_is_refused_with_the_way_out() {
    let place = Place::new();
    let mut enrolled = BTreeSet::from(["demo", "other"]);
    for project in ["late", "my work", "it's; $home"] {
        let _ = place.device.save(project, "t", &format!("a text of {project}"));
        let mut hints = Vec::new();
        for command in [&["sync", "--project", project][..], &["cloud", "remirror", project], &["unenroll", project]] {
            let refused = place.device.ctl(&[command, &["--json"]].concat());
            let error = refused.json()["error"].clone();
            assert_eq!((refused.code, &error["reason_code"]), (3, &"blocked_unenrolled".into()), "{refused:?}");
            assert!(error["message"].as_str().is_some_and(|words| words.contains(project)), "{error}");
            hints.push(error["hint"].as_str().expect("a command").to_owned());
        }
        let hint = &hints[0];
        assert!(hints.iter().all(|one| one == hint), "{hints:?}");
        assert_eq!(in_a_shell(&place.device, hint).code, 0, "{hint}");
        enrolled.insert(project);
        until(&format!("{hint} lets it take part, and no other"), || {
            let projects = place.device.json(&["projects"]);
            let all = projects["projects"].as_array().expect("a list").iter();
            let now = all.filter(|one| one["enrolled"] == true).filter_map(|one| one["project"].as_str());
            now.collect::<BTreeSet<_>>() == enrolled
        });
        assert_eq!(place.device.ctl(&["sync", "--project", project]).code, 0, "{hint}");
        place.healthy();
    }
}

/// Runs a command of the client as a user's shell does.
fn in_a_shell(device: &Device, line: &str) -> Answer {
    let programs = program("engramctl").parent().expect("a directory").to_owned();
    let mut shell = Command::new("/bin/sh");
    shell.env_clear().env("PATH", programs).env("HOME", "/").env("ENGRAM_DATA_DIR", &device.dir);
    Answer::of(&shell.args(["-c", line]).output().expect("it ends"))
}

#[expect(clippy::disallowed_methods, reason = "a server has a clock of its own")]
fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(0)
}

/// LOUD-1: what has no cloud at all: no daemon, none configured, paused by the user; each names one command, and it works.
#[test]
fn scenario_7_loud_1_states_without_a_server_name_what_to_do() {
    let temp = tempfile::tempdir().expect("a directory");
    let nobody = engram_tests::processes::ctl(&temp.path().join("a"), &["status"], "");
    assert_eq!((nobody.code, nobody.err.trim().lines().count()), (4, 1), "{nobody:?}");
    assert!(nobody.err.contains("engramd.sock") && nobody.err.contains("engramd"), "{nobody:?}");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let device = Device::start(&temp.path().join("a"));
    let status = device.ctl(&["status"]);
    assert_eq!(status.code, 0, "{status:?}");
    assert!(status.out.contains("engramctl cloud login --server URL"), "{status:?}");
    let login = device.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN);
    assert_eq!(login.code, 0, "{login:?}");
    until("the next step is said", || device.ctl(&["status"]).out.contains("engramctl enroll P"));
    assert_eq!(device.ctl(&["enroll", "demo"]).code, 0);
    assert_eq!(device.ctl(&["pause", "--project", "demo", "--reason", "a train"]).code, 0);
    until("it is said", || device.ctl(&["status"]).out.contains("a train"));
    let status = device.ctl(&["status"]);
    assert_eq!(status.code, 0, "what was asked for is no fault: {status:?}");
    assert!(status.out.contains("engramctl resume --project demo"), "{status:?}");
    assert_eq!(device.ctl(&["resume", "--project", "demo"]).code, 0);
    until("it is healthy", || device.ctl(&["sync"]).code == 0 && device.ctl(&["status"]).out.starts_with("Healthy"));
}
