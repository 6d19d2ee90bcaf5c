//! The client of the cloud: each request is answered by a value or by a classified failure.
//!
//! It knows no store: rows come in and replies go out as values. It creates nothing until it is first used.

mod body;
mod carried;
mod errors;
mod part1;

use crate::config::cloud::CloudConfig;
pub use carried::{Carried, Reply};
use engram_proto::http::health::HealthReply;
use engram_proto::http::path;
use engram_proto::http::pull::{PullReply, PullRequest};
use engram_proto::http::push::{PushEntry, PushReply, PushRequest};
use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engramd_core::classify::{Failure, classify};
use engramd_core::rows::PendingRow;
pub use part1::Dated;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// A push or a pull without waiting; large bodies on slow links need their time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// No data for so long is a broken connection, even where the whole may still take its time.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// Talks to one server with one token.
#[derive(Clone, Debug)]
pub struct Transport {
    client: Client,
    config: Arc<CloudConfig>,
    /// Who carries the requests, where it is not the network.
    carrier: Option<UnboundedSender<Carried>>,
}

impl Transport {
    /// Makes a client for a server; connects to nobody.
    ///
    /// # Errors
    /// [`Failure`] where TLS cannot be set up.
    pub fn new(config: CloudConfig) -> Result<Self, Failure> {
        // The first to come installs it for the process; the others find it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // A token must not follow a redirect to another host (SECRET-1).
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("engramd/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(2)
            .build()
            .map_err(|error| errors::failure(&error, &config.host()))?;
        Ok(Self { client, config: Arc::new(config), carrier: None })
    }

    /// Asks who answers; needs no token and sends none: what answers may be another program (SECRET-1). A server that tells
    /// no time tells it by the header `Date`.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn probe(&self) -> Result<HealthReply, Failure> {
        let request = self.client.get(self.url(path::HEALTH)).timeout(PROBE_TIMEOUT);
        let answer = self.ask(request).await?;
        let date = answer.date_s.and_then(RowTime::from_unix_s).map(RowTime::rfc3339);
        let mut reply: HealthReply = decode(answer, false)?;
        reply.time = reply.time.or(date);
        if reply.service == "engram-cloud" { Ok(reply) } else { Err(errors::not_the_protocol(&self.config.host(), "")) }
    }

    /// Sends rows of one project, and what the server must still hold, or else who it must be.
    ///
    /// # Errors
    /// [`Failure`]; [`Failure::Rows`] where it may be a row's fault.
    pub async fn push(
        &self,
        project: &ProjectName,
        rows: &[Arc<PendingRow>],
        (witness, cloud_id): (Option<Witness>, Option<String>),
    ) -> Result<PushReply, Failure> {
        let entries = rows.iter().map(|row| PushEntry {
            project: project.to_string(),
            entity: row.entity.clone(),
            entity_key: row.entity_key.clone(),
            op: row.op.as_str().to_owned(),
            payload: row.payload.clone().into(),
            mutation_id: Some(row.mutation_id.clone()),
            base: row.base.clone(),
        });
        let body = PushRequest { entries: entries.collect(), witness, cloud_id, ..PushRequest::default() };
        self.receive(self.post(path::PUSH, &body, REQUEST_TIMEOUT), true).await
    }

    /// Asks for a page, waiting at the server as long as the request says.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn pull(&self, request: &PullRequest) -> Result<PullReply, Failure> {
        let timeout = REQUEST_TIMEOUT + Duration::from_secs(u64::from(request.wait_seconds));
        self.receive(self.post(path::PULL, request, timeout), false).await
    }

    /// Returns host and port, for messages.
    #[must_use]
    pub fn host(&self) -> String {
        self.config.host()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.config.url.as_str().trim_end_matches('/'))
    }

    fn post<T: Serialize>(&self, path: &str, body: &T, timeout: Duration) -> RequestBuilder {
        let body = serde_json::to_vec(body).unwrap_or_default();
        let request = self.client.post(self.url(path)).timeout(timeout).header(CONTENT_TYPE, "application/json");
        match body::gzip(&body) {
            Some(smaller) => request.header(CONTENT_ENCODING, "gzip").body(smaller),
            None => request.body(body),
        }
    }

    async fn receive<T: DeserializeOwned>(&self, request: RequestBuilder, of_batch: bool) -> Result<T, Failure> {
        decode(self.send(request).await?, of_batch)
    }

    /// Sends a request with the token.
    async fn send(&self, request: RequestBuilder) -> Result<body::Answer, Failure> {
        self.ask(request.header(AUTHORIZATION, self.bearer()?)).await
    }

    /// Sends a request as it is.
    async fn ask(&self, request: RequestBuilder) -> Result<body::Answer, Failure> {
        let host = self.config.host();
        let request = request.header(ACCEPT_ENCODING, "gzip");
        if let Some(carrier) = &self.carrier {
            return carried::carry(carrier, request, &host).await;
        }
        let response = request.send().await.map_err(|error| errors::failure(&error, &host))?;
        body::read(response, &host).await
    }

    fn bearer(&self) -> Result<HeaderValue, Failure> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.config.token.reveal().trim()))
            .map_err(|_| errors::unusable_token(&self.config.host()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn decode<T: DeserializeOwned>(answer: body::Answer, of_batch: bool) -> Result<T, Failure> {
    if !answer.is_success() {
        return Err(classify(&answer.refusal, of_batch));
    }
    let (host, text) = (&answer.refusal.host, answer.refusal.text.trim());
    serde_json::from_slice(&answer.bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => errors::not_the_form(host, &error, text),
        _ => errors::not_the_protocol(host, text),
    })
}
