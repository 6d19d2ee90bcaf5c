//! Bytes: connect with a short ladder, Hello both ways, frames in and out.

use super::ConnectError;
use crate::target::Target;
use engram_proto::ipc::codec;
use engram_proto::ipc::hello::{HEAD_BYTES, Hello};
use engram_proto::ipc::reply::Response;
use engram_proto::ipc::request::Request;
use interprocess::local_socket::GenericFilePath;
use interprocess::local_socket::tokio::{Stream, prelude::*};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// A daemon that lives says Hello within this time.
const HELLO_WAIT_MAX: Duration = Duration::from_secs(2);

/// The first wait before connecting again, while a daemon restarts.
const RETRY_FIRST: Duration = Duration::from_millis(10);

/// The longest; all of them together stay below 300 ms.
const RETRY_LONGEST: Duration = Duration::from_millis(100);

/// Room for what most answers need.
const ROOM_BYTES: usize = 16 * 1024;

/// A connection to a daemon that said Hello.
pub(crate) struct Wire {
    stream: Stream,
    /// Who answered.
    pub(super) daemon: Hello,
    received: Vec<u8>,
}

/// Connects and exchanges Hellos, whatever protocol the daemon speaks.
pub(crate) async fn greet(target: &Target, patience: Duration) -> Result<Wire, ConnectError> {
    let patience = patience.min(HELLO_WAIT_MAX);
    match timeout(patience, connect_and_greet(target)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Mute { socket: target.socket.clone(), waited: patience }),
    }
}

async fn connect_and_greet(target: &Target) -> Result<Wire, ConnectError> {
    let mut ladder = None;
    loop {
        let error = match once(target).await {
            Ok(Ok(wire)) => return Ok(wire),
            Ok(Err(stranger)) => return Err(stranger),
            Err(error) => error,
        };
        let ladder = ladder.get_or_insert_with(|| engram_retry::ladder(RETRY_FIRST, RETRY_LONGEST).into_iter());
        match ladder.next() {
            Some(delay) if is_passing(&error) => tokio::time::sleep(delay).await,
            _ => {
                let (socket, start) = (target.socket.clone(), target.start.clone());
                return Err(ConnectError::NoDaemon { socket, start, source: error });
            }
        }
    }
}

/// Tells what may be gone in a moment: a daemon that restarts, or one whose backlog is full (a non-blocking connect is
/// then taken for one in progress, and the first write says "not connected").
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotConnected, UnexpectedEof, WouldBlock};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | NotConnected | UnexpectedEof | WouldBlock)
}

async fn once(target: &Target) -> io::Result<Result<Wire, ConnectError>> {
    let name = target.socket.as_path().to_fs_name::<GenericFilePath>()?;
    let mut stream = Stream::connect(name).await?;
    match stream.write_all(&Hello::ours(std::process::id()).encode()).await {
        // It may have said which one it is before it hung up.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result?,
    }
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let stranger = || ConnectError::Stranger { socket: target.socket.clone(), start: target.start.clone() };
    let Ok(length) = Hello::build_bytes(&head) else { return Ok(Err(stranger())) };
    let mut build = vec![0; length];
    stream.read_exact(&mut build).await?;
    Ok(Hello::decode(&head, &build).map_err(|_| stranger()).map(|daemon| Wire {
        stream,
        daemon,
        received: Vec::with_capacity(ROOM_BYTES),
    }))
}

impl Wire {
    /// Returns who answered.
    pub(crate) fn daemon(&self) -> &Hello {
        &self.daemon
    }

    /// Refuses a daemon of another protocol.
    pub(super) fn same_protocol(self) -> Result<Self, ConnectError> {
        let ours = Hello::ours(std::process::id());
        if self.daemon.protocol == ours.protocol {
            Ok(self)
        } else {
            Err(ConnectError::Protocol { ours, theirs: self.daemon })
        }
    }

    /// Writes a request.
    pub(super) async fn send(&mut self, request: &Request, patience: Duration) -> Result<(), ConnectError> {
        let frame = codec::encode(request).map_err(ConnectError::TooLarge)?;
        match timeout(patience, self.stream.write_all(&frame)).await {
            Ok(result) => result.map_err(|_| self.lost()),
            Err(_) => Err(self.unanswered(patience)),
        }
    }

    /// Reads the next response. What was read of one stays here when the future is dropped.
    pub(super) async fn receive(&mut self) -> Result<Response, ConnectError> {
        loop {
            if let Some(response) = self.take_frame()? {
                return Ok(response);
            }
            self.read_more().await?;
        }
    }

    /// Waits until a whole response is there, and leaves it there.
    pub(super) async fn wait(&mut self) -> Result<(), ConnectError> {
        while self.frame_end()?.is_none_or(|end| self.received.len() < end) {
            self.read_more().await?;
        }
        Ok(())
    }

    async fn read_more(&mut self) -> Result<(), ConnectError> {
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) | Err(_) => Err(self.lost()),
            Ok(_) => Ok(()),
        }
    }

    fn frame_end(&mut self) -> Result<Option<usize>, ConnectError> {
        let Some(prefix) = self.received.first_chunk::<{ codec::LENGTH_BYTES }>() else { return Ok(None) };
        let end = codec::LENGTH_BYTES + codec::body_bytes(*prefix).map_err(ConnectError::Garbled)?;
        self.received.reserve(end.saturating_sub(self.received.len()));
        Ok(Some(end))
    }

    fn take_frame(&mut self) -> Result<Option<Response>, ConnectError> {
        let Some(end) = self.frame_end()?.filter(|&end| end <= self.received.len()) else { return Ok(None) };
        let response = codec::decode(&self.received[codec::LENGTH_BYTES..end]).map_err(ConnectError::Garbled)?;
        self.received.drain(..end);
        Ok(Some(response))
    }

    pub(super) fn unanswered(&self, waited: Duration) -> ConnectError {
        ConnectError::Unanswered { pid: self.daemon.pid, waited }
    }

    fn lost(&self) -> ConnectError {
        ConnectError::Lost { pid: self.daemon.pid }
    }
}
