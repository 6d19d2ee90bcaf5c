//! Questions and answers, each with its patience.

use super::ConnectError;
use super::wire::{Wire, greet};
use crate::cli::Globals;
use crate::exit::CtlError;
use crate::target::Target;
use engram_proto::ipc::reply::{Reply, Response};
use engram_proto::ipc::request::{Request, RequestBody};
use std::time::Duration;
use tokio::time::timeout;

/// How long a question waits for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon that can be asked.
pub(crate) struct Client {
    wire: Wire,
    patience: Duration,
    last_id: u64,
    /// Questions whose answers have not ended yet.
    open: Vec<u64>,
    /// Answers to them that came while another one was waited for.
    early: Vec<Response>,
}

impl Client {
    /// Connects to the daemon that is meant.
    pub(crate) async fn connect(globals: &Globals) -> Result<Self, CtlError> {
        Self::connect_patient(globals, PATIENCE).await
    }

    /// Connects for questions that take this long, unless `--timeout` says otherwise.
    pub(crate) async fn connect_patient(globals: &Globals, patience: Duration) -> Result<Self, CtlError> {
        let target = globals.target()?;
        Ok(Self::open(&target, globals.timeout.unwrap_or(patience)).await?)
    }

    /// Connects to one socket.
    pub(super) async fn open(target: &Target, patience: Duration) -> Result<Self, ConnectError> {
        let wire = greet(target, patience).await?.same_protocol()?;
        Ok(Self { wire, patience, last_id: 0, open: Vec::new(), early: Vec::new() })
    }

    /// Asks, and returns everything that is answered.
    pub(crate) async fn ask(&mut self, body: RequestBody) -> Result<Vec<Reply>, CtlError> {
        let id = self.start(body).await?;
        let mut replies = Vec::new();
        loop {
            let (reply, last) = self.in_time(id).await?;
            replies.push(reply);
            if last {
                return Ok(replies);
            }
        }
    }

    /// Asks what has one answer.
    pub(crate) async fn ask_one(&mut self, body: RequestBody) -> Result<Reply, CtlError> {
        self.ask(body).await?.pop().ok_or(CtlError::Unexpected("nothing"))
    }

    /// Waits for the answer to what was [started](Self::start) and has one.
    pub(crate) async fn answer(&mut self, id: u64) -> Result<Reply, CtlError> {
        Ok(self.in_time(id).await?.0)
    }

    async fn in_time(&mut self, id: u64) -> Result<(Reply, bool), CtlError> {
        match timeout(self.patience, self.response(id)).await {
            Ok(response) => response,
            Err(_) => Err(self.wire.unanswered(self.patience).into()),
        }
    }

    /// Asks what is answered bit by bit, and returns the id for [`next`](Self::next).
    pub(crate) async fn start(&mut self, body: RequestBody) -> Result<u64, CtlError> {
        self.last_id += 1;
        self.wire.send(&Request { id: self.last_id, body }, self.patience).await?;
        self.open.push(self.last_id);
        Ok(self.last_id)
    }

    /// Waits for the next bit of an answer for as long as the daemon lives: whoever hears nothing asks for its state in
    /// between, so that a stopped one is not waited for.
    pub(crate) async fn next(&mut self, id: u64) -> Result<(Reply, bool), CtlError> {
        loop {
            match timeout(self.patience, self.response(id)).await {
                Ok(Err(CtlError::Connect(ConnectError::Lost { .. }))) => return Err(self.ended()),
                Ok(response) => return response,
                Err(_) => self.prove_alive(self.patience).await?,
            }
        }
    }

    /// Makes the error of a stream that the daemon ended.
    pub(crate) fn ended(&self) -> CtlError {
        ConnectError::Ended { pid: self.wire.daemon.pid }.into()
    }

    /// Waits for the next bit of an answer, without end: only for callers with a limit of their own.
    pub(crate) async fn response(&mut self, id: u64) -> Result<(Reply, bool), CtlError> {
        let Response { last, reply, .. } = match self.early.iter().position(|early| early.id == id) {
            Some(at) => self.early.remove(at),
            None => self.receive(id).await?,
        };
        if last {
            self.open.retain(|&open| open != id);
        }
        match reply {
            Reply::Failed(failure) => Err(CtlError::Told(failure)),
            reply => Ok((reply, last)),
        }
    }

    /// Receives the next bit of an answer, and keeps those of others that are still waited for.
    async fn receive(&mut self, id: u64) -> Result<Response, CtlError> {
        loop {
            let response = self.wire.receive().await?;
            if response.id == id {
                return Ok(response);
            }
            if self.open.contains(&response.id) {
                self.early.push(response);
            }
        }
    }

    /// Fails unless the daemon answers anything at all.
    pub(crate) async fn prove_alive(&mut self, patience: Duration) -> Result<(), CtlError> {
        self.last_id += 1;
        self.wire.send(&Request { id: self.last_id, body: RequestBody::Status { watch: false } }, patience).await?;
        match timeout(patience, self.wire.wait()).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(self.wire.unanswered(self.patience + patience).into()),
        }
    }

    /// Returns how long a question waits.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }
}
