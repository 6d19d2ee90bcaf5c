//! `chunks watch`: a process that imports what git brings, in whatever order its files come, until it is stopped.

#[cfg(target_os = "linux")]
use crate::between::Opens;
use crate::harness::{Person, client, lay_chunk};
use engram_tests::processes::until;
#[cfg(target_os = "linux")]
use rustix::fs::inotify::WatchFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;

/// A watching process, and what it says.
struct Watch {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Watch {
    fn start(person: &Person, dirs: &[&Path]) -> Self {
        let path = |end| person.device.dir.with_extension(end);
        let (out, err) = (path("watch-out"), path("watch-err"));
        let dirs = dirs.iter().map(|dir| dir.to_str().expect("a path"));
        let args: Vec<&str> = ["watch", "--json"].into_iter().chain(dirs).collect();
        let mut command = client(person, &args);
        command.stdout(File::create(&out).expect("a file")).stderr(File::create(&err).expect("a file"));
        Self { child: command.spawn().expect("it starts"), out, err }
    }

    /// What it has said: one object for each time at which there was something.
    fn said(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    }

    /// Counts the chunks that were imported from a directory.
    fn imported(&self, dir: &Path) -> u64 {
        let of = |said: &Value| said["dir"].as_str().is_some_and(|place| Path::new(place).starts_with(dir));
        self.said().iter().filter(|said| of(said)).filter_map(|said| said["chunks"].as_u64()).sum()
    }

    /// Counts how often something was passed over.
    fn named(&self, chunk: &str) -> usize {
        self.said().iter().filter(|said| said["skipped"].to_string().contains(chunk)).count()
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(&self.err).expect("a file")
    }

    fn stop(mut self, how: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), how).expect("a signal");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // One that has ended cannot be ended once more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exported(ana: &Person, title: &str) -> (String, Vec<u8>) {
    let _ = ana.device.save("app", title, "a text");
    let exported = ana.json(&["export", "--project", "app"]);
    let id = exported["chunks"][0]["id"].as_str().expect("an id").to_owned();
    let bytes = std::fs::read(ana.place().join(format!("chunks/{id}.jsonl.gz"))).expect("a chunk");
    (id, bytes)
}

fn put(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(".engram").join(name);
    std::fs::create_dir_all(path.parent().expect("above")).expect("a directory");
    std::fs::write(path, bytes).expect("written");
}

/// Waits until a directory has not changed for so long that two changes of it are told apart, by the clock of its files.
fn rest(dir: &Path) {
    let clock = tempfile::NamedTempFile::new_in(dir.ancestors().nth(3).expect("above")).expect("a file");
    until("the directory has rested", || {
        std::fs::write(&clock, "tick").expect("written");
        let [now, then] =
            [clock.path(), dir].map(|path| path.metadata().and_then(|data| data.modified()).expect("a time"));
        now.duration_since(then).is_ok_and(|age| age.as_secs() >= 4)
    });
}

#[test]
fn two_directories_are_watched_whatever_comes_first_and_whatever_breaks() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, mut bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    let [one, two] = ["one", "two"].map(|name| bob.work.join(name));
    for work in [&one, &two] {
        std::fs::create_dir_all(work.join(".git")).expect("a directory");
    }
    let watch = Watch::start(&bob, &[&one, &two]);
    until("both without chunks are named", || watch.errors().lines().count() == 2);
    assert!(watch.errors().contains("one/.engram does not exist"), "{}", watch.errors());

    // The manifest before its chunk, then the chunk.
    let (first, bytes) = exported(&ana, "first");
    let manifest = std::fs::read(ana.place().join("manifest.json")).expect("a manifest");
    put(&one, "manifest.json", &manifest);
    until("the missing chunk is named", || watch.named(&first) == 1);
    put(&one, &format!("chunks/{first}.jsonl.gz"), &bytes);
    until("the chunk is imported", || watch.imported(&one) == 1);
    // The chunk before its manifest, in the other directory.
    let (second, bytes) = exported(&ana, "second");
    put(&two, &format!("chunks/{second}.jsonl.gz"), &bytes);
    until("it comes in without a manifest", || watch.imported(&two) == 1);
    assert_eq!(bob.dump("app"), ana.dump("app"));

    // A broken chunk is named once, and what comes after it comes in, here and there.
    put(&one, "chunks/00000005.jsonl.gz", b"broken");
    until("the broken chunk is named", || watch.named("00000005") == 1);
    let (third, bytes) = exported(&ana, "third");
    put(&one, &format!("chunks/{third}.jsonl.gz"), &bytes);
    until("the next one comes in", || watch.imported(&one) == 2);
    let (fourth, bytes) = exported(&ana, "fourth");
    put(&two, &format!("chunks/{fourth}.jsonl.gz"), &bytes);
    until("there too", || watch.imported(&two) == 2);

    // A directory that vanishes is named; when it is back, it is read again.
    std::fs::remove_dir_all(two.join(".engram")).expect("removed");
    until("the vanished one is named", || watch.errors().matches("two/.engram does not exist").count() == 2);
    let (fifth, bytes) = exported(&ana, "fifth");
    put(&two, &format!("chunks/{fifth}.jsonl.gz"), &bytes);
    until("it is read again", || watch.imported(&two) == 3);

    // So is a daemon that is away.
    bob.device.daemon.kill();
    let (sixth, bytes) = exported(&ana, "sixth");
    put(&two, &format!("chunks/{sixth}.jsonl.gz"), &bytes);
    until("the daemon is missed", || watch.errors().contains("no daemon answers"));
    // For so long that the directory has rested: what could not be imported is not taken for seen.
    rest(&two.join(".engram/chunks"));
    bob.device.boot();
    until("it goes on with the daemon", || watch.imported(&two) == 4);
    assert_eq!(bob.dump("app"), ana.dump("app"));
    // The daemon is missed by both directories.
    assert!(watch.errors().lines().count() <= 5, "each was said once: {}", watch.errors());
    assert!(watch.named("00000005") <= 2, "once alone, and once beside the chunk that came: {:?}", watch.said());
    assert_eq!(std::fs::read_dir(two.join(".engram")).expect("a directory").count(), 1, "nothing was written");
    assert_eq!(watch.stop(Signal::TERM), Some(0));
}

#[test]
fn a_watch_ends_with_what_stops_it() {
    let temp = tempfile::tempdir().expect("a directory");
    let bob = Person::new(temp.path(), "bob");
    for (how, id) in [(Signal::INT, "s"), (Signal::TERM, "t")] {
        let row = format!(
            r#"{{"sessions":[{{"id":"{id}","project":"app","directory":"/d","started_at":"2026-11-22 10:00:00"}}]}}"#
        );
        let _ = lay_chunk(&bob.place(), row.as_bytes());
        let watch = Watch::start(&bob, &[&bob.work.clone()]);
        // By then it has listened for signals for long; one that comes while it begins to may be lost.
        until("it has imported", || watch.imported(&bob.work) == 1);
        assert_eq!(watch.stop(how), Some(0), "{how:?}");
    }
}

/// COST-1: a directory in which nothing changes is let alone, and a change wakes what watches it.
#[cfg(target_os = "linux")]
#[test]
fn cost_1_a_directory_at_rest_is_not_looked_at_before_it_changes() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    let (id, bytes) = exported(&ana, "first");
    put(&bob.work, &format!("chunks/{id}.jsonl.gz"), &bytes);
    let watch = Watch::start(&bob, &[&bob.work.clone()]);
    until("it is imported", || watch.imported(&bob.work) == 1);
    rest(&bob.place().join("chunks"));
    let opens = Opens::with(&bob.place(), WatchFlags::OPEN);
    let clock = temp.path().join("with/a/clock");
    until("nobody looks for as long as a directory rests", || {
        let _ = opens.of_any();
        std::fs::create_dir_all(&clock).and_then(|()| std::fs::write(clock.join("tick"), "")).expect("written");
        std::fs::remove_file(clock.join("tick")).expect("removed");
        rest(&clock);
        opens.of_any() == 0
    });
    let (id, bytes) = exported(&ana, "second");
    put(&bob.work, &format!("chunks/{id}.jsonl.gz"), &bytes);
    until("it wakes", || watch.imported(&bob.work) == 2);
    assert_eq!(watch.stop(Signal::TERM), Some(0));
}

/// What is put right in its place gives the directory no other name, and no other time.
#[test]
fn a_damaged_chunk_that_is_put_right_in_its_place_comes_in() {
    let temp = tempfile::tempdir().expect("a directory");
    let (ana, bob) = (Person::new(temp.path(), "ana"), Person::new(temp.path(), "bob"));
    let (id, bytes) = exported(&ana, "first");
    let name = format!("chunks/{id}.jsonl.gz");
    put(&bob.work, &name, b"cut short");
    let watch = Watch::start(&bob, &[&bob.work.clone()]);
    until("the damaged chunk is named", || watch.named(&id) == 1);
    // For so long that nothing which is young is looked at again.
    rest(&bob.place().join("chunks"));
    std::fs::write(bob.place().join(name), bytes).expect("written in its place");
    until("it comes in", || watch.imported(&bob.work) == 1);
    assert_eq!(bob.dump("app"), ana.dump("app"));
}
