//! How a handler answers: one reply, or a stream of them, under the request's id.

use super::Context;
use engram_proto::ipc::codec;
use engram_proto::ipc::reply::{Failure, Reply, Response};
use engram_proto::reason::{Exit, ReasonCode};
use engram_proto::words::quoted;
use engramd_core::StoreTrouble;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Where a handler puts its answer.
#[derive(Clone)]
pub(super) struct Responder {
    /// The request's id.
    pub(super) id: u64,
    /// Frames on their way to the client.
    pub(super) out: mpsc::Sender<Vec<u8>>,
    /// Whose answer it is.
    pub(super) context: Arc<Context>,
    /// Whether what was asked for writes into the store.
    pub(super) writes: bool,
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
        // Before the answer: whoever has it finds the same in the status.
        match (&reply, self.writes) {
            (Reply::Failed(failure), _) => {
                if let Some(met) = met(failure) {
                    self.context.driver.met(Err(met)).await;
                }
            }
            (_, true) => self.context.driver.met(Ok(())).await,
            (_, false) => {}
        }
        self.put(reply, true).await
    }

    /// Says the last thing, or why there is none.
    pub(super) async fn result(&self, result: Result<Reply, Failure>) -> Result<(), ClientGone> {
        self.last(result.unwrap_or_else(Reply::Failed)).await
    }

    async fn put(&self, mut reply: Reply, last: bool) -> Result<(), ClientGone> {
        hints(&mut reply, |hint| {
            *hint = hint.replace("{data_dir}", &quoted(&self.context.data_dir.to_string_lossy()));
        });
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

/// Returns what a failure tells of the store as a whole.
fn met(failure: &Failure) -> Option<StoreTrouble> {
    let code = [ReasonCode::StoreFull, ReasonCode::StoreCorrupt]
        .into_iter()
        .find(|code| code.as_str() == failure.reason_code)?;
    Some(StoreTrouble::Failed { code, message: failure.message.clone() })
}

/// Hands every next step of an answer over; where the data directory is, only the daemon knows.
fn hints(reply: &mut Reply, f: impl FnMut(&mut String)) {
    match reply {
        Reply::Failed(failure) => failure.hint.iter_mut().for_each(f),
        Reply::Status(report) => report.findings.iter_mut().filter_map(|finding| finding.hint.as_mut()).for_each(f),
        Reply::Synced(outcome) => outcome.hint.iter_mut().for_each(f),
        _ => {}
    }
}
