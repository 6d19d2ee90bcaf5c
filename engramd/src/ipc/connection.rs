//! One connection: Hello, then requests side by side, each answered under its own id.

use super::respond::Responder;
use super::{Context, requests};
use engram_proto::ipc::PROTOCOL;
use engram_proto::ipc::codec::{self, FrameError};
use engram_proto::ipc::hello::{HEAD_BYTES, Hello, NotHello};
use engram_proto::ipc::request::Request;
use interprocess::local_socket::tokio::Stream;
use interprocess::local_socket::traits::StreamCommon as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A client has so long to say Hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(2);
/// A frame that has begun has so long to end.
const FRAME_DEADLINE: Duration = Duration::from_secs(10);
/// A client that does not read is waited for so long.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// Requests of one connection that may be in flight.
const IN_FLIGHT_MAX: usize = 32;
/// A frame is read at once into so much room; the room for more grows with what comes, not with what was promised.
const FRAME_ROOM: usize = 4 * 1024;
/// Frames that may wait for one client to read.
const OUTBOX_MAX: usize = 32;

/// Why a connection ended before its client was done.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the system: {0}")]
    Io(#[from] io::Error),
    #[error("nothing came in time")]
    Silent,
    #[error(transparent)]
    NotHello(#[from] NotHello),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it belongs to another user")]
    Stranger,
}

/// Serves one client until it leaves or breaks a rule; neither disturbs anybody else.
pub(super) async fn serve(stream: Stream, context: Arc<Context>, id: u64, greeted: mpsc::Sender<u64>) {
    match talk(stream, context, id, greeted).await {
        Ok(()) => {}
        Err(Ended::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(ended) => tracing::debug!(%ended, "a client was let go"),
    }
}

async fn talk(stream: Stream, context: Arc<Context>, id: u64, greeted: mpsc::Sender<u64>) -> Result<(), Ended> {
    check_peer(&stream)?;
    let stream = Arc::new(stream);
    let theirs = timeout(HELLO_DEADLINE, greet(&stream)).await.map_err(|_| Ended::Silent)??;
    if theirs.protocol != PROTOCOL {
        // Both sides know now, and can say so.
        return Ok(());
    }
    // The accepting loop may have ended; then this connection ends with it.
    let _ = greeted.send(id).await;
    let (out, outbox) = mpsc::channel(OUTBOX_MAX);
    let mut tasks = JoinSet::new();
    let writer = tasks.spawn(write_frames(Arc::clone(&stream), outbox));
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    while let Some(body) = read_frame(&stream).await? {
        let request: Request = match codec::decode(&body) {
            Ok(request) => request,
            Err(error) => return Err(error.into()),
        };
        let Ok(place) = Arc::clone(&in_flight).acquire_owned().await else { break };
        let context = Arc::clone(&context);
        let writes = requests::writes(&request.body);
        let respond = Responder { id: request.id, out: out.clone(), context: Arc::clone(&context), writes };
        tasks.spawn(async move {
            let _place = place;
            // A client that left needs no answer.
            let _ = requests::handle(context, request.body, respond).await;
        });
        while tasks.try_join_next().is_some() {}
        if writer.is_finished() {
            break;
        }
    }
    Ok(())
}

/// Lets in nobody but the user whose daemon this is (DOOR-1).
fn check_peer(stream: &Stream) -> Result<(), Ended> {
    let theirs = stream.peer_creds()?.euid();
    if theirs == Some(rustix::process::geteuid().as_raw()) { Ok(()) } else { Err(Ended::Stranger) }
}

async fn greet(mut stream: &Stream) -> Result<Hello, Ended> {
    stream.write_all(&Hello::ours(std::process::id()).encode()).await?;
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let mut build = vec![0; Hello::build_bytes(&head)?];
    stream.read_exact(&mut build).await?;
    Ok(Hello::decode(&head, &build)?)
}

/// Reads one frame's body; `None` when the client is done. Between frames it may be silent as long as it likes.
async fn read_frame(mut stream: &Stream) -> Result<Option<Vec<u8>>, Ended> {
    let mut prefix = [0; codec::LENGTH_BYTES];
    if stream.read(&mut prefix[..1]).await? == 0 {
        return Ok(None);
    }
    let rest = async {
        stream.read_exact(&mut prefix[1..]).await?;
        let length = codec::body_bytes(prefix)?;
        let mut body = Vec::with_capacity(length.min(FRAME_ROOM));
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let read = stream.take(length).read_to_end(&mut body).await?;
        if u64::try_from(read).unwrap_or(0) < length {
            return Err(Ended::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Some(body))
    };
    timeout(FRAME_DEADLINE, rest).await.map_err(|_| Ended::Silent)?
}

async fn write_frames(stream: Arc<Stream>, mut outbox: mpsc::Receiver<Vec<u8>>) {
    let mut sender = &*stream;
    while let Some(frame) = outbox.recv().await {
        match timeout(WRITE_DEADLINE, sender.write_all(&frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
