//! The server at the other end, whichever kind it is: towards the driver both look alike.

use super::disguise;
use super::go_server::GoServer;
use super::on_store;
use crate::config::cloud::CloudConfig;
use crate::store::StoreHandle;
use crate::transport::Transport;
use engram_proto::http::health::{HealthReply, capability};
use engram_proto::http::pull::{PullReply, PullRequest};
use engram_proto::http::push::PushReply;
use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use engram_proto::reason::ReasonCode;
use engramd_core::classify::Failure;
use engramd_core::rows::PendingRow;
use std::sync::{Arc, Mutex, PoisonError};

/// What a server of ours announces at least.
const WANTED: [&str; 2] = [capability::MUTATION_IDS, capability::PROJECT_PULL];

/// Talks to one server with one token, in the language that it speaks.
#[derive(Clone)]
pub struct Remote {
    transport: Transport,
    store: StoreHandle,
    kind: Arc<Mutex<Option<Kind>>>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// An engram-cloud, and which: ids, and a cursor per project.
    Ours(String),
    /// A server of the Go program: part 1 of the contract and nothing else.
    Go,
}

impl Remote {
    /// Makes a client for a server; connects to nobody.
    ///
    /// # Errors
    /// [`Failure`] where TLS cannot be set up.
    pub fn new(config: CloudConfig, store: StoreHandle) -> Result<Self, Failure> {
        Ok(Self::over(Transport::new(config)?, store))
    }

    /// Makes one that talks over a transport of the caller's.
    #[must_use]
    pub fn over(transport: Transport, store: StoreHandle) -> Self {
        Self { transport, store, kind: Arc::default() }
    }

    /// Asks who answers. A Go server tells no identity: it gets one of its address, and no capability.
    ///
    /// # Errors
    /// [`Failure`]; `server_unsupported` for one that is neither kind.
    pub async fn probe(&self) -> Result<HealthReply, Failure> {
        let mut reply = self.transport.probe().await?;
        let lacks = |name: &&str| !reply.capabilities.iter().any(|known| known == name);
        let kind = match (&reply.cloud_id, WANTED.iter().any(lacks)) {
            (Some(cloud_id), false) => Kind::Ours(cloud_id.clone()),
            (None, _) if reply.capabilities.is_empty() => Kind::Go,
            _ => {
                let (host, wanted) = (self.transport.host(), WANTED.join(" and "));
                let ours = engram_proto::VERSION;
                let message = format!("{host} lacks {wanted}; engram-cloud {ours} or newer is wanted");
                return Err(Failure::Blocked { code: ReasonCode::ServerUnsupported, message });
            }
        };
        if kind == Kind::Go {
            reply.cloud_id = Some(self.go_server().identity().await?);
        }
        *self.kind.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind);
        Ok(reply)
    }

    /// Sends rows of one project.
    ///
    /// # Errors
    /// [`Failure`]; [`Failure::Rows`] where it may be a row's fault.
    pub async fn push(&self, project: &ProjectName, rows: &[Arc<PendingRow>]) -> Result<PushReply, Failure> {
        match self.kind().await? {
            Kind::Ours(cloud_id) => self.transport.push(project, rows, self.expected(cloud_id).await?).await,
            Kind::Go => self.go_server().push(project, rows).await,
        }
    }

    /// Asks for a page; what was sent under a disguise, by whatever device, comes back as itself.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn pull(&self, request: &PullRequest) -> Result<PullReply, Failure> {
        let kind = self.kind().await?;
        let mut reply = match &kind {
            Kind::Ours(cloud_id) => {
                let (witness, cloud_id) = self.expected(cloud_id.clone()).await?;
                let request = PullRequest { witness, cloud_id, ..request.clone() };
                up_to_last_rows(self.transport.pull(&request).await?)
            }
            Kind::Go => self.go_server().pull(request).await?,
        };
        reply.mutations.retain_mut(disguise::take_back);
        if kind == Kind::Go {
            self.go_server().record(&reply).await?;
            self.go_server().add_chunks(request, &mut reply).await?;
        }
        Ok(reply)
    }

    /// Returns host and port, for messages.
    #[must_use]
    pub fn host(&self) -> String {
        self.transport.host()
    }

    async fn kind(&self) -> Result<Kind, Failure> {
        let known = || self.kind.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kind) = known() {
            return Ok(kind);
        }
        self.probe().await?;
        known().ok_or_else(|| self.transport.impossible("its greeting says nothing"))
    }

    /// Returns what the server must still hold, or else who it must be (CUR-3); read anew for every request, for every reply
    /// may tell of more.
    async fn expected(&self, cloud_id: String) -> Result<(Option<Witness>, Option<String>), Failure> {
        let name = cloud_id.clone();
        let witness = on_store(&self.store, move |store| store.witness(&name)).await?;
        let cloud_id = witness.is_none().then_some(cloud_id);
        Ok((witness, cloud_id))
    }

    fn go_server(&self) -> GoServer<'_> {
        GoServer { transport: &self.transport, store: &self.store }
    }
}

/// Takes a server's cursor only up to its project's last row (CUR-1): it orders by project, so nothing lies between.
fn up_to_last_rows(mut reply: PullReply) -> PullReply {
    let mutations = &reply.mutations;
    reply.cursors.retain(|project, cursor| {
        let last = mutations.iter().filter(|row| row.project == project.as_str()).map(|row| row.seq).max();
        *cursor = last.map_or(*cursor, |last| last.min(*cursor));
        last.is_some()
    });
    reply
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cur_1_a_servers_cursor_is_taken_only_up_to_the_last_row() {
        let row = json!({"seq": 8, "project": "alpha", "entity": "session", "entity_key": "s", "op": "upsert",
            "payload": {}, "occurred_at": "2026-11-22T10:00:00Z"});
        let greedy = json!({"mutations": [row], "cursors": {"alpha": 4_000, "beta": 4_000}, "heads": {},
            "remaining": {}, "has_more": false});
        let reply = up_to_last_rows(serde_json::from_value(greedy).unwrap());
        assert_eq!(reply.cursors, [(ProjectName::parse("alpha").unwrap(), 8)].into());
    }
}
