//! Two devices change one memory, and neither has seen the other's change (CONV-6).

use engram_tests::processes::{Cloud, Device, until};
use serde_json::Value;

fn conflicts(device: &Device) -> Vec<Value> {
    device.json(&["conflicts", "list"])["conflicts"].as_array().expect("a list").clone()
}

fn content(device: &Device, id: &str) -> String {
    device.json(&["get", id])["observations"][0]["content"].as_str().unwrap_or_default().to_owned()
}

/// CONV-6: the text that lost is listed, can be read, comes back and arrives at the other device.
#[test]
fn conv_6_what_lost_is_listed_shown_restored_and_travels() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut cloud = Cloud::start(&temp.path().join("cloud"));
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    assert_eq!(conflicts(&a).len(), 0, "an empty list is an answer");
    assert_eq!(a.ctl(&["conflicts", "list"]).out, "No conflicts.\n");
    let id = a.save("demo", "Plan", "the first text");
    until("it is there", || b.titles("first").len() == 1);
    cloud.process.kill();
    // More revisions within the same second win, and later seconds win: b wins either way.
    assert_eq!(a.ctl(&["update", &id, "written on a"]).code, 0);
    for text in ["draft", "written on b"] {
        assert_eq!(b.ctl(&["update", &id, text]).code, 0);
    }
    let _cloud = cloud.restart();
    until("both show the same", || content(&a, &id) == "written on b" && content(&b, &id) == "written on b");
    // Whose push came second notices: its edit was pending, or has the later number.
    // The draft may have lost as well, on its way.
    let mut found = None;
    until("the loser is listed", || {
        found = [(&a, &b), (&b, &a)].into_iter().find_map(|(there, other)| {
            let mut all = conflicts(there).into_iter();
            let text = |number: &Value| there.json(&["conflicts", "show", &number.to_string()])["conflicts"][0].clone();
            let lost = all.find(|lost| text(&lost["id"])["payload"]["content"] == "written on a")?;
            Some((there, other, lost))
        });
        found.is_some()
    });
    let (there, other, lost) = found.expect("it was found");
    assert_eq!((&lost["entity_key"], &lost["title"]), (&Value::from(id.as_str()), &"Plan".into()));
    let number = lost["id"].to_string();
    let shown = there.json(&["conflicts", "show", &number])["conflicts"][0].clone();
    assert_eq!(shown["payload"]["content"], "written on a");
    assert_eq!(shown["current"]["payload"]["content"], "written on b");
    let people = there.ctl(&["conflicts", "show", &number]).out;
    assert!(people.contains("content: written on a") && people.contains("content: written on b"), "{people}");

    let restored = there.json(&["conflicts", "restore", &number]);
    assert_eq!(restored["outcome"], "restored");
    until("it arrives at the other device", || content(other, &id) == "written on a");
    assert_eq!(content(there, &id), "written on a");
    assert!(conflicts(there).iter().all(|left| left["id"] != lost["id"]), "it is listed no more");
    let again = there.ctl(&["conflicts", "restore", &number, "--json"]);
    assert_eq!((again.code, &again.json()["error"]["reason_code"]), (1, &"not_found".into()), "{again:?}");
    until("both are healthy", || [&a, &b].iter().all(|device| device.ctl(&["status"]).code == 0));
}
