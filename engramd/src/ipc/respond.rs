//! How a handler answers: one reply, or a stream of them, under the request's id.

use engram_proto::ipc::codec;
use engram_proto::ipc::reply::{Failure, Reply, Response};
use engram_proto::reason::{Exit, ReasonCode};
use tokio::sync::mpsc;

/// Where a handler puts its answer.
#[derive(Clone)]
pub(super) struct Responder {
    /// The request's id.
    pub(super) id: u64,
    /// Frames on their way to the client.
    pub(super) out: mpsc::Sender<Vec<u8>>,
}

/// The client has gone away, or does not read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientGone;

impl Responder {
    /// Says something with more to follow.
    pub(super) async fn more(&self, reply: Reply) -> Result<(), ClientGone> {
        self.put(reply, false).await
    }

    /// Says the last thing under this id.
    pub(super) async fn last(&self, reply: Reply) -> Result<(), ClientGone> {
        self.put(reply, true).await
    }

    /// Says the last thing, or why there is none.
    pub(super) async fn result(&self, result: Result<Reply, Failure>) -> Result<(), ClientGone> {
        self.last(result.unwrap_or_else(Reply::Failed)).await
    }

    async fn put(&self, reply: Reply, last: bool) -> Result<(), ClientGone> {
        let frame = codec::encode(&Response { id: self.id, last, reply }).or_else(|error| {
            let failure = Failure {
                exit: Exit::Failed,
                reason_code: ReasonCode::InternalError.to_string(),
                message: format!("the answer cannot be sent: {error}"),
                hint: None,
            };
            codec::encode(&Response { id: self.id, last: true, reply: Reply::Failed(failure) })
        });
        let frame = frame.map_err(|_| ClientGone)?;
        self.out.send(frame).await.map_err(|_| ClientGone)
    }
}
