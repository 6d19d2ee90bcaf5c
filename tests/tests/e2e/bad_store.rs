//! A store, a disk or a directory that cannot be used: one clear line with the next step, and nothing there changes.

use engram_tests::processes::{Answer, Device, Process, ctl, daemon, program, until};
use engram_tests::sound;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Reads every file of a directory but the lock, which says who looked last.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.file_name() != "engramd.lock");
    files.map(|file| (file.file_name().display().to_string(), std::fs::read(file.path()).expect("a file"))).collect()
}

/// Starts a daemon that must refuse: returns the one line that says why.
fn refusal(command: &mut Command) -> String {
    let refused = Answer::of(&command.arg("--log-level").arg("error").output().expect("it ends"));
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
    assert_eq!(refused.err.trim().lines().count(), 1, "{refused:?}");
    refused.err
}

/// DUR-1: a file that is no store of ours stays as it is, byte by byte.
#[test]
fn a_file_that_is_no_store_of_ours_is_left_alone() {
    let temp = tempfile::tempdir().expect("a directory");
    let made = |name: &str| {
        let dir = temp.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        dir
    };
    let garbage = made("garbage");
    std::fs::write(garbage.join("engram.db"), [0x5a; 8_192]).expect("written");
    let foreign = made("foreign");
    let store = rusqlite::Connection::open(foreign.join("engram.db")).expect("a file");
    store.execute_batch("CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('x');").expect("written");
    drop(store);
    let newer = made("newer");
    let mut device = Device::start(&newer);
    let _ = device.save("demo", "kept", "what a newer engramd wrote");
    assert_eq!(device.daemon.terminate(), Some(0));
    let store = rusqlite::Connection::open(newer.join("engram.db")).expect("the store");
    store.execute("UPDATE engramd_meta SET value = '9.0' WHERE key = 'schema'", []).expect("written");
    drop(store);
    for (dir, words) in [
        (&garbage, &["store_corrupt", "restore a backup"][..]),
        (&foreign, &["songs", "--data-dir"]),
        (&newer, &["store_newer", "upgrade engramd"]),
    ] {
        let before = contents(dir);
        let line = refusal(&mut daemon(dir));
        assert!(words.iter().all(|word| line.contains(word)) && line.contains("engram.db"), "{line}");
        assert_eq!(contents(dir), before, "{line}");
        assert_eq!(ctl(dir, &["status"], "").code, 4, "nobody answers");
    }
}

/// A small file system of its own, unmounted with its value.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// Mounts one; none where this user may not, which is said.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir(at).expect("a directory");
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        say_skipped("a full disk: only root may mount a small one");
        None
    }

    fn fill(&self) {
        let mut filler = std::fs::File::create(self.0.join("filler")).expect("a file");
        // It ends with the disk.
        while std::io::Write::write_all(&mut filler, &[1; 512]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A test that could not look says so.
fn say_skipped(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// DUR-1: a full disk refuses a save with its reason and keeps nothing of it; with room again it works on.
#[test]
fn dur_1_a_full_disk_is_said_and_gone_with_room() {
    let temp = tempfile::tempdir().expect("a directory");
    let Some(disk) = is_root().then(|| SmallDisk::mount(&temp.path().join("disk"), "4m")).flatten() else {
        return say_skipped("a full disk");
    };
    let dir = disk.0.join("data");
    std::fs::create_dir(&dir).expect("a directory");
    disk.fill();
    let line = refusal(&mut daemon(&dir));
    assert!(line.contains("store_full") && line.contains("free some space"), "{line}");
    disk.make_room();

    let mut device = Device { daemon: start(&dir), dir };
    until("the daemon answers", || device.ctl(&["status"]).code != 4);
    let _ = device.save("demo", "before", "there was room");
    disk.fill();
    let content = "too much ".repeat(4_000);
    let mut refused = None;
    until("the disk is full", || {
        let answer = device.ctl(&["save", "--project", "demo", "--title", "full", "--json", &content]);
        let full = answer.code != 0;
        refused = full.then_some(answer);
        full
    });
    let refused = refused.expect("a refusal");
    assert_eq!((refused.code, &refused.json()["error"]["reason_code"]), (1, &"store_full".into()), "{refused:?}");
    assert!(refused.err.contains("free some space") && refused.err.lines().count() == 1, "{refused:?}");
    says_in_status(&device, "store_full", &["df", "-h"]);
    disk.make_room();
    until("it works on", || {
        device.ctl(&["save", "--project", "demo", "--title", "after", "there is room again"]).code == 0
    });
    until("nothing is wrong any more", || device.ctl(&["status"]).code == 0);
    // Whoever saves nothing after making room hears of it all the same.
    disk.fill();
    until("the disk is full again", || {
        device.ctl(&["save", "--project", "demo", "--title", "full", &content]).code != 0
    });
    says_in_status(&device, "store_full", &["df", "-h"]);
    disk.make_room();
    until("it is found", || {
        let _ = device.ctl(&["sync"]);
        device.ctl(&["status"]).code == 0
    });
    assert_eq!((device.titles("before there").len(), device.titles("room again").len()), (1, 1));
    assert_eq!(device.daemon.terminate(), Some(0));
    let store = rusqlite::Connection::open(device.dir.join("engram.db")).expect("the store");
    assert_eq!(sound::faults(&store), Vec::<String>::new());
}

/// Waits until the status says what commands met, with no cloud configured, and runs the command that it names.
fn says_in_status(device: &Device, code: &str, hint: &[&str]) {
    until("the status says it", || device.ctl(&["status"]).code == 3);
    let findings = device.report()["findings"].as_array().expect("a list").clone();
    let wrong: Vec<_> = findings.iter().filter(|finding| finding["severity"] != "info").collect();
    assert_eq!(wrong.len(), 1, "{findings:?}");
    assert_eq!((&wrong[0]["code"], &wrong[0]["scope"]), (&code.into(), &"daemon".into()), "{wrong:?}");
    let words: Vec<&str> = wrong[0]["hint"].as_str().expect("a command").split(' ').collect();
    assert_eq!(words, [hint, &[device.dir.to_str().expect("a path")]].concat(), "{wrong:?}");
    let ran = Command::new(words[0]).args(&words[1..]).output().expect("it runs");
    assert!(ran.status.success(), "{words:?}");
}

/// LOUD-1: damage that a command met is in the status, with what to do, until the store is whole.
#[test]
fn loud_1_damage_that_a_command_met_is_in_the_status() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut device = Device::start(&temp.path().join("a"));
    for n in 0..40 {
        let _ = device.save("demo", &format!("title {n}"), &"text ".repeat(400));
    }
    assert_eq!(device.ctl(&["status"]).code, 0);
    assert_eq!(device.daemon.terminate(), Some(0));
    let path = device.dir.join("engram.db");
    let good = std::fs::read(&path).expect("the store");
    let root: u32 = rusqlite::Connection::open(&path)
        .and_then(|store| {
            store.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'observations'", [], |row| row.get(0))
        })
        .expect("a page");
    let mut damaged = good.clone();
    let at = (root as usize - 1) * 4_096;
    damaged[at..at + 4_096].fill(0x5a);
    std::fs::write(&path, &damaged).expect("written");
    device.boot();
    let list = device.ctl(&["list", "--project", "demo", "--json"]);
    assert_eq!((list.code, &list.json()["error"]["reason_code"]), (1, &"store_corrupt".into()), "{list:?}");
    assert!(!list.err.contains("engramctl sync"), "what cannot help: {list:?}");
    says_in_status(&device, "store_corrupt", &["ls", "-l"]);
    // What works elsewhere mends nothing.
    let _ = device.ctl(&["session", "list"]);
    let _ = device.ctl(&["sync"]);
    says_in_status(&device, "store_corrupt", &["ls", "-l"]);
    assert_eq!(device.daemon.terminate(), Some(0));
    std::fs::write(&path, &good).expect("a backup");
    device.boot();
    assert_eq!(device.ctl(&["list", "--project", "demo"]).code, 0);
    assert_eq!(device.ctl(&["status"]).code, 0);
}

/// DOOR-1: an older store, or one that the Go program made, may be open to others.
#[test]
fn door_1_a_store_that_was_open_to_others_is_tightened() {
    use std::os::unix::fs::PermissionsExt as _;
    let temp = tempfile::tempdir().expect("a directory");
    let mut device = Device::start(&temp.path().join("a"));
    let _ = device.save("demo", "kept", "a text");
    assert!(device.dir.join("engram.db-wal").exists());
    // Killed, so that the log stays beside it.
    device.daemon.kill();
    let all = ["engram.db", "engram.db-wal", "engram.db-shm"].map(|name| device.dir.join(name));
    for file in &all {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).expect("opened");
    }
    device.boot();
    let _ = device.save("demo", "more", "a text");
    for file in &all {
        let mode = file.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
}

/// Starts a daemon that logs to nobody: its own disk may be the full one.
fn start(dir: &Path) -> Process {
    let mut command = daemon(dir);
    let quiet = std::process::Stdio::null;
    Process::new(command.stdout(quiet()).stderr(quiet()).spawn().expect("it starts"))
}

/// A directory, a file of settings, a socket of somebody else: each is named, with what to do.
#[test]
fn door_1_what_belongs_to_somebody_else_is_named() {
    if !is_root() {
        return say_skipped("another user: only root may become one");
    }
    const NOBODY: u32 = 65_534;
    let temp = tempfile::tempdir().expect("a directory");
    let open = |path: &Path, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    };
    open(temp.path(), 0o755);
    let copy = |name: &str| {
        // What was built may lie where nobody else may look.
        let copy = temp.path().join(name);
        std::fs::copy(program(name), &copy).expect("copied");
        copy
    };
    let (engramd, engramctl) = (copy("engramd"), copy("engramctl"));
    for (name, mode) in [("closed", 0o700), ("readable", 0o755)] {
        let dir = temp.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        open(&dir, mode);
        let mut command = Command::new(&engramd);
        let line = refusal(command.arg("--data-dir").arg(&dir).env_clear().uid(NOBODY).gid(NOBODY));
        assert!(line.contains(name) && line.contains("check who owns it"), "{line}");
        assert!(contents(&dir).is_empty(), "nothing was made");
    }
    // A store that this user may not write, in a directory of his: it is no damage.
    for mode in [0o600, 0o644] {
        let dir = temp.path().join(format!("store {mode:o}"));
        std::fs::create_dir(&dir).expect("a directory");
        let mut device = Device::start(&dir);
        assert_eq!(device.daemon.terminate(), Some(0));
        open(&dir.join("engram.db"), mode);
        std::fs::remove_file(dir.join("engramd.lock")).expect("removed");
        std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY)).expect("given away");
        let mut command = Command::new(&engramd);
        let line = refusal(command.arg("--data-dir").arg(&dir).env_clear().uid(NOBODY).gid(NOBODY));
        assert!(line.contains("no permission") && line.contains("chown or chmod"), "{line}");
        assert!(!line.contains("store_corrupt") && !line.contains("failed"), "{line}");
    }
    let device = Device::start(&temp.path().join("roots"));
    let mut command = Command::new(&engramctl);
    command.arg("--data-dir").arg(&device.dir).arg("status").env_clear().uid(NOBODY).gid(NOBODY);
    let refused = Answer::of(&command.output().expect("it ends"));
    assert_eq!((refused.code, refused.err.trim().lines().count()), (4, 1), "{refused:?}");
    assert!(refused.err.contains("somebody else") && !refused.err.contains("engramd run"), "{refused:?}");
}
