//! Files that somebody writes over in their place, so that they stay the same file, while a command is under way: what is
//! read is whole or named, no chunk comes in by half, and nothing is written elsewhere (chunks.md 6).

use crate::between::Between;
use crate::harness::{Person, files, lay_packed};
use engram_tests::processes::{Answer, until};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// So many rows need three frames, and half of them still more than one.
const ROWS: i64 = 1_600;

/// One way to write over a file, by what was in it; and in words.
type Kind = (&'static str, fn(&File, &[u8]));

const KINDS: [Kind; 5] = [
    ("cut to nothing", |file, _| file.set_len(0).expect("cut")),
    ("cut in half", |file, honest| file.set_len(honest.len() as u64 / 2).expect("cut")),
    ("made longer", |file, honest| file.write_all_at(b"more", honest.len() as u64).expect("written")),
    ("other bytes in the middle", |file, honest| {
        let bytes = honest[honest.len() / 2..][..64].iter().map(|byte| byte ^ 0x20).collect::<Vec<u8>>();
        file.write_all_at(&bytes, honest.len() as u64 / 2).expect("written");
    }),
    ("something else", |mut file, _| {
        file.set_len(0).and_then(|()| file.write_all(b"{{{")).expect("written");
    }),
];

/// A file that stays where it is, with what was in it.
#[derive(Clone)]
struct Honest {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Honest {
    fn read(path: PathBuf) -> Self {
        let bytes = fs::read(&path).expect("a file");
        Self { path, bytes }
    }

    fn write_over(&self, (_, how): Kind) {
        how(&self.open(), &self.bytes);
    }

    fn restore(&self) {
        let file = self.open();
        file.write_all_at(&self.bytes, 0).and_then(|()| file.set_len(self.bytes.len() as u64)).expect("written");
    }

    /// Without a new file, and without cutting this one.
    fn open(&self) -> File {
        OpenOptions::new().write(true).open(&self.path).expect("a file")
    }

    fn inode(&self) -> u64 {
        self.path.metadata().expect("a file").ino()
    }
}

/// Lays a chunk of one session's memories in a repository of its own; returns its id and its file.
fn lay(ana: &mut Person, session: &str) -> (String, Honest) {
    ana.work = ana.work.with_file_name(session);
    let at = "2026-11-22 10:00:00";
    let memory = |n: i64| {
        let content = format!("text {n:04} ").repeat(140);
        format!(
            r#"{{"sync_id":"{session}-{n}","session_id":"{session}","type":"note","title":"{n}","content":"{content}","project":"app","scope":"project","created_at":"{at}","updated_at":"{at}"}}"#
        )
    };
    let memories: Vec<String> = (0..ROWS).map(memory).collect();
    let session = format!(r#"{{"id":"{session}","project":"app","directory":"/d","started_at":"{at}"}}"#);
    let text = format!(r#"{{"sessions":[{session}],"observations":[{}]}}"#, memories.join(","));
    let id = lay_packed(&ana.place(), text.as_bytes(), flate2::Compression::none());
    let entry = format!(
        r#"{{"id":"{id}","created_by":"ana","created_at":"2026-11-22T14:00:01Z","sessions":1,"memories":{ROWS},"prompts":0}}"#
    );
    fs::write(ana.place().join("manifest.json"), format!(r#"{{"version":1,"chunks":[{entry}]}}"#)).expect("written");
    let file = Honest::read(ana.place().join(format!("chunks/{id}.jsonl.gz")));
    (id, file)
}

/// All of a session's memories are in, or none; tells which.
fn is_in(ana: &Person, session: &str, what: &str) -> bool {
    let rows: i64 = ana.one(&format!("SELECT count(*) FROM observations WHERE session_id = '{session}'"));
    assert!([0, ROWS].contains(&rows), "{what}: {rows} of {ROWS} rows");
    rows != 0
}

/// It went well, or it names what is in its way.
fn is_named(answer: &Answer, id: &str, what: &str) {
    let names = [&answer.out, &answer.err].iter().any(|text| text.contains(id) || text.contains("manifest"));
    assert!(answer.code == 0 || [1, 5].contains(&answer.code) && names, "{what}: {answer:?}");
}

/// Once all is honest again, in its place, all of it is in, and nothing else lies there.
fn all_is_well(ana: &Person, session: &str, files_before: &[PathBuf], what: &str) {
    let import = ana.chunks(&["import"]);
    assert_eq!(import.code, 0, "{what}: {import:?}");
    assert!(is_in(ana, session, what), "{what}: {import:?}");
    assert_eq!(ana.chunks(&["verify"]).code, 0, "{what}");
    assert_eq!(paths(&ana.work), files_before, "{what}");
}

fn paths(dir: &Path) -> Vec<PathBuf> {
    files(dir).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn what_is_written_over_in_its_place_between_two_steps_is_named_or_was_read_whole() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut ana = Person::new(temp.path(), "ana");
    let between = Between::start(&ana);
    // Before the file is read; and with its first rows on their way, when there are more.
    for moment in ["meet", "rows"] {
        for kind in KINDS {
            let session = format!("{moment}-{}", kind.0.replace(' ', "-"));
            let what = format!("{} at {moment}", kind.0);
            let (id, honest) = lay(&mut ana, &session);
            let (before, inode) = (paths(&ana.work), honest.inode());
            let then = honest.clone();
            let (answer, was_asked) = between.at(moment, move || then.write_over(kind), (&ana, &["import"]));
            assert!(was_asked && honest.inode() == inode, "{what}");
            is_named(&answer, &id, &what);
            let is_in = is_in(&ana, &session, &what);
            assert_eq!((answer.code == 0, moment == "rows"), (is_in, is_in), "{what}: {answer:?}");
            honest.restore();
            all_is_well(&ana, &session, &before, &what);
        }
    }
}

#[test]
fn what_is_written_over_in_its_place_all_the_time_is_not_torn() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut ana = Person::new(temp.path(), "ana");
    for round in 0..4 {
        let (session, what) = (format!("round-{round}"), format!("round {round}"));
        let (id, chunk) = lay(&mut ana, &session);
        let manifest = Honest::read(ana.place().join("manifest.json"));
        let before = paths(&ana.work);
        let (ends, times) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let writing = {
            let (all, ends, times) = ([chunk.clone(), manifest], Arc::clone(&ends), Arc::clone(&times));
            std::thread::spawn(move || {
                for kind in KINDS.into_iter().cycle().take_while(|_| !ends.load(Ordering::Relaxed)) {
                    for one in &all {
                        one.write_over(kind);
                        one.restore();
                        times.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        for args in [&["verify"][..], &["import"], &["import"], &["import"], &["status", "--all"]] {
            let before = times.load(Ordering::Relaxed);
            until("it is written over", || times.load(Ordering::Relaxed) > before);
            let answer = ana.chunks(args);
            is_named(&answer, &id, &format!("{what}: {args:?}"));
            let _ = is_in(&ana, &session, &what);
        }
        ends.store(true, Ordering::Relaxed);
        writing.join().expect("no panic");
        all_is_well(&ana, &session, &before, &what);
    }
}
