//! The network between devices and server, and everything it does to a request.

use super::go_cloud::Asked;
use super::server::{Server, lost, refused, unreachable};
use engram_proto::http::pull::PullRequest;
use engram_proto::http::push::{PushEntry, PushReply};
use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use engramd_core::Event;
use engramd_core::classify::{Failure, Fault, RowFault};
use engramd_core::rows::PendingRow;
use rand::RngExt as _;
use rand::rngs::StdRng;

/// What a device asks.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// Who answers.
    Probe,
    /// Take these, if you hold that, or are the one that is meant.
    Push(ProjectName, Vec<PushEntry>, (Option<Witness>, Option<String>)),
    /// What is new.
    Pull(PullRequest),
}

impl Request {
    /// Tells what it is about.
    #[must_use]
    pub(super) fn asked(&self) -> Asked {
        match self {
            Self::Probe => Asked::Probe,
            Self::Push(..) => Asked::Push,
            Self::Pull(_) => Asked::Pull,
        }
    }
}

/// What becomes of a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Luck {
    /// They arrive.
    Fine,
    /// The request never does.
    RequestLost,
    /// The request does, the answer not.
    AnswerLost,
    /// The request does, and another program's page is the answer.
    Garbled,
    /// The answer is cut short.
    Cut,
    /// The request is lost, and an answer comes that names nothing: a captive portal's.
    Hollow,
    /// The request arrives now, and once more later.
    Twice,
    /// Something on the way, or the server, answers this.
    Status(u16),
    /// The server blames an entry by name.
    Blamed,
    /// A page says that there is more, and moves nothing.
    Endless,
    /// A page goes back behind what was asked.
    Backwards,
}

const STATUSES: [u16; 12] = [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503];

impl Luck {
    /// Draws what becomes of a request; `trouble` is how often it is none of the best, in percent.
    pub(super) fn draw(rng: &mut StdRng, asked: Asked, trouble: u32) -> Self {
        if rng.random_range(0..100) >= trouble {
            return Self::Fine;
        }
        let status = Self::Status(STATUSES[rng.random_range(0..STATUSES.len())]);
        match (asked, rng.random_range(0..10)) {
            (_, 0 | 1) => Self::RequestLost,
            (_, 2) => Self::AnswerLost,
            (_, 3) => Self::Garbled,
            (Asked::Push | Asked::Pull, 4) => Self::Cut,
            (Asked::Push, 5) => Self::Twice,
            (Asked::Push, 6) => Self::Blamed,
            (Asked::Push, 7) => Self::Hollow,
            (Asked::Pull, 5) => Self::Backwards,
            (Asked::Pull, 6) => Self::Endless,
            _ => status,
        }
    }
}

/// Makes the entries of a push, as the transport does.
pub(super) fn entries(project: &ProjectName, rows: &[std::sync::Arc<PendingRow>]) -> Vec<PushEntry> {
    let entry = |row: &std::sync::Arc<PendingRow>| PushEntry {
        project: project.to_string(),
        entity: row.entity.clone(),
        entity_key: row.entity_key.clone(),
        op: row.op.to_string(),
        payload: row.payload.clone().into(),
        mutation_id: Some(row.mutation_id.clone()),
        base: row.base.clone(),
    };
    rows.iter().map(entry).collect()
}

/// Lets a request arrive, and returns what the device hears of it.
pub(super) fn answer(server: &Server, now_ms: u64, device: usize, request: &Request, luck: Luck, draw: usize) -> Event {
    let of_batch = matches!(request, Request::Push(..));
    let failure = match luck {
        Luck::RequestLost => Some(unreachable()),
        Luck::Status(status) => Some(refused(status, of_batch)),
        _ => server.refusal(of_batch),
    };
    if let Some(failure) = failure {
        return told(request, failure);
    }
    match request {
        Request::Probe if luck == Luck::Fine => Event::Probed(Ok(server.introduction(now_ms))),
        Request::Probe => told(request, lost(Fault::Answered)),
        Request::Push(_, entries, _) if luck == Luck::Blamed => {
            let named = vec![draw % entries.len()];
            let fault = RowFault { too_large: false, named, evidence: "blamed".to_owned() };
            told(request, Failure::Rows(fault))
        }
        Request::Push(..) if luck == Luck::Hollow => Event::Sent(Ok(PushReply::default())),
        Request::Push(project, entries, (witness, cloud_id)) => {
            let answer = server.push(device, project, entries, (witness.as_ref(), cloud_id.as_deref()));
            match (answer, luck) {
                (_, Luck::AnswerLost) => told(request, lost(Fault::Answered)),
                (_, Luck::Garbled) => told(request, lost(Fault::Garbled)),
                (Ok(mut reply), Luck::Cut) => {
                    reply.receipts.truncate(draw % entries.len());
                    Event::Sent(Ok(reply))
                }
                (answer, _) => Event::Sent(answer),
            }
        }
        Request::Pull(asked) => {
            let mut page = match server.pull(device, asked) {
                Ok(page) => page,
                Err(failure) => return told(request, failure),
            };
            match luck {
                Luck::AnswerLost | Luck::Cut => return told(request, lost(Fault::Answered)),
                Luck::Garbled => return told(request, lost(Fault::Garbled)),
                Luck::Endless => {
                    (page.has_more, page.cursors) = (true, asked.cursors.clone());
                    page.mutations.clear();
                }
                Luck::Backwards => {
                    let back = |(project, cursor): (&ProjectName, &u64)| (project.clone(), cursor.saturating_sub(8));
                    let from = PullRequest { cursors: asked.cursors.iter().map(back).collect(), ..asked.clone() };
                    page = server.pull(device, &from).unwrap_or(page);
                }
                _ => {}
            }
            Event::Pulled(Ok(page))
        }
    }
}

fn told(request: &Request, failure: Failure) -> Event {
    match request {
        Request::Probe => Event::Probed(Err(failure)),
        Request::Push(..) => Event::Sent(Err(failure)),
        Request::Pull(_) => Event::Pulled(Err(failure)),
    }
}
