//! The routes that a Go server speaks too (cloud-http.md, part 1): no ids, no cursors per project, nothing compressed.

use super::{PROBE_TIMEOUT, REQUEST_TIMEOUT, Transport, decode, errors};
use engram_proto::http::path;
use engram_proto::http::pull::{Denial, GrantPage};
use engram_proto::http::push::{PushReply, PushRequest};
use engram_proto::id::ProjectName;
use engramd_core::classify::{Failure, classify};
use reqwest::header::CONTENT_TYPE;

/// The route of a project's manifest, which answers 403 for one project alone.
const MANIFEST: &str = "/sync/pull";

/// A value, and when the server says it answered.
#[derive(Clone, Debug)]
pub struct Dated<T> {
    /// What it answered.
    pub value: T,
    /// Unix seconds by the server's clock, where it told.
    pub date_s: Option<i64>,
}

impl Transport {
    /// Sends entries without ids: all are taken, or none.
    ///
    /// # Errors
    /// [`Failure`]; [`Failure::Rows`] where it may be a row's fault.
    pub async fn push_part1(&self, body: &PushRequest) -> Result<PushReply, Failure> {
        let body = serde_json::to_vec(body).unwrap_or_default();
        let request = self.client.post(self.url(path::PUSH)).timeout(REQUEST_TIMEOUT);
        self.receive(request.header(CONTENT_TYPE, "application/json").body(body), true).await
    }

    /// Asks for the rows behind a number in the one order of everything that the token may read.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn pull_part1(&self, since_seq: u64, limit: u32) -> Result<Dated<GrantPage>, Failure> {
        let url = format!("{}?since_seq={since_seq}&limit={limit}", self.url(path::PULL));
        let answer = self.send(self.client.get(url).timeout(REQUEST_TIMEOUT)).await?;
        let date_s = answer.date_s;
        Ok(Dated { value: decode(answer, false)?, date_s })
    }

    /// Asks whether the token may read a project; returns why not. The manifest itself is of no interest.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn may_read(&self, project: &ProjectName) -> Result<Option<Denial>, Failure> {
        let mut url = reqwest::Url::parse(&self.url(MANIFEST))
            .map_err(|_| errors::not_the_protocol(&self.host(), "a URL that nobody can ask"))?;
        url.query_pairs_mut().append_pair("project", project.as_str());
        let answer = self.send(self.client.get(url).timeout(PROBE_TIMEOUT)).await?;
        if answer.is_success() {
            return Ok(None);
        }
        match classify(&answer.refusal, false) {
            Failure::Project { code, message } => Ok(Some(Denial { reason_code: code.to_string(), message })),
            failure => Err(failure),
        }
    }

    /// Makes the failure of an answer that is JSON, and yet not what was asked for.
    #[must_use]
    pub fn impossible(&self, what: &str) -> Failure {
        errors::not_the_protocol(&self.host(), what)
    }
}
