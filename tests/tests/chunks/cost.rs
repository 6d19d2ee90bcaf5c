//! COST-1 between client, daemon and directory: how many questions are asked and how many files are opened, whatever has
//! gathered in the directory.

use crate::harness::{Person, client, lay_chunk};
use engram_proto::ipc::chunks::ChunksRequest;
use engram_proto::ipc::codec::{self, LENGTH_BYTES};
use engram_proto::ipc::hello::{HEAD_BYTES, Hello};
use engram_proto::ipc::request::{Request, RequestBody};
use engram_tests::processes::{Answer, until};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Stands between client and daemon, and keeps what the client says.
struct Between {
    socket: PathBuf,
    said: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Between {
    fn start(person: &Person) -> Self {
        let socket = person.device.dir.with_extension("between");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (daemon, said) = (person.device.dir.join("engramd.sock"), Arc::<Mutex<Vec<Vec<u8>>>>::default());
        let kept = Arc::clone(&said);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(daemon) = UnixStream::connect(&daemon) else { continue };
                let at = {
                    let mut kept = kept.lock().expect("no panic");
                    kept.push(Vec::new());
                    kept.len() - 1
                };
                let (mut from, mut to) = (daemon.try_clone().expect("a stream"), client.try_clone().expect("a stream"));
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    listen(client, daemon, |bytes| {
                        kept.lock().expect("no panic")[at].extend_from_slice(bytes);
                    });
                });
            }
        });
        Self { socket, said }
    }

    /// Runs a command, and returns the names of what it asked.
    fn asked(&self, person: &Person, args: &[&str]) -> Vec<&'static str> {
        let (answer, asked) = self.run(person, args);
        assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
        asked
    }

    /// Does the same, however the command ends.
    fn ask(&self, person: &Person, args: &[&str]) -> Vec<&'static str> {
        self.run(person, args).1
    }

    fn run(&self, person: &Person, args: &[&str]) -> (Answer, Vec<&'static str>) {
        self.said.lock().expect("no panic").clear();
        let answer = Answer::of(&client(person, args).env("ENGRAMD_SOCKET", &self.socket).output().expect("it runs"));
        let said = std::mem::take(&mut *self.said.lock().expect("no panic"));
        (answer, said.iter().flat_map(|bytes| requests(bytes)).collect())
    }
}

fn listen(mut client: UnixStream, mut daemon: UnixStream, mut keep: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        keep(&buffer[..read]);
        if daemon.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
    // Whoever is gone hears nothing.
    let _ = daemon.shutdown(std::net::Shutdown::Both);
}

/// Reads what a client said on one connection.
fn requests(bytes: &[u8]) -> Vec<&'static str> {
    let head: [u8; HEAD_BYTES] = bytes[..HEAD_BYTES].try_into().expect("a Hello");
    let mut rest = &bytes[HEAD_BYTES + Hello::build_bytes(&head).expect("a Hello")..];
    let mut names = Vec::new();
    while let Some((length, after)) = rest.split_at_checked(LENGTH_BYTES) {
        let body = codec::body_bytes(length.try_into().expect("a length")).expect("a length");
        let request: Request = codec::decode(&after[..body]).expect("a request");
        rest = &after[body..];
        names.push(match request.body {
            RequestBody::Chunks(request) => match request {
                ChunksRequest::Settled { .. } => "settled",
                ChunksRequest::Settle { .. } => "settle",
                ChunksRequest::Meet { .. } => "meet",
                ChunksRequest::Found { .. } => "found",
                ChunksRequest::Rows { .. } => "rows",
                ChunksRequest::Imported { .. } => "imported",
                ChunksRequest::Export { .. } => "export",
                ChunksRequest::Exported { .. } => "exported",
            },
            _ => "else",
        });
    }
    names
}

/// Counts which names in a directory are opened.
struct Opens(OwnedFd);

impl Opens {
    fn of(place: &Path) -> Self {
        Self::with(place, WatchFlags::OPEN)
    }

    fn with(place: &Path, what: WatchFlags) -> Self {
        let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify");
        for dir in [place.to_owned(), place.join("chunks")] {
            add_watch(&fd, &dir, what).expect("a watch");
        }
        Self(fd)
    }

    /// What was opened since the last time, by name, and how often.
    fn take(&self) -> BTreeMap<String, u32> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1 << 14];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut opened = BTreeMap::new();
        while let Ok(event) = reader.next() {
            if let Some(name) = event.file_name() {
                *opened.entry(name.to_string_lossy().into_owned()).or_default() += 1;
            }
        }
        opened
    }
}

fn row(n: usize) -> String {
    let (session, at) =
        (r#"{"id":"s","project":"app","directory":"/d","started_at":"2026-11-22 10:00:00"}"#, "2026-11-22 10:00:01");
    format!(
        r#"{{"sessions":[{session}],"observations":[{{"sync_id":"obs-{n}","session_id":"s","type":"note","title":"t {n}","content":"c","project":"app","scope":"project","created_at":"{at}","updated_at":"{at}"}}],"prompts":[]}}"#
    )
}

#[test]
fn cost_1_questions_and_files_go_by_what_is_new() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let (between, place) = (Between::start(&ana), ana.place());
    let mut next = 0;
    let mut lay = |count: usize| {
        next += count;
        (next - count..next).map(|n| lay_chunk(&place, row(n).as_bytes())).collect::<Vec<_>>()
    };
    lay(1);
    let opens = Opens::of(&place);
    for before in [20, 200] {
        lay(before);
        // Many small chunks are given at once.
        let asked = between.asked(&ana, &["import"]);
        assert_eq!(asked, ["meet", "found", "rows", "imported"], "{before} chunks");
        assert_eq!(between.asked(&ana, &["import"]), ["meet"]);
        let _ = opens.take();
        // Of what is new, each file is opened once, and nothing else of what has gathered.
        let new = lay(3);
        let _ = opens.take();
        assert_eq!(between.asked(&ana, &["import"]), ["meet", "rows", "imported"], "few are not asked for");
        let opened = opens.take();
        let chunks: Vec<_> = opened.iter().filter(|(name, _)| name.ends_with(".gz")).collect();
        assert_eq!(chunks.len(), new.len(), "{opened:?}");
        assert!(
            chunks.iter().all(|(name, times)| new.iter().any(|id| name.starts_with(id)) && **times == 1),
            "{opened:?}"
        );
    }
    // Once all of it is in and listed, and the directory has rested, neither list nor directory is read.
    assert_eq!(ana.json(&["export", "--project", "app"])["manifest_written"], true);
    until("the directory has rested", || between.asked(&ana, &["import"]).last() == Some(&"settle"));
    let _ = opens.take();
    assert_eq!(between.asked(&ana, &["import"]), ["settled"]);
    assert_eq!(between.asked(&ana, &["export", "--project", "app"]), ["export"]);
    assert_eq!(opens.take(), BTreeMap::new(), "nothing is opened");
    // A stamp that is another one is answered so, and nothing is looked for before the place was.
    lay(1);
    let asked = || between.asked(&ana, &["export", "--project", "app"]);
    until("the directory has rested again", || asked() == ["export", "meet", "export"]);
    assert_eq!(between.asked(&ana, &["import"]), ["settled", "meet", "rows", "imported"], "which settles it");
    assert_eq!((asked(), asked()), (vec!["export", "exported"], vec!["export"]));
    let _ = opens.take();
    // What is new here is written beside its place and moved there; the one new chunk is the only one that is opened.
    let _ = ana.device.save("app", "new", "text");
    let writes = Opens::with(&place, WatchFlags::MODIFY);
    let asked = between.asked(&ana, &["export", "--project", "app"]);
    assert_eq!(asked, ["export", "rows", "exported"]);
    let opened = opens.take();
    assert_eq!(opened.keys().filter(|name| name.ends_with(".gz")).count(), 1, "{opened:?}");
    let written = writes.take();
    assert_eq!(written.keys().collect::<Vec<_>>(), [".engramctl-writing"], "whole or not there");
    // Somebody else's chunk is seen at once, however short the rest was.
    lay(1);
    assert_eq!(between.asked(&ana, &["import"]), ["meet", "rows", "imported"]);
    assert_eq!(ana.one::<i64>("SELECT count(*) FROM observations"), 1 + 20 + 3 + 200 + 3 + 1 + 1 + 1);
}

#[test]
fn what_is_broken_is_named_however_long_the_directory_has_rested() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let place = ana.place();
    let _ = lay_chunk(&place, row(1).as_bytes());
    assert_eq!(ana.json(&["export", "--project", "app"])["outcome"], "nothing");
    std::fs::write(place.join("chunks/00000005.jsonl.gz"), "broken").expect("written");
    let between = Between::start(&ana);
    until("the directory has rested", || between.ask(&ana, &["import"]).first() == Some(&"settled"));
    for _ in 0..2 {
        let import = ana.chunks(&["import", "--json"]);
        assert_eq!((import.code, &import.json()["skipped"][0]["chunk"]), (5, &"00000005".into()), "{import:?}");
    }
    std::fs::remove_file(place.join("chunks/00000005.jsonl.gz")).expect("removed");
    assert_eq!(ana.json(&["import"])["outcome"], "nothing");
}
