//! `init` lets git merge by itself, wherever the repository lies and whatever rules it has.

use crate::harness::Person;
use engram_tests::processes::ctl_in;

#[test]
fn init_prepares_a_repository_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let outside = ana.chunks(&["init"]);
    assert!(outside.code == 2 && outside.err.contains("no git repository"), "{outside:?}");
    ana.must(&["init", "-q"]);
    std::fs::write(ana.work.join(".gitattributes"), "*.png binary").expect("written");
    assert_eq!(ana.json(&["init"])["attributes_written"], true);
    assert_eq!(ana.json(&["init"])["attributes_written"], false);
    let said = ana.must(&["check-attr", "merge", ".engram/manifest.json", ".engram/chunks/0123abcd.jsonl.gz", "a.png"]);
    assert_eq!(said.matches("merge: engram").count(), 2, "{said}");
    assert!(said.contains("a.png: merge: unset"), "{said}");
    // A rebase begins with a commit that may not have the file yet.
    std::fs::remove_file(ana.work.join(".gitattributes")).expect("removed");
    assert!(ana.must(&["check-attr", "merge", ".engram/manifest.json"]).contains("merge: engram"));
    assert!(ana.must(&["config", "merge.engram.driver"]).contains("merge-driver %O %A %B %P"));
}

/// Git's own words for a directory with a space in its name, with quotes, with what it takes for wildcards: the driver runs
/// there, and the command that is printed is one.
#[test]
fn init_quotes_what_git_and_a_shell_would_take_apart() {
    let temp = tempfile::tempdir().expect("a directory");
    for name in ["my notes", "a*b", "q\"u'o", "[te]am?", "back\\slash", "über", "#plain"] {
        let ana = Person::new(temp.path(), &format!("ana {name}"));
        ana.must(&["init", "-q"]);
        let dir = ana.work.join(name);
        std::fs::create_dir(&dir).expect("a directory");
        let init = ctl_in(&ana.device.dir, &ana.work, &["chunks", "init", "--dir", &format!("{name}/.engram")]);
        assert_eq!(init.code, 0, "{init:?}");
        let path = format!("{name}/.engram/manifest.json");
        let said = ana.must(&["check-attr", "-z", "merge", &path, &format!("{name}/.engram/chunks/0123abcd.jsonl.gz")]);
        assert_eq!(said.matches("\0merge\0engram\0").count(), 2, "{name}: {said}");
        assert!(!said.contains("not a valid attribute"), "{name}: {said}");
        let others = ana.must(&["check-attr", "merge", "axb/.engram/manifest.json", "notes/.engram/manifest.json"]);
        assert!(!others.contains("merge: engram"), "{name}: {others}");
        // What is printed is run by a shell, as somebody would who copies it.
        let _ = ana.device.save("app", "a title", "a text");
        let dir = dir.join(".engram");
        let args = ["chunks", "export", "--project", "app", "--dir", dir.to_str().expect("a path")];
        assert_eq!(ctl_in(&ana.device.dir, &ana.work, &args).code, 0);
        let json =
            ctl_in(&ana.device.dir, &ana.work, &["chunks", "init", "--dir", &format!("{name}/.engram"), "--json"]);
        assert_eq!(json.json()["commit"][1], format!("{name}/.engram"), "{json:?}");
        let command = init.out.split("Run: ").nth(1).and_then(|rest| rest.split("  then").next()).expect("a command");
        let mut shell = std::process::Command::new("sh");
        let ran = shell.arg("-c").arg(command.trim_end()).current_dir(&ana.work).output().expect("a shell");
        assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
        assert!(ana.must(&["ls-files", "-z"]).contains(&path), "{name}");
    }
}

/// Two people's exports in a directory with a space in its name are merged by the driver.
#[test]
fn the_driver_runs_below_a_directory_with_a_space() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    ana.must(&["init", "-q", "-b", "main"]);
    let export = |title: &str| {
        let _ = ana.device.save("app", title, "text");
        ana.json(&["export", "--project", "app", "--dir", "my notes/.engram"]);
        ana.must(&["add", "-A"]);
        ana.must(&["commit", "-q", "-m", title]);
    };
    std::fs::create_dir(ana.work.join("my notes")).expect("a directory");
    ana.json(&["init", "--dir", "my notes/.engram"]);
    export("first");
    ana.must(&["checkout", "-q", "-b", "side"]);
    export("second");
    ana.must(&["checkout", "-q", "main"]);
    std::fs::write(ana.work.join("my notes/.engram/chunks/.keep"), "").expect("written");
    export("third");
    ana.must(&["merge", "-q", "-m", "both", "side"]);
    let verified = ana.json(&["verify", "--dir", "my notes/.engram"]);
    assert!(verified["chunks"].as_u64().is_some_and(|chunks| chunks >= 3), "{verified}");
}

#[test]
fn init_says_to_add_only_what_can_be_added() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    ana.must(&["init", "-q"]);
    let first = ana.chunks(&["init"]);
    assert!(first.code == 0 && first.out.contains("Run: git add .gitattributes .engram"), "{first:?}");
    let below = ana.work.join("src");
    std::fs::create_dir(&below).expect("a directory");
    let deeper = ctl_in(&ana.device.dir, &below, &["chunks", "init"]);
    assert!(deeper.out.contains("git -C ") && deeper.out.contains(" add .gitattributes .engram"), "{deeper:?}");
    ana.must(&["add", "-A"]);
    ana.must(&["commit", "-q", "-m", "prepared"]);
    let again = ana.chunks(&["init"]);
    assert!(again.code == 0 && !again.out.contains("git add"), "nothing changed: {again:?}");
    for rule in [".engram", "*.gz"] {
        std::fs::write(ana.work.join(".gitignore"), rule).expect("written");
        let hidden = ana.chunks(&["init"]);
        assert_eq!(hidden.code, 5, "{hidden:?}");
        assert!(hidden.out.contains("git passes over .engram/") && !hidden.out.contains("git add"), "{hidden:?}");
        assert!(hidden.out.contains("git check-ignore -v .engram/"), "{hidden:?}");
    }
}

#[test]
fn what_stands_in_the_way_of_chunks_has_a_next_step() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    ana.must(&["init", "-q"]);
    let next_step = |answer: &engram_tests::processes::Answer, words: &str| {
        assert_eq!(answer.code, 1, "{answer:?}");
        let hint = answer.json()["error"]["hint"].as_str().unwrap_or_default().to_owned();
        assert!(hint.contains(words), "{words}: {answer:?}");
        assert!(!answer.out.contains("chunks verify"), "it names itself: {answer:?}");
    };
    let mut command = std::process::Command::new(engram_tests::processes::program("engramctl"));
    command
        .args(["chunks", "init", "--json"])
        .env_clear()
        .env("ENGRAM_DATA_DIR", &ana.device.dir)
        .current_dir(&ana.work);
    next_step(
        &engram_tests::processes::Answer::of(&command.env("PATH", "/nonexistent").output().expect("it ends")),
        "install git",
    );
    let driver =
        |file: &str| ana.chunks(&["merge-driver", file, file, file, ".engram/chunks/0123abcd.jsonl.gz", "--json"]);
    next_step(&driver("/nonexistent"), "engramctl chunks init");
    std::fs::write(ana.work.join("damaged"), "no chunk").expect("written");
    next_step(&driver("damaged"), "git log --all -- .engram/chunks/0123abcd.jsonl.gz");
    std::fs::write(ana.work.join("file"), "").expect("written");
    next_step(&ana.chunks(&["verify", "--dir", "file", "--json"]), "--dir");
}
