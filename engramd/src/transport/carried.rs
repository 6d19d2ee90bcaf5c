//! Requests that somebody else carries to a server, and answers as he brings them: virtual time has no network.

use super::body::Answer;
use super::{Transport, errors};
use engramd_core::classify::Failure;
use reqwest::{Request, RequestBuilder};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

/// A request on its way, and where its answer is waited for; nobody waits any more where that is closed.
#[derive(Debug)]
pub struct Carried {
    /// As it would be sent.
    pub request: Request,
    /// Takes what came of it.
    pub answer: oneshot::Sender<Result<Reply, Failure>>,
}

/// An answer as it comes.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status line's number.
    pub status: u16,
    /// The header `Date`.
    pub date: Option<String>,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Transport {
    /// Makes one whose requests go there.
    #[must_use]
    pub fn carried_by(&self, carrier: UnboundedSender<Carried>) -> Self {
        Self { carrier: Some(carrier), ..self.clone() }
    }
}

/// Hands a request over and waits for its answer.
pub(super) async fn carry(
    carrier: &UnboundedSender<Carried>,
    request: RequestBuilder,
    host: &str,
) -> Result<Answer, Failure> {
    let (answer, answered) = oneshot::channel();
    let request = request.build().map_err(|error| errors::failure(&error, host))?;
    let gone = || errors::not_the_protocol(host, "nobody carries requests any more");
    carrier.send(Carried { request, answer }).map_err(|_| gone())?;
    let Reply { status, date, bytes } = answered.await.map_err(|_| gone())??;
    Ok(Answer::of(status, date.as_deref(), None, bytes, host))
}
