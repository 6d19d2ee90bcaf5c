//! Exports and imports that are ended at any moment: the manifest is the old one or the new one, and the next run ends
//! the work.

use crate::harness::{Person, client, read_by_others};
use std::process::Stdio;

/// Ends a client after so many microseconds, unless it was done before.
fn cut(person: &Person, args: &[&str], after_us: u64) {
    let mut command = client(person, args);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    std::thread::sleep(std::time::Duration::from_micros(after_us));
    // One that is done already cannot be ended.
    let _ = child.kill();
    child.wait().expect("ended");
}

#[test]
fn exports_and_imports_that_are_ended_leave_no_torn_file() {
    let temp = tempfile::tempdir().expect("a directory");
    let (mut ana, mut bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    bob.work = ana.work.clone();
    for round in 0..24_u64 {
        for n in 0..3 {
            let _ = ana.device.save("app", &format!("round {round} {n}"), "a text to export");
        }
        // From the start of the process to long after its end.
        cut(&ana, &["export", "--project", "app"], round * 700);
        if let Ok(bytes) = std::fs::read(ana.place().join("manifest.json")) {
            let manifest: serde_json::Value = serde_json::from_slice(&bytes).expect("no manifest is torn");
            assert_eq!(manifest["version"], 1);
        }
        if ana.place().is_dir() {
            cut(&bob, &["import"], round * 500);
        }
        if round % 8 == 7 {
            bob.device.daemon.kill();
            bob.device.boot();
            ana.device.daemon.kill();
            ana.device.boot();
        }
    }
    let exported = ana.chunks(&["export", "--project", "app"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    read_by_others(&ana.place());
    assert_eq!(ana.json(&["export", "--project", "app"])["outcome"], "nothing");
    let imported = bob.chunks(&["import"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert_eq!(bob.dump("app"), ana.dump("app"));
    assert_eq!(ana.dump("app").matches("\"entity\":\"observation\"").count(), 24 * 3);
}

#[test]
fn dur_1_what_could_not_be_written_is_exported_by_the_next_one() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    // The file that is written first cannot be made: the export ends after the daemon has told its rows.
    let in_the_way = ana.place().join("chunks/.engramctl-writing");
    std::fs::create_dir_all(&in_the_way).expect("a directory");
    let _ = ana.device.save("app", "kept", "a text");
    let export = ana.chunks(&["export", "--project", "app"]);
    assert!(export.code == 1 && export.err.contains("cannot be used"), "{export:?}");
    std::fs::remove_dir(&in_the_way).expect("removed");
    assert_eq!(ana.json(&["export", "--project", "app"])["chunks"][0]["memories"], 1);
}
