//! The routes that a Go server speaks too (cloud-http.md, part 1): no ids, no cursors per project, nothing compressed.

use super::{PROBE_TIMEOUT, REQUEST_TIMEOUT, Transport, decode, errors};
use engram_proto::chunk::{ChunkId, Manifest};
use engram_proto::http::path;
use engram_proto::http::pull::{Denial, GrantPage};
use engram_proto::http::push::{PushReply, PushRequest};
use engram_proto::id::ProjectName;
use engramd_core::classify::{Failure, classify};
use reqwest::header::CONTENT_TYPE;

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

    /// Lists the chunks of a project.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn manifest(&self, project: &ProjectName) -> Result<Manifest, Failure> {
        let url = self.of_project(path::CHUNKS, project)?;
        self.receive(self.client.get(url).timeout(REQUEST_TIMEOUT), false).await
    }

    /// Reads one chunk as the server has it; `None` where it has none of this id.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn chunk(&self, project: &ProjectName, id: &ChunkId) -> Result<Option<Vec<u8>>, Failure> {
        let url = self.of_project(&format!("{}/{id}", path::CHUNKS), project)?;
        let answer = self.send(self.client.get(url).timeout(REQUEST_TIMEOUT)).await?;
        match answer.refusal.status {
            404 => Ok(None),
            _ if answer.is_success() => Ok(Some(answer.bytes)),
            _ => Err(classify(&answer.refusal, false)),
        }
    }

    /// Asks whether the token may read a project; returns why not. Of all routes that of the manifest alone answers so
    /// for one project; the manifest itself is of no interest.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn may_read(&self, project: &ProjectName) -> Result<Option<Denial>, Failure> {
        let url = self.of_project(path::CHUNKS, project)?;
        let answer = self.send(self.client.get(url).timeout(PROBE_TIMEOUT)).await?;
        if answer.is_success() {
            return Ok(None);
        }
        match classify(&answer.refusal, false) {
            Failure::Project { code, message } => Ok(Some(Denial { reason_code: code.to_string(), message })),
            failure => Err(failure),
        }
    }

    fn of_project(&self, path: &str, project: &ProjectName) -> Result<reqwest::Url, Failure> {
        let mut url = reqwest::Url::parse(&self.url(path))
            .map_err(|_| errors::not_the_protocol(&self.host(), "a URL that nobody can ask"))?;
        url.query_pairs_mut().append_pair("project", project.as_str());
        Ok(url)
    }

    /// Makes the failure of an answer that is JSON, and yet not what was asked for.
    #[must_use]
    pub fn impossible(&self, what: &str) -> Failure {
        errors::impossible(&self.host(), what)
    }
}
