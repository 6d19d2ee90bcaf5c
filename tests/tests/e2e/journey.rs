//! The main job: a memory travels, is edited, is deleted; the server goes away and comes back.

use engram_tests::processes::{Cloud, Device, until};

#[test]
fn a_memory_travels_is_edited_and_deleted() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "Demo");
    let id = a.save("demo", "Use SQLite", "the source of truth");
    until("it is found on the other", || b.titles("source truth") == ["Use SQLite"]);
    let edited = b.json(&["update", &id, "--title", "Use SQLite in WAL mode"]);
    assert_eq!(edited["revision_count"], 2);
    until("the edit comes back", || a.titles("WAL") == ["Use SQLite in WAL mode"]);
    assert_eq!(a.ctl(&["delete", &id]).code, 0);
    until("the delete arrives", || b.titles("WAL").is_empty());
    let deleted = b.json(&["list", "--deleted"]);
    assert_eq!(deleted["observations"][0]["sync_id"], id.as_str());
}

/// REC-1, LOUD-1: an outage shows with its reason and exit code, local work goes on, and it ends by itself.
#[test]
fn rec_1_an_outage_shows_and_ends_by_itself() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    until("both are healthy", || [&a, &b].iter().all(|device| device.ctl(&["status"]).code == 0));
    cloud.process.kill();
    let _ = a.save("demo", "Written offline", "nothing is lost");
    until("the outage shows", || a.finds_reason("transport_failed"));
    let status = a.ctl(&["status"]);
    assert_eq!(status.code, 3);
    assert!(status.out.starts_with("Degraded: transport_failed"), "{status:?}");
    assert_eq!(a.report()["totals"]["pending"], 2, "the session and the memory");
    let sync = a.ctl(&["sync", "--json"]);
    assert_eq!((sync.code, &sync.json()["outcome"]), (3, &"blocked".into()), "{sync:?}");
    let _cloud = cloud.restart();
    until("it arrives without a restart of anybody", || b.titles("nothing lost") == ["Written offline"]);
    until("both are healthy again", || [&a, &b].iter().all(|device| device.ctl(&["status"]).code == 0));
}

/// SCOPE-1: what is not enrolled stays; enrolling later delivers its whole history once.
#[test]
fn scope_1_enrolling_later_delivers_the_history_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "shared");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "shared");
    for n in 0..30 {
        let _ = a.save("private", &format!("note {n}"), &format!("kept apart {n}"));
    }
    let _ = a.save("shared", "marker", "arrives");
    until("the enrolled one arrives", || b.titles("arrives").len() == 1);
    assert!(b.titles("apart").is_empty());
    let report = a.report();
    assert_eq!(report["totals"]["not_enrolled_pending"], 31);
    assert_eq!(a.ctl(&["status"]).code, 0, "it is information, not an error");
    assert_eq!(b.ctl(&["enroll", "private"]).code, 0);
    assert_eq!(a.ctl(&["enroll", "private"]).code, 0);
    until("all of it arrives", || b.titles("apart").len() == 30);
    let drained = a.json(&["sync"]);
    assert_eq!(drained["outcome"], "drained", "{drained}");
}

/// CONV-5, CONV-6: both edit, one deletes, offline; all agree in the end.
#[test]
fn conv_5_concurrent_edit_and_delete_agree() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    let ids: Vec<_> = (0..4).map(|n| a.save("demo", &format!("t{n}"), &format!("shared word {n}"))).collect();
    until("all are there", || b.titles("shared").len() == 4);
    cloud.process.kill();
    for id in &ids {
        assert_eq!(a.ctl(&["update", id, "--title", "by a"]).code, 0);
        assert_eq!(b.ctl(&["update", id, "--title", "by b"]).code, 0);
    }
    assert_eq!(a.ctl(&["delete", &ids[0]]).code, 0);
    assert_eq!(b.ctl(&["delete", "--hard", &ids[1]]).code, 0);
    let _cloud = cloud.restart();
    for device in [&a, &b] {
        until("it drains", || device.ctl(&["sync"]).code == 0);
    }
    assert_eq!(a.json(&["sync"])["outcome"], "drained");
    let all = |device: &Device| {
        let mut list = device.json(&["list", "--project", "demo"])["observations"].as_array().expect("a list").clone();
        list.sort_by_key(|one| one["sync_id"].to_string());
        list.iter().map(|one| format!("{} {}", one["sync_id"], one["title"])).collect::<Vec<_>>()
    };
    assert_eq!(all(&a), all(&b));
    assert_eq!(all(&a).len(), 2);
}

/// REC-1: a token that was mended in the file counts at once, without a command.
#[test]
fn rec_1_a_mended_token_counts_at_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let file = a.dir.join("cloud.json");
    let good = std::fs::read_to_string(&file).expect("it");
    std::fs::write(&file, good.replace("a-token", "no-token")).expect("written");
    until("the refusal shows", || a.finds_reason("auth_required"));
    let status = a.ctl(&["status"]);
    assert!(status.code == 3 && !status.out.contains("no-token"), "SECRET-1: {status:?}");
    std::fs::write(&file, good).expect("written");
    until("it is over", || a.ctl(&["status"]).code == 0);
}
