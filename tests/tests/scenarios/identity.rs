//! Situation 14: One instance, any crash, clean start. 22. Project identity is explicit and stable.

use crate::queue::{self, Row};
use engram_tests::go::GoClient;
use engram_tests::processes::{Answer, Cloud, Device, Process, TOKEN, daemon, until};
use serde_json::json;
use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

/// OWN-1: of five that start at once exactly one lives; the others name it, and what a crash left is in nobody's way.
#[test]
fn scenario_14_own_1_of_five_starts_one_lives() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("a");
    std::fs::create_dir(&dir).expect("a directory");
    // What a crash leaves: a socket that nobody answers at, and a pid of nobody.
    drop(UnixListener::bind(dir.join("engramd.sock")).expect("a socket"));
    std::fs::write(dir.join("engramd.lock"), "999999\n").expect("a lock");
    let start = || daemon(&dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut all: Vec<_> = (0..5).map(|_| Process::new(start())).collect();
    until("four have ended", || {
        all.retain_mut(|process| !process.has_ended());
        all.len() == 1
    });
    let mut device = Device { daemon: all.remove(0), dir };
    until("it answers", || device.ctl(&["status"]).code == 0);
    assert_eq!(device.report()["daemon"]["pid"], device.daemon.pid());
    let sixth = Answer::of(&daemon(&device.dir).output().expect("it ends"));
    assert!(sixth.code == 1 && sixth.err.contains(&device.daemon.pid().to_string()), "{sixth:?}");
    let _ = device.save("demo", "t", "before the kill");
    for _ in 0..3 {
        device.daemon.kill();
        assert_eq!(device.ctl(&["status"]).code, 4);
        device.boot();
    }
    assert_eq!(device.titles("before").len(), 1);
}

/// OWN-1: a pid that somebody else has now proves nothing; a stopped daemon keeps what is its own, and blocks nobody.
#[test]
fn scenario_14_own_1_a_stopped_daemon_is_named_and_a_strangers_pid_is_not() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("a");
    std::fs::create_dir(&dir).expect("a directory");
    drop(UnixListener::bind(dir.join("engramd.sock")).expect("a socket"));
    std::fs::write(dir.join("engramd.lock"), format!("{}\n", std::process::id())).expect("a lock");
    let mut device = Device::start(&dir);
    let pid = device.daemon.pid();
    assert_eq!(std::fs::read_to_string(dir.join("engramd.lock")).expect("a lock").trim(), pid.to_string());
    let _ = device.save("demo", "t", "before it stood still");

    device.daemon.signal(rustix::process::Signal::STOP);
    for command in [&["status"][..], &["list"], &["sync"]] {
        let refused = device.ctl(&[&["--timeout", "1"], command].concat());
        assert_eq!((refused.code, refused.err.trim().lines().count()), (4, 1), "{command:?}: {refused:?}");
    }
    let second = Answer::of(&daemon(&dir).arg("--log-level").arg("error").output().expect("it ends"));
    assert_eq!((second.code, second.err.trim().lines().count()), (1, 1), "{second:?}");
    assert!(second.err.contains(&pid.to_string()), "{second:?}");
    // Killed while it stands still, it leaves its socket and its pid; the next one starts as if neither were there.
    device.daemon.kill();
    assert!(dir.join("engramd.sock").exists());
    device.boot();
    assert_ne!(device.daemon.pid(), pid);
    assert_eq!(device.titles("stood still").len(), 1);
}

/// OWN-1, DUR-1: a daemon that got no memory any more ended at once; what it had answered is there, and nothing of what it
/// had not.
#[test]
fn scenario_14_own_1_a_daemon_without_memory_leaves_a_clean_start() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let temp = tempfile::tempdir().expect("a directory");
    let mut device = Device::start(&temp.path().join("a"));
    let _ = device.save("demo", "t", "before it got no memory");
    let pid = Pid::from_raw(i32::try_from(device.daemon.pid()).expect("a pid"));
    prlimit(pid, Resource::Data, Rlimit { current: Some(4_096), maximum: Some(4_096) }).expect("a limit");
    let large = "too much ".repeat(500_000);
    until("it ended", || {
        let _ = device.ctl_with(&["save", "--project", "demo", "--title", "large", "-"], &large);
        device.daemon.has_ended()
    });
    assert_eq!(device.ctl(&["status"]).code, 4);
    device.boot();
    assert_eq!(device.titles("no memory").len(), 1);
    assert_eq!(device.json(&["list"])["observations"].as_array().map(Vec::len), Some(1));
    assert_eq!(queue::number(&device, "SELECT count(*) FROM sync_mutations WHERE entity = 'observation'"), 1);
}

/// OWN-1: another program at the socket is told from a stale one, and is left alone.
#[test]
fn scenario_14_own_1_a_foreign_program_at_the_socket_is_named() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("a");
    std::fs::create_dir(&dir).expect("a directory");
    let _foreign = UnixListener::bind(dir.join("engramd.sock")).expect("a socket");
    let refused = Answer::of(&daemon(&dir).arg("--log-level").arg("error").output().expect("it ends"));
    assert_eq!((refused.code, refused.err.trim().lines().count()), (1, 1), "{refused:?}");
    assert!(refused.err.contains("another program answers") && refused.err.contains("ENGRAMD_SOCKET"), "{refused:?}");
    assert!(dir.join("engramd.sock").exists(), "it was not touched");
}

/// Names are folded by one rule everywhere; what differs after it stays apart, and nothing is merged by itself.
#[test]
fn scenario_22_a_projects_name_is_the_same_everywhere() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let a = Device::start(&temp.path().join("a"));
    assert_eq!(a.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN).code, 0);
    let enrolled = a.ctl(&["enroll", " Foo ", "foo-bar", "foo_bar"]);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    assert!(enrolled.out.contains("foo") && !enrolled.out.contains("Foo"), "the name it has is said: {enrolled:?}");
    let said: Vec<_> = enrolled.out.split_whitespace().collect();
    assert_eq!(
        said.join(" "),
        "foo: enrolled; the cloud allows it. foo-bar: enrolled; the cloud allows it. foo_bar: enrolled; the cloud allows \
         it; foo-bar is another project, and stays one.",
        "who is written alike is said, and nobody else"
    );
    for (project, title) in [("Foo", "one"), ("foo", "two"), ("foo-bar", "three"), ("foo_bar", "four")] {
        let _ = a.save(project, title, &format!("a text {title}"));
    }
    let here = a.json(&["projects"]);
    let names: Vec<_> = here["projects"].as_array().expect("a list").iter().map(|one| one["project"].clone()).collect();
    assert_eq!(names, ["foo", "foo-bar", "foo_bar"]);
    let there = "SELECT DISTINCT project FROM cloud_mutations ORDER BY project";
    until("all are at the server", || queue::cloud(&dir, there) == ["foo", "foo-bar", "foo_bar"]);
    // A Go process may write the name as it was typed; it is the same project, here and there.
    queue::add(&a, &[Row { project: "foo".to_owned(), ..Row::session("Foo", "s-typed") }]);
    let typed = "SELECT payload FROM cloud_mutations WHERE entity_key = 's-typed'";
    until("it is sent", || queue::cloud(&dir, typed).len() == 1);
    assert!(!queue::cloud(&dir, typed)[0].contains("Foo"), "{:?}", queue::cloud(&dir, typed));
    let refused = a.ctl(&["enroll", " "]);
    assert!(refused.code != 0 && refused.err.trim().lines().count() == 1, "{refused:?}");
    assert_eq!(a.json(&["projects"])["projects"].as_array().map(Vec::len), Some(3), "nothing else was enrolled");
}

/// A path is a name as any other: it takes the normal form, and is the same here, in requests, and there.
#[test]
fn scenario_22_a_path_is_a_name_as_any_other() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let (typed, name) = ("/Home/Ana/My Work/foo--bar?x=1&y#z%20", "/home/ana/my work/foo-bar?x=1&y#z%20");
    let a = Device::enrolled(&temp.path().join("a"), &cloud, typed);
    let b = Device::enrolled(&temp.path().join("b"), &cloud, name);
    let _ = a.save(typed, "one", "a text of the path");
    until("it arrives", || b.titles("text") == ["one"]);
    let _ = b.save(name, "two", "a text of the other");
    until("and the other way", || a.titles("text").len() == 2);
    assert_eq!(queue::cloud(&dir, "SELECT DISTINCT project FROM cloud_mutations"), [name]);
    for device in [&a, &b] {
        let projects = device.json(&["projects"]);
        assert_eq!(
            (projects["projects"].as_array().map(Vec::len), &projects["projects"][0]["project"]),
            (Some(1), &name.into())
        );
        assert_eq!(device.ctl(&["status"]).code, 0);
    }
}

/// Rows without a project are their session's; where nothing tells it they are held where somebody sees them, and never
/// pushed, until something does.
#[test]
fn scenario_22_iso_1_rows_without_a_project_are_their_sessions_or_held() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let session =
        "INSERT INTO sessions (id, project, directory, started_at) VALUES (?1, ?2, '/d', '2026-11-22 10:00:00')";
    for (id, project) in [("s", "demo"), ("nowhere", "")] {
        queue::store(&a).execute(session, [id, project]).expect("a session");
    }
    let nameless = |key: &str, session: &str| Row {
        project: String::new(),
        ..Row::memory("demo", key, session).with("project", json!(""))
    };
    queue::add(
        &a,
        &[
            Row::session("demo", "s"),
            nameless("its-sessions", "s"),
            nameless("nobodys", "nowhere"),
            Row::memory("demo", "last", "s"),
        ],
    );
    let stored = || queue::cloud(&dir, "SELECT project || ' ' || entity_key FROM cloud_mutations ORDER BY seq");
    until("what has a project is sent", || stored().len() == 3);
    assert_eq!(stored(), ["demo s", "demo its-sessions", "demo last"]);
    until("the other one is held", || queue::held(&a).iter().map(|(key, _)| key.as_str()).eq(["nobodys"]));
    assert!(queue::held(&a)[0].1.contains("no project"), "{:?}", queue::held(&a));
    assert_eq!(a.ctl(&["status"]).code, 3, "and it is said");
    queue::store(&a).execute("UPDATE sessions SET project = 'demo' WHERE id = 'nowhere'", []).expect("told");
    assert_eq!(a.ctl(&["held", "retry", "--all"]).code, 0);
    until("it goes", || stored().iter().any(|row| row == "demo nobodys"));
    until("nothing is wrong any more", || a.ctl(&["status"]).code == 0);
}

/// SCOPE-2, CONV-5: a Go process renames a project, which its rows alone tell: what was sent is deleted where it was and new
/// where it is, what waited goes under the new name alone, and once everybody knows, nothing moves any more.
#[test]
fn scenario_22_scope_2_a_project_that_a_go_process_renamed_moves_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let [a, b] = ["a", "b"].map(|name| Device::enrolled(&temp.path().join(name), &cloud, "before"));
    let _ = a.save("before", "sent", "a text that was sent");
    until("it arrives", || b.titles("text") == ["sent"]);
    assert_eq!(a.ctl(&["pause"]).code, 0);
    let _ = a.save("before", "waiting", "a text that waits");
    let now = engram_proto::time::RowTime::parse("2026-11-28 10:00:00").expect("a time");
    GoClient::beside(queue::store(&a), "go", now).merge_project("before", "after");
    // Enrolling is its user's word, for the new name too.
    assert_eq!(a.ctl(&["enroll", "after"]).code, 0);
    assert_eq!(a.ctl(&["resume"]).code, 0);
    assert_eq!(b.ctl(&["enroll", "after"]).code, 0);
    let of = |device: &Device, project: &str| -> BTreeSet<String> {
        let list = device.json(&["list", "--project", project]);
        let all = list["observations"].as_array().expect("a list").iter();
        all.map(|one| one["title"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let both = BTreeSet::from(["sent".to_owned(), "waiting".to_owned()]);
    until("everybody has them under the new name alone", || {
        [&a, &b].iter().all(|device| of(device, "after") == both && of(device, "before").is_empty())
    });
    let waiting = "SELECT DISTINCT project FROM cloud_mutations WHERE payload LIKE '%a text that waits%'";
    assert_eq!(queue::cloud(&dir, waiting), ["after"], "never under the old one");
    until("all are at rest", || [&a, &b].iter().all(|device| device.ctl(&["sync"]).code == 0));
    let rows = || queue::cloud_number(&dir, "SELECT count(*) FROM cloud_mutations");
    let before = rows();
    for device in [&a, &b] {
        assert_eq!(device.ctl(&["sync"]).code, 0);
        assert_eq!(queue::number(device, "SELECT count(*) FROM sync_mutations WHERE acked_at IS NULL"), 0);
    }
    assert_eq!(rows(), before, "applied once");
}
