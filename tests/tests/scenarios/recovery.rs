//! Situation 6: The daemon recovers by itself; what it says while it does.

use crate::queue::{self, Row, held};
use engram_tests::gateway::{Gateway, Instead};
use engram_tests::processes::{Cloud, Device, TOKEN, program, until};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

fn down() -> Vec<Instead> {
    vec![Instead { path: "/", holding: "", status: 502, body: "upstream connect error".to_owned() }]
}

/// Finds the places of some words among events, which must come in this order.
fn in_order(events: &[(String, String)], story: &[(&str, &str)]) -> bool {
    let mut rest = events.iter();
    story.iter().all(|(kind, words)| rest.any(|(k, message)| k == kind && message.contains(words)))
}

fn events(device: &Device) -> Vec<(String, String)> {
    let lines = device.ctl(&["events", "--json"]);
    let event = |line: &str| -> (String, String) {
        let event: Value = serde_json::from_str(line).expect("one object a line");
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        (text("kind"), text("message"))
    };
    lines.out.lines().map(event).collect()
}

/// REC-1, LOUD-2: after many failures a `sync` counts at once, and `events` tells the story from the first failure to the
/// end; the daemon is the same process throughout.
#[test]
fn scenario_6_rec_1_a_sync_ends_the_waiting_and_events_tell_the_story() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let gateway = Gateway::start(&cloud.url);
    let a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    until("it is at rest", || a.ctl(&["sync"]).code == 0);
    let pid = a.report()["daemon"]["pid"].clone();
    gateway.inside().instead = down();
    let _ = a.save("demo", "t", "during the outage");
    until("it failed a dozen times", || {
        let _ = a.ctl(&["sync"]);
        a.report()["sync"]["attempt"].as_u64() >= Some(12)
    });
    until("it is said", || a.finds_reason("transport_failed"));
    assert!(held(&a).is_empty(), "an outage is no row's fault");
    gateway.inside().instead.clear();
    let sync = a.ctl(&["sync", "--json"]);
    assert_eq!(sync.code, 0, "one command, at once: {sync:?}");
    let report = a.report();
    assert_eq!((&report["sync"]["attempt"], &report["daemon"]["pid"]), (&0.into(), &pid), "{report}");
    let story = [("finding", "transport_failed"), ("cleared", "transport_failed")];
    until("the story is told", || in_order(&events(&a), &story));
}

/// REC-1: a row that another process mended in the journal goes with the next attempt, without a command.
#[test]
fn scenario_6_rec_1_a_repaired_row_goes_by_itself() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    queue::add(&a, &[Row::session("demo", "s"), Row::memory("demo", "o-1", "s").with("title", "".into())]);
    until("it is held", || held(&a).len() == 1);
    let id = a.json(&["held", "list"])["held"][0]["id"].to_string();
    queue::store(&a)
        .execute(
            "UPDATE sync_mutations SET payload = json_set(payload, '$.title', 'mended') WHERE entity_key = 'o-1'",
            [],
        )
        .expect("mended");
    assert_eq!(a.ctl(&["held", "retry", &id]).code, 0);
    let stored = "SELECT entity_key FROM cloud_mutations WHERE entity_key = 'o-1'";
    until("it goes", || queue::cloud(&dir, stored).len() == 1);
    until("nothing is wrong any more", || a.ctl(&["status"]).code == 0);
}

/// REC-1: the queue is read from the disk at every attempt: what another process mended there goes with the next one.
#[test]
fn scenario_6_rec_1_a_queue_that_somebody_mended_is_read_anew() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let gateway = Gateway::start(&cloud.url);
    let a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    until("it is at rest", || a.ctl(&["sync"]).code == 0);
    let body = "Internal Server Error".to_owned();
    gateway.inside().instead =
        vec![Instead { path: "/sync/mutations/push", holding: "indigestible", status: 500, body }];
    queue::add(&a, &[Row::session("demo", "s"), Row::memory("demo", "o-1", "s").with("title", "indigestible".into())]);
    let alone = "SELECT count(*) FROM sync_mutations WHERE acked_at IS NULL AND project = 'demo'";
    until("what can go went", || {
        queue::cloud(&dir, "SELECT entity_key FROM cloud_mutations WHERE entity_key = 's'").len() == 1
    });
    // A server that takes nothing else is not proved well: the row is nobody's fault, or held at last.
    until("it is said", || a.finds_reason("transport_failed") || !held(&a).is_empty());
    assert_eq!(queue::number(&a, alone), 1);
    queue::store(&a)
        .execute(
            "UPDATE sync_mutations SET payload = json_set(payload, '$.title', 'mended') WHERE entity_key = 'o-1'",
            [],
        )
        .expect("mended");
    if !held(&a).is_empty() {
        assert_eq!(a.ctl(&["held", "retry", "--all"]).code, 0);
    }
    let sync = a.ctl(&["sync"]);
    assert_eq!(sync.code, 0, "{sync:?}");
    let stored = queue::cloud(&dir, "SELECT payload FROM cloud_mutations WHERE entity_key = 'o-1'");
    assert!(stored.len() == 1 && stored[0].contains("mended"), "{stored:?}");
    // Where a pull shows it before the answer to its push is heard, it leaves a mark, which is no write.
    let writes = "SELECT count(*) FROM sync_mutations AS m LEFT JOIN engramd_journal AS j ON j.seq = m.seq
                  WHERE m.entity_key = 'o-1' AND j.void IS NOT 'mark'";
    assert_eq!(queue::number(&a, writes), 1, "no new write");
}

/// Two reports that differ in nothing that a reader would see are one redraw.
#[test]
fn scenario_7_watch_redraws_only_on_change() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    until("it is at rest", || a.ctl(&["sync"]).code == 0);
    let mut command = Command::new(program("engramctl"));
    command.args(["status", "--watch", "--json", "--data-dir"]).arg(&a.dir).env_clear();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (send, reports) = mpsc::channel::<Value>();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = send.send(serde_json::from_str(&line).expect("one object a line"));
        }
    });
    let mut watched = engram_tests::processes::Process::new(child);
    let mut shown: Vec<Value> = Vec::new();
    let mut until_shown = |what: &str, holds: &dyn Fn(&Value) -> bool| {
        until(what, || {
            shown.extend(reports.try_iter());
            shown.last().is_some_and(holds)
        });
    };
    until_shown("the first report", &|report| report["sync"]["health"] == "healthy");
    for round in 0..3 {
        // Questions are no news; a pause and a save are.
        for question in [&["status"][..], &["held", "list"], &["projects"], &["list"]] {
            assert_eq!(a.ctl(question).code, 0);
        }
        assert_eq!(a.ctl(&["pause"]).code, 0);
        until_shown("the pause", &|report| report["sync"]["desired"] == "paused");
        let _ = a.save("demo", &format!("t{round}"), &format!("text {round}"));
        until_shown("the row", &|report| report["totals"]["pending"] != 0);
        assert_eq!(a.ctl(&["resume"]).code, 0);
        until_shown("the end", &|report| report["totals"]["pending"] == 0 && report["sync"]["health"] == "healthy");
    }
    watched.kill();
    let seen = |report: &Value| {
        let mut report = report.clone();
        report["daemon"]["loop_ticked_at"] = Value::Null;
        report["sync"]["lease"]["until"] = Value::Null;
        report
    };
    for pair in shown.windows(2) {
        assert_ne!(seen(&pair[0]), seen(&pair[1]), "the same was drawn twice");
    }
    assert!(shown.len() >= 9, "{}", shown.len());
}

/// REC-1: what is set right in the file, or told by SIGHUP, ends a block without a command.
#[test]
fn scenario_6_rec_1_a_reload_ends_a_block() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let gateway = Gateway::start(&cloud.url);
    let a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    until("it is at rest", || a.ctl(&["sync"]).code == 0);
    let body = r#"{"error":"unauthorized","error_class":"auth","error_code":"auth_required"}"#.to_owned();
    gateway.inside().instead = vec![Instead { path: "/sync", holding: "", status: 401, body }];
    let _ = a.save("demo", "t", "text");
    until("it is blocked", || a.report()["sync"]["phase"] == "blocked" && a.finds_reason("auth_required"));
    gateway.inside().instead.clear();
    // The next probe by itself is minutes away; the signal makes it now.
    a.daemon.signal(rustix::process::Signal::HUP);
    until("it is over", || a.ctl(&["status"]).code == 0);
    assert!(!a.ctl(&["events"]).out.contains(TOKEN));
}
