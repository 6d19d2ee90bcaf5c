//! A running server, and a client that checks what every answer has to have.

use engram_cloud::auth::Grant;
use engram_cloud::config::{Config, Secret};
use engram_proto::id::ProjectName;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Once;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const TOKEN: &str = "a-token-for-tests-only";
pub(crate) const PUSH: &str = "/sync/mutations/push";
pub(crate) const PULL: &str = "/sync/mutations/pull";

/// Nothing here takes longer than this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    done: JoinHandle<()>,
}

/// An answer, read to its end and checked: JSON, with a request id.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
    pub(crate) raw: Vec<u8>,
}

/// Reads the clock, to see how long something took.
#[expect(clippy::disallowed_methods, reason = "a test that measures")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn name(text: &str) -> ProjectName {
    ProjectName::parse(text).expect("a name")
}

pub(crate) fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder().no_proxy().timeout(DEADLINE).build().expect("a client")
}

impl Server {
    /// Starts a server whose token may touch `alpha` and `beta`.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::local(dir.path().join("cloud"));
        config.token = Some(Secret::new(TOKEN.to_owned()));
        config.projects = Some(Grant::Only([name("alpha"), name("beta")].into()));
        change(&mut config);
        let listener = TcpListener::bind(config.addr).await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let done = tokio::spawn(async move { engram_cloud::run(config, listener, shutdown).await.expect("it runs") });
        Self { addr, client: client(), dir, stop: Some(stop), done }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth(TOKEN)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path).body(body.to_string())).await
    }

    /// Pushes entries, and expects them to be taken.
    pub(crate) async fn push(&self, entries: Value) -> Value {
        let answer = self.post(PUSH, &json!({"entries": entries})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Tells the server to stop, as SIGTERM does.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until it is gone.
    pub(crate) async fn gone(self) {
        tokio::time::timeout(DEADLINE, self.done).await.expect("in time").expect("no panic");
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let raw = response.bytes().await.expect("a whole answer").to_vec();
    let is_packed = headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip");
    let plain = if is_packed { gunzip(&raw) } else { raw.clone() };
    let body: Result<Value, _> = serde_json::from_slice(&plain);
    let body = body.unwrap_or_else(|_| panic!("{status} is not JSON: {}", String::from_utf8_lossy(&plain)));
    assert_eq!(headers["content-type"], "application/json");
    assert!(!headers["x-request-id"].is_empty());
    assert!(!String::from_utf8_lossy(&plain).contains(TOKEN), "SECRET-1");
    if !status.is_success() {
        assert!(["error", "error_class", "error_code"].iter().all(|field| body[field].is_string()), "{body}");
    }
    Answer { status, headers, body, raw }
}

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).expect("memory");
    encoder.finish().expect("memory")
}

pub(crate) fn gunzip(packed: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut plain).expect("gzip");
    plain
}

pub(crate) fn session(project: &str, id: &str) -> Value {
    let payload = json!({"id": id, "directory": "/src", "started_at": "2026-11-22 10:00:00"});
    json!({"project": project, "entity": "session", "entity_key": id, "op": "upsert", "payload": payload})
}

pub(crate) fn memory(project: &str, id: &str, content: &str) -> Value {
    let payload = json!({
        "sync_id": id, "session_id": "s", "type": "decision", "title": "title", "content": content, "scope": "project",
        "revision_count": 1, "duplicate_count": 1, "created_at": "2026-11-22 14:00:00", "updated_at": "2026-11-22 14:00:00",
    });
    json!({"project": project, "entity": "observation", "entity_key": id, "op": "upsert", "payload": payload})
}

pub(crate) fn with_id(mut entry: Value, id: &str) -> Value {
    entry["mutation_id"] = id.into();
    entry
}
