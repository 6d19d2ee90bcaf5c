//! A daemon's data directory has the name that a directory of chunks has, and is none: who shared it would share the token.

use crate::harness::{Person, files};
use engram_tests::processes::{Answer, Device, ctl_in};
use std::path::Path;

fn refused(answer: &Answer, dir: &Path) {
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(answer.err.contains(&format!("{} is a data directory", dir.display())), "{answer:?}");
    assert!(answer.err.contains("--dir"), "a next step: {answer:?}");
}

/// The default data directory is `.engram` in the home directory, and home may be a repository.
#[test]
fn secret_1_the_data_directory_is_no_place_for_chunks() {
    let temp = tempfile::tempdir().expect("a directory");
    let home = temp.path().join("home");
    std::fs::create_dir_all(home.join("src/app")).expect("a directory");
    std::fs::create_dir(home.join(".git")).expect("a directory");
    let device = Device::start(&home.join(".engram"));
    let _ = device.save("app", "a title", "a text");
    std::fs::write(device.dir.join("cloud.json"), r#"{"token": "secret"}"#).expect("written");
    let inside = || files(&home).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let before = inside();
    let data_dir = device.dir.to_str().expect("a path");
    for args in [&["init"][..], &["export", "--all"], &["import"], &["status", "--all"], &["verify"]] {
        let args: Vec<&str> = ["chunks"].iter().chain(args).copied().collect();
        refused(&ctl_in(&device.dir, &home, &args), &device.dir);
        refused(&ctl_in(&device.dir, temp.path(), &[&args[..], &["--dir", data_dir]].concat()), &device.dir);
        // Neither to somebody whose own is another.
        let other = temp.path().join("other");
        refused(&ctl_in(&other, &home, &[&args[..], &["--dir", data_dir]].concat()), &device.dir);
    }
    assert_eq!(inside(), before, "nothing was written");
    // Below home it is passed over, even with a manifest in it that an older program left.
    std::fs::write(device.dir.join("manifest.json"), r#"{"version":1,"chunks":[]}"#).expect("written");
    let app = home.join("src/app");
    assert_eq!(ctl_in(&device.dir, &app, &["chunks", "export", "--project", "app"]).code, 0);
    assert!(app.join(".engram/manifest.json").exists());
}

/// Before the first start nothing lies there that could be known.
#[test]
fn secret_1_what_will_be_the_data_directory_is_none_either() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    ana.must(&["init", "-q"]);
    let later = ana.place();
    refused(&ctl_in(&later, &ana.work, &["chunks", "init"]), &later);
    refused(&ctl_in(&ana.work.join("../ana-work/.engram"), &ana.work, &["chunks", "init"]), &later);
    assert!(!later.exists());
}
