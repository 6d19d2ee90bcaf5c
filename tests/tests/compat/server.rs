//! A server in this process whose grants can change, and a device that reads it as ours do.

use engram_cloud::auth::Grant;
use engram_cloud::config::{Config, DatabaseUrl, Secret, Store};
use engram_proto::http::pull::{GrantPage, PullReply, PulledMutation};
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engram_tests::go::{GoClient, Remote};
use engram_tests::postgres::Database;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Once;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const TOKEN: &str = "a-token-for-tests-only";

pub(crate) struct Server {
    pub(crate) remote: Remote,
    pub(crate) dir: TempDir,
    database: Option<Database>,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

pub(crate) fn name(text: &str) -> ProjectName {
    ProjectName::parse(text).expect("a name")
}

/// A time of one day, by its minute.
pub(crate) fn minute(minute: i64) -> RowTime {
    RowTime::parse("2026-11-22 10:00:00").expect("a time").plus_s(minute * 60)
}

async fn serve(
    dir: &Path,
    database: Option<&Database>,
    projects: &[&str],
) -> (Remote, oneshot::Sender<()>, JoinHandle<()>) {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let mut config = Config::local(dir.join("cloud"));
    config.token = Some(Secret::new(TOKEN.to_owned()));
    config.projects = Some(Grant::Only(projects.iter().map(|project| name(project)).collect()));
    if let Some(database) = database {
        config.store = Store::Postgres(DatabaseUrl::parse(&database.url()).expect("an address"));
    }
    let listener = TcpListener::bind(config.addr).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let done = tokio::spawn(async move { engram_cloud::run(config, listener, shutdown).await.expect("it runs") });
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    (Remote { url, token: TOKEN.to_owned(), http }, stop, done)
}

impl Server {
    /// Starts one whose token may touch these projects.
    pub(crate) async fn start(projects: &[&str]) -> Self {
        Self::start_on(None, projects).await
    }

    /// Starts one on a database.
    pub(crate) async fn start_on(database: Option<Database>, projects: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (remote, stop, done) = serve(dir.path(), database.as_ref(), projects).await;
        Self { remote, dir, database, stop, done }
    }

    /// Starts again on the same data with another grant.
    pub(crate) async fn regrant(self, projects: &[&str]) -> Self {
        let Self { dir, database, stop, done, .. } = self;
        let _ = stop.send(());
        done.await.expect("it ended");
        let (remote, stop, done) = serve(dir.path(), database.as_ref(), projects).await;
        Self { remote, dir, database, stop, done }
    }

    /// Opens the store of a Go client whose clock stands at a minute.
    pub(crate) fn go(&self, name: &str, at_minute: i64) -> GoClient {
        GoClient::open(&self.dir.path().join(format!("{name}.db")), minute(at_minute))
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.remote.http.post(format!("{}{path}", self.remote.url)).bearer_auth(&self.remote.token);
        let answer = request.body(body.to_string()).send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Pushes entries as a device of ours, with an id each.
    pub(crate) async fn push(&self, entries: Vec<Value>) -> Vec<u64> {
        let named = entries.into_iter().map(|mut entry| {
            entry["mutation_id"] = uuid_like(&entry).into();
            entry
        });
        let reply = self.post("/sync/mutations/push", &json!({"entries": named.collect::<Vec<_>>()})).await;
        serde_json::from_value(reply["accepted_seqs"].clone()).expect("numbers")
    }

    /// Pushes entries without ids.
    pub(crate) async fn push_bare(&self, entries: Vec<Value>) -> Vec<u64> {
        let reply = self.post("/sync/mutations/push", &json!({"entries": entries})).await;
        serde_json::from_value(reply["accepted_seqs"].clone()).expect("numbers")
    }

    /// Pauses a project, as an administrator does beside the server.
    pub(crate) fn pause(&self, project: &str) {
        let path = self.dir.path().join("cloud").join(engram_cloud::journal::embedded::FILE_NAME);
        let beside = engram_cloud::journal::embedded::Beside::open(path).expect("the store");
        let control = engram_cloud::journal::Control {
            project: name(project),
            is_sync_enabled: false,
            reason: None,
            updated_by: "tests".to_owned(),
            updated_at_us: 0,
        };
        beside.set_control(&control).expect("paused");
    }

    /// Reads a page of the `GET` form.
    pub(crate) async fn get(&self, since_seq: u64, limit: usize) -> GrantPage {
        let url = format!("{}/sync/mutations/pull?since_seq={since_seq}&limit={limit}", self.remote.url);
        let answer = self.remote.http.get(url).bearer_auth(&self.remote.token).send().await.expect("an answer");
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("a page")
    }

    /// Reads every row of some projects as a device of ours does.
    pub(crate) async fn rows(&self, projects: &[&str]) -> Vec<PulledMutation> {
        let mut cursors: BTreeMap<ProjectName, u64> = projects.iter().map(|project| (name(project), 0)).collect();
        let mut rows = Vec::new();
        loop {
            let body = self.post("/sync/mutations/pull", &json!({"cursors": cursors, "limit": 1000})).await;
            let page: PullReply = serde_json::from_value(body).expect("a page");
            rows.extend(page.mutations);
            cursors.extend(page.cursors);
            if !page.has_more {
                return rows;
            }
        }
    }
}

fn uuid_like(entry: &Value) -> String {
    let hash = engram_proto::canonical::Hash::of_bytes(entry.to_string().as_bytes()).to_string();
    format!("00000000-0000-4000-8000-000000000000:1:{}", &hash[..16])
}

pub(crate) fn entry(project: &str, entity: &str, key: &str, op: &str, payload: Value) -> Value {
    json!({"project": project, "entity": entity, "entity_key": key, "op": op, "payload": payload})
}

pub(crate) fn session(project: &str, id: &str, directory: &str) -> Value {
    let payload = json!({"id": id, "directory": directory, "started_at": minute(0).to_string()});
    entry(project, "session", id, "upsert", payload)
}

pub(crate) fn memory(project: &str, session_id: &str, id: &str, title: &str, at_minute: i64) -> Value {
    let at = minute(at_minute).to_string();
    let payload = json!({
        "sync_id": id, "session_id": session_id, "type": "decision", "title": title, "content": "content",
        "scope": "project", "revision_count": at_minute + 1, "duplicate_count": 1,
        "created_at": minute(0).to_string(), "updated_at": at,
    });
    entry(project, "observation", id, "upsert", payload)
}

pub(crate) fn delete(project: &str, session_id: &str, id: &str, at_minute: i64, is_hard: bool) -> Value {
    let payload = json!({
        "sync_id": id, "session_id": session_id, "deleted": true, "deleted_at": minute(at_minute).to_string(),
        "hard_delete": is_hard,
    });
    entry(project, "observation", id, "delete", payload)
}

pub(crate) fn session_delete(project: &str, id: &str, at_minute: i64) -> Value {
    let payload = json!({"id": id, "deleted": true, "deleted_at": minute(at_minute).to_string()});
    entry(project, "session", id, "delete", payload)
}
