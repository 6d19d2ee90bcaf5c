//! Exports and imports that are ended between two of their steps: the manifest is the old one or the new one, and the next
//! run ends the work (chunks.md 5).

use crate::harness::{Person, client, read_by_others};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is written before it takes its place.
const BESIDE: &str = ".engramctl-writing";

/// A step of an export that shows in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The chunk's file has its name; the manifest does not list it.
    ChunkPlaced,
    /// The manifest is begun, beside its place.
    ManifestBegun,
    /// It has its name; the daemon has not heard of it.
    ManifestPlaced,
}

impl Step {
    const ALL: [Self; 3] = [Self::ChunkPlaced, Self::ManifestBegun, Self::ManifestPlaced];

    /// Where it shows, and as what.
    fn shows(self, place: &Path) -> (PathBuf, WatchFlags, fn(&str) -> bool) {
        match self {
            Self::ChunkPlaced => (place.join("chunks"), WatchFlags::MOVED_TO, |name| name.ends_with(".gz")),
            Self::ManifestBegun => (place.to_owned(), WatchFlags::CREATE, |name| name == BESIDE),
            Self::ManifestPlaced => (place.to_owned(), WatchFlags::MOVED_TO, |name| name == "manifest.json"),
        }
    }
}

/// Runs a command, and ends it when something happens in a directory; tells whether it came to that.
fn cut(person: &Person, args: &[&str], dir: &Path, what: WatchFlags, is_it: impl Fn(&str) -> bool) -> bool {
    let events = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify");
    add_watch(&events, dir, what).expect("a watch");
    let mut child = client(person, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut buffer = [std::mem::MaybeUninit::uninit(); 1 << 12];
    let mut reader = Reader::new(&events, &mut buffer);
    let mut happened = false;
    while !happened && child.try_wait().expect("a child").is_none() {
        let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        poll(&mut [PollFd::new(&events, PollFlags::IN)], Some(&tick)).expect("a poll");
        while let Ok(event) = reader.next() {
            happened |= event.file_name().is_some_and(|name| is_it(&name.to_string_lossy()));
        }
    }
    // One that is done already cannot be ended.
    let _ = child.kill();
    happened && child.wait().expect("ended").code().is_none()
}

/// Makes the manifest so long that it is written for longer than a chunk is: its first one has an author of many names.
fn lengthen(place: &Path) {
    let path = place.join("manifest.json");
    let text = fs::read_to_string(&path).expect("a manifest");
    let (head, tail) = text.split_once("\"created_by\": \"").expect("an author");
    fs::write(path, format!("{head}\"created_by\": \"{}{tail}", "ana and ".repeat(1 << 20))).expect("written");
}

fn chunks(place: &Path) -> usize {
    let all = fs::read_dir(place.join("chunks")).expect("a directory");
    all.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(".gz")).count()
}

/// Two people with one directory, and how much there is to share.
struct Work {
    ana: Person,
    bob: Person,
    saved: usize,
}

const EXPORT: [&str; 3] = ["export", "--project", "app"];

impl Work {
    fn new(temp: &Path) -> Self {
        let (ana, mut bob) = (Person::new(temp, "ana"), Person::new(temp, "bob"));
        bob.work = ana.work.clone();
        Self { ana, bob, saved: 0 }
    }

    fn save(&mut self, text: &str) {
        self.saved += 1;
        let _ = self.ana.device.save("app", &format!("title {}", self.saved), text);
    }

    fn manifest(&self) -> Vec<u8> {
        let manifest = fs::read(self.ana.place().join("manifest.json")).expect("a manifest");
        let listed: Value = serde_json::from_slice(&manifest).expect("no manifest is torn");
        assert_eq!(listed["version"], 1);
        manifest
    }

    /// Ends what was cut off, after which nothing of that is left.
    fn mend(&self, what: &str) {
        let (ana, place) = (&self.ana, self.ana.place());
        let mended = ana.json(&EXPORT);
        assert!(mended["skipped"].as_array().is_some_and(Vec::is_empty), "{what}: {mended}");
        let is_left = |dir: &Path| dir.join(BESIDE).exists();
        assert!(!is_left(&place) && !is_left(&place.join("chunks")), "{what}: {mended}");
        assert_eq!(ana.json(&["verify"])["outcome"], "ok", "{what}");
        assert_eq!(ana.json(&EXPORT)["outcome"], "nothing", "{what}");
        let state = read_by_others(&place);
        assert_eq!(state["observations"].as_object().map(serde_json::Map::len), Some(self.saved), "{what}");
    }
}

#[test]
fn dur_1_an_export_that_is_ended_between_two_steps_tears_nothing_and_the_next_one_mends() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut work = Work::new(temp.path());
    let place = work.ana.place();
    work.save("a text to export");
    work.ana.json(&EXPORT);
    lengthen(&place);
    for step in Step::ALL {
        let (mut met, mut tries) = (0, 0);
        // Who ends the client sees a step when it was taken, and may come too late.
        while met < 3 {
            tries += 1;
            assert!(tries < 60, "{step:?} was met {met} times");
            work.save("a text to export");
            let (before, had) = (work.manifest(), chunks(&place));
            let (dir, what, is_it) = step.shows(&place);
            let was_cut = cut(&work.ana, &EXPORT, &dir, what, is_it);
            let (after, has) = (work.manifest(), chunks(&place));
            let is_met = match step {
                Step::ChunkPlaced => has == had + 1 && after == before,
                Step::ManifestBegun => place.join(BESIDE).exists() && after == before,
                Step::ManifestPlaced => has == had + 1 && after != before,
            };
            met += u32::from(was_cut && is_met);
            work.mend(&format!("{step:?}"));
            // An import is ended when it reads what is new.
            let (dir, is_chunk) = (place.join("chunks"), |name: &str| name.ends_with(".gz"));
            cut(&work.bob, &["import"], &dir, WatchFlags::OPEN, is_chunk);
        }
        for person in [&mut work.ana, &mut work.bob] {
            person.device.daemon.kill();
            person.device.boot();
        }
    }
    let imported = work.bob.chunks(&["import"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert_eq!(work.bob.dump("app"), work.ana.dump("app"));
    assert_eq!(work.ana.dump("app").matches("\"entity\":\"observation\"").count(), work.saved);
}

/// The system ends it where a file becomes too long, which is in the middle of a chunk.
#[test]
fn dur_1_an_export_that_is_ended_within_a_file_tears_nothing_and_the_next_one_mends() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut work = Work::new(temp.path());
    let place = work.ana.place();
    work.save("a text to export");
    work.ana.json(&EXPORT);
    // It does not shrink below so many blocks of 512 bytes.
    let mut dice = 1_u64;
    let noise = (0..40_000).map(|_| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + u8::try_from((dice >> 33) % 26).unwrap_or(0))
    });
    work.save(&noise.collect::<String>());
    let (before, had) = (work.manifest(), chunks(&place));
    let export = client(&work.ana, &EXPORT);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -c 0; ulimit -f 8; exec \"$@\"", "sh"])
        .arg(export.get_program())
        .args(export.get_args());
    limited.env_clear().env("ENGRAM_DATA_DIR", &work.ana.device.dir).current_dir(&work.ana.work);
    let ended = limited.output().expect("it runs").status;
    assert_eq!(ended.signal(), Some(Signal::XFSZ.as_raw()), "{ended}");
    let torn = fs::metadata(place.join("chunks").join(BESIDE)).expect("a file that was begun");
    assert_eq!((torn.len(), chunks(&place)), (8 * 512, had));
    assert_eq!(work.manifest(), before);
    work.mend("within a chunk");
}

#[test]
fn dur_1_what_could_not_be_written_is_exported_by_the_next_one() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    // The file that is written first cannot be made: the export ends after the daemon has told its rows.
    let in_the_way = ana.place().join("chunks/.engramctl-writing");
    fs::create_dir_all(&in_the_way).expect("a directory");
    let _ = ana.device.save("app", "kept", "a text");
    let export = ana.chunks(&EXPORT);
    assert!(export.code == 1 && export.err.contains("cannot be used"), "{export:?}");
    fs::remove_dir(&in_the_way).expect("removed");
    assert_eq!(ana.json(&EXPORT)["chunks"][0]["memories"], 1);
}
