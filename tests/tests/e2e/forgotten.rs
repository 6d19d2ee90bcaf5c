//! What was deleted for good is gone, byte by byte (D16).

use engram_tests::processes::{Cloud, Device, until};
use std::path::Path;

const SECRET: &str = "the key lies under the third flower pot";
const EDITED: &str = "the key lies behind the fourth loose brick";

/// Tells whether a text stands in any file of a directory.
fn holds(dir: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    // A file may go while it is looked at: a log that was emptied.
    let bytes = files.filter_map(|file| if file.is_dir() { None } else { std::fs::read(file).ok() });
    bytes.into_iter().any(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
}

/// D16, D58: a memory is saved, edited, read elsewhere and deleted for good; then neither the server nor a device holds a
/// word of it, everybody agrees, and so does who comes later.
#[test]
fn d16_what_was_deleted_for_good_is_gone_everywhere() {
    let temp = tempfile::tempdir().expect("a directory");
    let at_cloud = temp.path().join("cloud");
    let cloud = Cloud::start_forgetful(&at_cloud);
    let mut a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let mut b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    let _ = a.save("demo", "Kept", "a note that stays");
    let id = a.save("demo", "Where it is", SECRET);
    until("it is found on the other", || b.titles("flower pot") == ["Where it is"]);
    assert!(holds(&at_cloud, SECRET));
    assert_eq!(a.ctl(&["update", &id, EDITED]).code, 0);
    until("the edit arrives", || b.titles("loose brick") == ["Where it is"]);
    until("the server forgets what was superseded", || !holds(&at_cloud, SECRET));
    assert!(holds(&at_cloud, EDITED), "what is current stays");
    assert_eq!(a.ctl(&["delete", &id, "--hard"]).code, 0);
    until("the delete arrives", || b.titles("loose brick").is_empty());
    until("the server forgets it", || !holds(&at_cloud, EDITED));
    let late = Device::enrolled(&temp.path().join("late"), &cloud, "demo");
    until("who comes later has what stays", || late.titles("note stays") == ["Kept"]);
    for device in [&a, &b, &late] {
        until("it drains", || device.ctl(&["sync"]).code == 0);
        assert!(!device.finds_reason("diverged"));
    }
    assert_eq!(b.titles("note stays"), ["Kept"]);
    for device in [&mut a, &mut b] {
        assert_eq!(device.daemon.terminate(), Some(0));
        for text in [SECRET, EDITED] {
            assert!(!holds(&device.dir, text), "{text} in {:?}", device.dir);
        }
    }
}
