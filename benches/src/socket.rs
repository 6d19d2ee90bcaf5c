//! The daemon's socket, as plainly as it can be asked.

use engram_proto::health::StatusReport;
use engram_proto::ipc::codec::{self, LENGTH_BYTES};
use engram_proto::ipc::hello::{HEAD_BYTES, Hello};
use engram_proto::ipc::reply::{Reply, Response};
use engram_proto::ipc::request::{Request, RequestBody};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One connection.
pub(crate) struct Socket(UnixStream);

impl Socket {
    /// Connects to the daemon of a data directory.
    pub(crate) fn open(dir: &Path) -> Self {
        let mut stream = UnixStream::connect(dir.join(engram_proto::ipc::SOCKET_NAME)).expect("a daemon");
        stream.write_all(&Hello::ours(std::process::id()).encode()).expect("said");
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).expect("its Hello");
        let mut build = vec![0; Hello::build_bytes(&head).expect("a Hello")];
        stream.read_exact(&mut build).expect("its Hello");
        Self(stream)
    }

    /// Asks how everything is.
    pub(crate) fn status(&mut self) -> StatusReport {
        let request = Request { id: 1, body: RequestBody::Status { watch: false } };
        self.0.write_all(&codec::encode(&request).expect("a frame")).expect("asked");
        let mut prefix = [0; LENGTH_BYTES];
        self.0.read_exact(&mut prefix).expect("an answer");
        let mut body = vec![0; codec::body_bytes(prefix).expect("a frame")];
        self.0.read_exact(&mut body).expect("an answer");
        match codec::decode::<Response>(&body).expect("an answer").reply {
            Reply::Status(report) => *report,
            other => panic!("a report, not {other:?}"),
        }
    }
}
