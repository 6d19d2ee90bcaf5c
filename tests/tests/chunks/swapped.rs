//! Files that are swapped for others while a command is under way: at the moment between two of its steps, and all the
//! time. Nothing outside of the directory is read as a chunk or written, and once all is honest again, all comes in
//! (chunks.md 6).

use crate::between::Between;
use crate::harness::{Person, files, lay_chunk, lay_fixture, read_by_others};
use engram_tests::processes::Answer;
use rustix::fs::{CWD, Mode, mkfifoat};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A chunk of the fixture, and one that lies outside and has the right content for its name.
const ID: &str = "259f6ed7";
const STOLEN: &str =
    r#"{"sessions":[{"id":"s","project":"stolen","directory":"/d","started_at":"2026-11-22 10:00:00"}]}"#;

/// What a line begins with that names a chunk, or a row that waits for what is in one.
const NAMED: [&str; 6] = ["  skipped ", "  problem ", "  missing ", "  refused ", "  unlisted ", "  held "];

/// What a place is swapped for, and where it lies.
#[derive(Clone)]
struct Swap {
    work: PathBuf,
    place: PathBuf,
    /// A directory beside the repository, with a chunk that is as it should be.
    outside: PathBuf,
    /// The chunk's id; inside there is a file of that name, which is none.
    stolen: String,
    /// Where what is swapped is kept.
    away: PathBuf,
}

impl Swap {
    /// Lays a place with the fixture's chunks.
    fn new(ana: &Person) -> Self {
        lay_fixture(&ana.work);
        let [outside, away] = ["outside", "away"].map(|name| ana.work.with_extension(name));
        fs::create_dir_all(&away).expect("a directory");
        let stolen = lay_chunk(&outside, STOLEN.as_bytes());
        fs::write(outside.join("manifest.json"), r#"{"version":1,"chunks":[]}"#).expect("written");
        fs::write(ana.place().join(chunk(&stolen)), "none").expect("written");
        Self { work: ana.work.clone(), place: ana.place(), outside, stolen, away }
    }

    /// Puts something in the place of what has a name, as one step where the system has one.
    fn put(&self, (_, name, make): Kind) {
        let (path, new) = (self.path(name), self.away.join("new"));
        make(self, &new);
        let is_directory = |path: &Path| path.symlink_metadata().is_ok_and(|data| data.is_dir());
        if is_directory(&path) || is_directory(&new) {
            let _ = fs::rename(&path, self.away.join(if name == "chunks" { name } else { "old" }));
        }
        // An export may have made another directory there; then this one swap does not come about. Nor does one for another
        // name of the same file.
        let _ = fs::rename(&new, &path);
        let _ = fs::remove_file(&new).or_else(|_| fs::remove_dir(&new));
    }

    fn path(&self, name: &str) -> PathBuf {
        if name == "stolen" { self.place.join(chunk(&self.stolen)) } else { self.place.join(name) }
    }

    /// Makes all of it honest again.
    fn restore(&self) {
        // From above, so that nothing is reached by a link.
        for (path, kept) in [(self.place.clone(), "place"), (self.path("chunks"), "chunks")] {
            if path.symlink_metadata().is_ok_and(|data| !data.is_dir()) {
                fs::remove_file(&path).expect("removed");
            }
            let kept = self.away.join(kept);
            while kept.is_dir() && fs::rename(&kept, &path).is_err() {
                // Somebody made it again, and wrote there.
                for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                    let _ = fs::rename(entry.path(), kept.join(entry.file_name()));
                }
            }
        }
        for path in [self.path("stolen"), self.path(&chunk(ID)), self.path("manifest.json")] {
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
        lay_fixture(&self.work);
    }
}

fn chunk(id: &str) -> String {
    format!("chunks/{id}.jsonl.gz")
}

/// A command may go well, partly, or say which file is in its way; nothing else.
fn is_named(answer: &Answer, what: &str) {
    assert!([0, 1, 5].contains(&answer.code), "{what}: {answer:?}");
    let names = |text: &str| text.contains(".engram") || NAMED.iter().any(|word| text.contains(word));
    assert!(answer.code == 0 || names(&answer.out) || names(&answer.err), "{what}: {answer:?}");
    assert!(answer.code != 1 || answer.err.lines().count() == 1, "{what}: {answer:?}");
}

/// Nothing came from outside, nothing was written there, and what is honest comes in and goes out.
fn all_is_well(ana: &Person, swap: &Swap, outside: &[(PathBuf, Vec<u8>)], what: &str) {
    assert_eq!(files(&swap.outside), outside, "{what}");
    swap.restore();
    assert_eq!(files(&swap.outside), outside, "{what}");
    let import = ana.chunks(&["import"]);
    assert_eq!(import.code, 0, "{what}: {import:?}");
    assert_eq!(ana.one::<i64>("SELECT count(*) FROM sessions WHERE project = 'stolen'"), 0, "{what}");
    // What lies there and is not in the fixture's list is listed again, and that is no reason to complain.
    let export = ana.chunks(&["export", "--all"]);
    assert_eq!(export.code, 0, "{what}: {export:?}");
    let state = ana.json(&["status", "--all"]);
    assert_eq!((&state["to_import"], &state["to_export"]), (&0.into(), &0.into()), "{what}: {state}");
    assert_eq!(ana.chunks(&["verify"]).code, 0, "{what}");
    let (shared, mine): (_, String) = (
        read_by_others(&swap.place).to_string(),
        ana.one("SELECT group_concat(sync_id, ' ') FROM observations WHERE project = 'app'"),
    );
    assert!(mine.split(' ').all(|id| shared.contains(id)), "{what}: {mine} in {shared}");
}

/// What something is swapped for, in words; what is swapped; and how the other thing is made.
type Kind = (&'static str, &'static str, fn(&Swap, &Path));

const KINDS: [Kind; 11] = [
    ("a link to a chunk", "stolen", |swap, new| symlink(swap.outside.join(chunk(&swap.stolen)), new).expect("a link")),
    ("a hard link", "stolen", |swap, new| fs::hard_link(swap.outside.join(chunk(&swap.stolen)), new).expect("a link")),
    ("a pipe", "stolen", |_, new| mkfifoat(CWD, new, Mode::RWXU).expect("a pipe")),
    ("a directory", "stolen", |_, new| fs::create_dir(new).expect("a directory")),
    ("another chunk", "chunks/259f6ed7.jsonl.gz", |swap, new| {
        fs::copy(swap.outside.join(chunk(&swap.stolen)), new).map(drop).expect("a copy");
    }),
    ("a link to chunks", "chunks", |swap, new| symlink(swap.outside.join("chunks"), new).expect("a link")),
    ("a pipe for chunks", "chunks", |_, new| mkfifoat(CWD, new, Mode::RWXU).expect("a pipe")),
    ("a file for chunks", "chunks", |_, new| fs::write(new, "no directory").expect("written")),
    ("a link to a manifest", "manifest.json", |swap, new| {
        symlink(swap.outside.join("manifest.json"), new).expect("a link");
    }),
    ("a pipe for a manifest", "manifest.json", |_, new| mkfifoat(CWD, new, Mode::RWXU).expect("a pipe")),
    ("garbage for a manifest", "manifest.json", |_, new| fs::write(new, "{{{").expect("written")),
];

/// Swaps something at a moment of a command, in a directory that nobody has seen before; tells whether it came to that.
fn swapped_at(
    (ana, between): (&mut Person, &Between),
    (args, moment): (&[&str], &'static str),
    what: &str,
    swapping: impl FnOnce(&Swap) + Send + 'static,
) -> bool {
    let what = format!("{args:?} at {moment}: {what}");
    ana.work = ana.work.with_file_name(what.replace([' ', '/'], "-"));
    fs::create_dir_all(&ana.work).expect("a directory");
    let swap = Swap::new(ana);
    let outside = files(&swap.outside);
    let _ = ana.device.save("app", &what, "to be exported");
    let then = swap.clone();
    let (answer, was_asked) = between.at(moment, move || swapping(&then), (ana, args));
    is_named(&answer, &what);
    all_is_well(ana, &swap, &outside, &what);
    was_asked
}

#[test]
fn what_is_swapped_between_two_steps_is_named_or_does_not_matter() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut ana = Person::new(temp.path(), "ana");
    let between = Between::start(&ana);
    // After the files were listed and before one is read; before the new chunk is written; after it was.
    let export = &["export", "--all"];
    for moment in
        [(&["import"][..], "meet"), (&["import"], "rows"), (export, "meet"), (export, "export"), (export, "rows")]
    {
        for kind in KINDS {
            let came = swapped_at((&mut ana, &between), moment, kind.0, move |swap| swap.put(kind));
            assert!(came, "{moment:?}");
        }
    }
    let mut bob = Person::new(temp.path(), "bob");
    bob.work = ana.work.clone();
    assert_eq!(bob.json(&["import"])["outcome"], "imported");
    for project in ["app", "gamma"] {
        assert_eq!(bob.dump(project), ana.dump(project), "{project}");
    }
}

#[test]
fn the_place_itself_is_swapped_and_nothing_goes_where_it_leads() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut ana = Person::new(temp.path(), "ana");
    let between = Between::start(&ana);
    let export = &["export", "--all"];
    for moment in [(&["import"][..], "meet"), (export, "meet"), (export, "export"), (export, "rows")] {
        let came = swapped_at((&mut ana, &between), moment, "a link to a place", |swap| {
            fs::rename(&swap.place, swap.away.join("place")).expect("moved");
            symlink(&swap.outside, &swap.place).expect("a link");
        });
        assert!(came, "{moment:?}");
    }
}

#[test]
fn files_that_are_swapped_all_the_time_tear_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let swap = Swap::new(&ana);
    let outside = files(&swap.outside);
    let (ends, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let swapping = {
        let (swap, ends, swaps) = (swap.clone(), Arc::clone(&ends), Arc::clone(&swaps));
        std::thread::spawn(move || {
            for kind in KINDS.into_iter().cycle().take_while(|_| !ends.load(Ordering::Relaxed)) {
                // So often that it is what it was swapped for about as long as it is honest.
                for _ in 0..30 {
                    swap.put(kind);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
                swap.restore();
            }
        })
    };
    for round in 0..30 {
        let _ = ana.device.save("app", &format!("mine {round}"), "to be exported");
        let before = swaps.load(Ordering::Relaxed);
        for args in [&["import"][..], &["export", "--all"], &["verify"], &["status", "--all"]] {
            is_named(&ana.chunks(args), &format!("{args:?} in round {round}"));
        }
        assert!(swaps.load(Ordering::Relaxed) > before, "nothing was swapped");
    }
    ends.store(true, Ordering::Relaxed);
    swapping.join().expect("no panic");
    all_is_well(&ana, &swap, &outside, "in the end");
    let mut bob = Person::new(temp.path(), "bob");
    bob.work = ana.work.clone();
    assert_eq!(bob.json(&["import"])["outcome"], "imported");
    for project in ["app", "gamma"] {
        assert_eq!(bob.dump(project), ana.dump(project), "{project}");
    }
}
