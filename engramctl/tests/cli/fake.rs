//! A daemon that answers as it is told, and the client run against it as people run it.

use engram_proto::ipc::codec::{self, LENGTH_BYTES};
use engram_proto::ipc::hello::{HEAD_BYTES, Hello};
use engram_proto::ipc::reply::{Reply, Response};
use engram_proto::ipc::request::{Request, RequestBody};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// A daemon that answers as it is told.
pub(crate) struct Fake {
    directory: tempfile::TempDir,
    asked: Arc<Mutex<Vec<RequestBody>>>,
}

/// What a run of the client left.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Reads standard output as the one JSON object it must be.
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Fake {
    /// Starts a daemon that gives these answers to every question.
    pub(crate) fn new(answers: Vec<Reply>) -> Self {
        Self::speaking(engram_proto::ipc::PROTOCOL, answers)
    }

    /// The same, of another protocol.
    pub(crate) fn speaking(protocol: u32, answers: Vec<Reply>) -> Self {
        let fake = Self { directory: tempfile::tempdir().unwrap(), asked: Arc::default() };
        let listener = UnixListener::bind(fake.socket()).unwrap();
        let asked = Arc::clone(&fake.asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, answers) = (Arc::clone(&asked), answers.clone());
                std::thread::spawn(move || serve(stream.unwrap(), protocol, &asked, &answers));
            }
        });
        fake
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("engramd.sock")
    }

    /// Returns the last question.
    pub(crate) fn asked(&self) -> RequestBody {
        self.asked.lock().unwrap().last().unwrap().clone()
    }

    /// Runs the client in an empty directory named `work`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    /// The same, with something on standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], stdin: &str) -> Ran {
        let work = self.directory.path().join("work");
        std::fs::create_dir_all(&work).unwrap();
        let mut command = command();
        command.arg("--socket").arg(self.socket()).args(arguments).current_dir(work);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A client that does not read it may be gone already.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap().into()
    }
}

/// The client, with nothing of this machine's environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engramctl"));
    command.env_clear().env("TZ", "UTC");
    command
}

fn serve(mut stream: UnixStream, protocol: u32, asked: &Mutex<Vec<RequestBody>>, answers: &[Reply]) {
    let mut head = [0; HEAD_BYTES];
    if stream.read_exact(&mut head).is_err() {
        return;
    }
    let mut build = vec![0; Hello::build_bytes(&head).unwrap()];
    stream.read_exact(&mut build).unwrap();
    let hello = Hello { protocol, pid: 4711, build: "0.0.9".to_owned() };
    stream.write_all(&hello.encode()).unwrap();
    let mut prefix = [0; LENGTH_BYTES];
    while stream.read_exact(&mut prefix).is_ok() {
        let mut body = vec![0; codec::body_bytes(prefix).unwrap()];
        stream.read_exact(&mut body).unwrap();
        let request: Request = codec::decode(&body).unwrap();
        asked.lock().unwrap().push(request.body);
        for (at, reply) in answers.iter().enumerate() {
            let response = Response { id: request.id, last: at + 1 == answers.len(), reply: reply.clone() };
            let _ = stream.write_all(&codec::encode(&response).unwrap());
        }
    }
}
