//! What client and daemon say to each other, heard in between, with something done at a moment of it; and which files are
//! opened meanwhile.

use crate::harness::{Person, client};
use engram_proto::ipc::chunks::ChunksRequest;
use engram_proto::ipc::codec::{self, LENGTH_BYTES};
use engram_proto::ipc::hello::{HEAD_BYTES, Hello};
use engram_proto::ipc::request::{Request, RequestBody};
use engram_tests::processes::Answer;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Something that is done once, before the daemon hears the request of a name.
type Then = Option<(&'static str, Box<dyn FnOnce() + Send>)>;

/// Stands between client and daemon, and keeps what the client says.
pub(crate) struct Between {
    socket: PathBuf,
    said: Arc<Mutex<Vec<Vec<u8>>>>,
    then: Arc<Mutex<Then>>,
}

impl Between {
    pub(crate) fn start(person: &Person) -> Self {
        let socket = person.device.dir.with_extension("between");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (daemon, said) = (person.device.dir.join("engramd.sock"), Arc::<Mutex<Vec<Vec<u8>>>>::default());
        let then = Arc::<Mutex<Then>>::default();
        let (kept, due) = (Arc::clone(&said), Arc::clone(&then));
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
                let (kept, due) = (Arc::clone(&kept), Arc::clone(&due));
                std::thread::spawn(move || {
                    listen(client, daemon, |bytes| {
                        let asked = {
                            let mut kept = kept.lock().expect("no panic");
                            let before = requests(&kept[at]).len();
                            kept[at].extend_from_slice(bytes);
                            requests(&kept[at]).split_off(before)
                        };
                        // The client waits for the answer, so that this is done between its question and what comes of it.
                        let due = due.lock().expect("no panic").take_if(|(name, _)| asked.contains(name));
                        if let Some((_, then)) = due {
                            then();
                        }
                    });
                });
            }
        });
        Self { socket, said, then }
    }

    /// Runs a command, and returns the names of what it asked.
    pub(crate) fn asked(&self, person: &Person, args: &[&str]) -> Vec<&'static str> {
        let (answer, asked) = self.run(person, args);
        assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
        asked
    }

    /// Does the same, however the command ends.
    pub(crate) fn ask(&self, person: &Person, args: &[&str]) -> Vec<&'static str> {
        self.run(person, args).1
    }

    /// Does the same, with something done when the client has asked what has this name; tells whether it did.
    pub(crate) fn at(
        &self,
        name: &'static str,
        then: impl FnOnce() + Send + 'static,
        (person, args): (&Person, &[&str]),
    ) -> (Answer, bool) {
        *self.then.lock().expect("no panic") = Some((name, Box::new(then)));
        let (answer, _) = self.run(person, args);
        let was_asked = self.then.lock().expect("no panic").take().is_none();
        (answer, was_asked)
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

/// Reads what a client said on one connection, as far as it was said to the end.
fn requests(bytes: &[u8]) -> Vec<&'static str> {
    let mut names = Vec::new();
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return names };
    let mut rest = rest.get(Hello::build_bytes(head).expect("a Hello")..).unwrap_or_default();
    while let Some((length, after)) = rest.split_at_checked(LENGTH_BYTES) {
        let body = codec::body_bytes(length.try_into().expect("a length")).expect("a length");
        let Some((body, after)) = after.split_at_checked(body) else { break };
        let request: Request = codec::decode(body).expect("a request");
        rest = after;
        names.push(match request.body {
            RequestBody::Chunks(request) => match request {
                ChunksRequest::Settled { .. } => "settled",
                ChunksRequest::Settle { .. } => "settle",
                ChunksRequest::Meet { .. } => "meet",
                ChunksRequest::Refuse { .. } => "refuse",
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
pub(crate) struct Opens(OwnedFd);

impl Opens {
    pub(crate) fn of(place: &Path) -> Self {
        // With the closing in between: of two events that are the same and follow each other the system tells one.
        Self::with(place, WatchFlags::OPEN | WatchFlags::CLOSE)
    }

    pub(crate) fn with(place: &Path, what: WatchFlags) -> Self {
        let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify");
        for dir in [place.to_owned(), place.join("chunks")] {
            add_watch(&fd, &dir, what).expect("a watch");
        }
        Self(fd)
    }

    /// What was opened since the last time, by name, and how often.
    pub(crate) fn take(&self) -> BTreeMap<String, u32> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1 << 14];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut opened = BTreeMap::new();
        while let Ok(event) = reader.next() {
            let is_closing = event.events().intersects(ReadFlags::CLOSE_WRITE | ReadFlags::CLOSE_NOWRITE);
            if let Some(name) = event.file_name().filter(|_| !is_closing) {
                *opened.entry(name.to_string_lossy().into_owned()).or_default() += 1;
            }
        }
        opened
    }

    /// How often anything was opened since the last time, the directories themselves too.
    pub(crate) fn of_any(&self) -> usize {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1 << 14];
        let mut reader = Reader::new(&self.0, &mut buffer);
        std::iter::from_fn(|| reader.next().ok().map(drop)).count()
    }
}
