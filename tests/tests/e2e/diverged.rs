//! A device and a cloud that should agree and do not: rows that were changed behind the daemon's back, a digest that differs.
//! It is `diverged`, and the command that status names ends it (CONV-1).

use crate::replaced::{follow, memories, sync};
use engram_tests::gateway::{Gateway, Instead};
use engram_tests::processes::{Cloud, Device, until};
use serde_json::{Value, json};

/// Changes a store while its daemon is down, as if a day had passed since its rows were looked at.
fn behind_its_back(device: &mut Device, sql: &str) {
    device.daemon.terminate();
    let store = rusqlite::Connection::open(device.dir.join("engram.db")).expect("the store");
    let past = "INSERT OR REPLACE INTO engramd_meta (key, value) VALUES ('rechecked_at', '2026-01-01 00:00:00');";
    store.execute_batch(&format!("{sql}; {past}")).expect("changed");
    drop(store);
    device.boot();
}

fn events_tell(device: &Device, words: &str) -> bool {
    device.ctl(&["events", "--json"]).out.contains(words)
}

/// CONV-1: rows that were changed behind the daemon's back raise `diverged` at the next daily pass, and are put right.
#[test]
fn conv_1_rows_changed_behind_its_back_are_said_and_put_right() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let mut a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let changed = a.save("demo", "as it was", "a text");
    let lost = a.save("demo", "lost", "a text");
    let deleted = a.save("demo", "deleted", "a text");
    assert_eq!(a.ctl(&["delete", &deleted]).code, 0);
    sync(&a);
    let before = memories(&a, "demo");
    behind_its_back(
        &mut a,
        &format!(
            "UPDATE observations SET title = 'another' WHERE sync_id = '{changed}';
             UPDATE observations SET deleted_at = NULL WHERE sync_id = '{deleted}';
             DELETE FROM observations WHERE sync_id = '{lost}'"
        ),
    );
    until("it is said", || events_tell(&a, "diverged: "));
    until("it is put right", || memories(&a, "demo") == before && !a.finds_reason("diverged"));
    sync(&a);
}

/// CONV-1, LOUD-1: a digest that is not the cloud's raises `diverged`, and the hint ends it.
#[test]
fn conv_1_a_digest_that_differs_is_said_and_ended_by_its_hint() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let mut a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let _ = a.save("demo", "one", "a text");
    let _ = a.save("demo", "two", "a text");
    sync(&a);
    let before = memories(&a, "demo");
    behind_its_back(&mut a, &format!("UPDATE engramd_digest SET digest = '{}'", "1".repeat(32)));
    until("it is said", || a.finds_reason("diverged"));
    let report = a.report();
    assert_eq!(
        (&report["projects"][0]["state"], &report["projects"][0]["reason_code"]),
        (&json!("degraded"), &json!("diverged"))
    );
    follow(&a, &diverged(&a).expect("it is said"));
    until("it is over", || !a.finds_reason("diverged") && a.report()["projects"][0]["state"] == "healthy");
    assert_eq!(memories(&a, "demo"), before);
}

fn diverged(device: &Device) -> Option<Value> {
    let report = device.report();
    let all = report["findings"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["code"] == "diverged")
}

/// CONV-1, LOUD-1: as long as a changed row cannot be put right, status says so and names the row; mirroring ends it.
#[test]
fn conv_1_loud_1_a_changed_row_is_in_the_status_until_its_project_is_mirrored_again() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let gateway = Gateway::start(&cloud.url);
    let mut a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    let changed = a.save("demo", "as it was", "a text");
    sync(&a);
    let before = memories(&a, "demo");
    // No row can be read anew: it stays as it is.
    let away = Instead { path: "/sync/mutations/pull", holding: "", status: 502, body: "{}".to_owned() };
    gateway.inside().instead = vec![away];
    behind_its_back(&mut a, &format!("UPDATE observations SET title = 'another' WHERE sync_id = '{changed}'"));
    until("it is said", || diverged(&a).is_some());
    let finding = diverged(&a).expect("it stays");
    assert_eq!((&finding["severity"], &finding["project"]), (&json!("error"), &json!("demo")), "{finding}");
    assert!(finding["message"].as_str().is_some_and(|words| words.contains(&changed)), "{finding}");
    let status = a.ctl(&["status"]);
    assert!(status.code == 3 && status.out.contains("engramctl cloud remirror demo"), "{status:?}");
    assert_ne!(memories(&a, "demo"), before);
    follow(&a, &finding);
    gateway.inside().instead.clear();
    sync(&a);
    until("it is over", || diverged(&a).is_none() && a.ctl(&["status"]).code == 0);
    assert_eq!(memories(&a, "demo"), before);
}
