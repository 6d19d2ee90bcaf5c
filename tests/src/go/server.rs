//! A server that answers as the Go program's does, faults included; what it holds and how it fails is told by the test.
//!
//! One global order; a batch is taken whole or not at all; nothing is merged; plain-text errors; 403 per project on
//! pushes and on the manifest route only; `latest_seq` is the end of the page.

use crate::processes::TOKEN;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use engram_proto::chunk::{ChunkId, encode};
use engram_proto::mutation::{Entity, text_of};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::runtime::Runtime;

/// Entries of a push and rows of a page, at most.
const ROWS_MAX: usize = 100;

/// What becomes of the next push that would be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is committed, and the answer is lost.
    LoseAnswer,
    /// It is committed, and the answer names one row less.
    AnswerShort,
    /// It is committed, and a page in HTML is the answer.
    AnswerHtml,
}

/// One row of the journal.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number.
    pub seq: u64,
    /// The entry as it came.
    pub entry: Value,
    /// RFC 3339.
    pub occurred_at: String,
    /// Numbered, and not committed yet (D3).
    pub hidden: bool,
}

/// What it holds, and how it behaves.
#[derive(Clone, Debug, Default)]
pub struct Inside {
    /// In arrival order, as they were pushed.
    pub rows: Vec<Row>,
    /// The projects that the token may touch; without any it may touch all.
    pub allowed: Option<BTreeSet<String>>,
    /// Chunks by project, in the order of their list: who made them, and what is in them.
    pub chunks: BTreeMap<String, Vec<(String, Value)>>,
    /// Projects whose pushes are paused.
    pub paused: BTreeSet<String>,
    /// For the next pushes, in order.
    pub faults: Vec<Fault>,
    /// Everything answers 503.
    pub down: bool,
    /// Requests by method and path.
    pub requests: BTreeMap<String, u64>,
}

type Shared = Arc<Mutex<Inside>>;

/// A running server; it ends with its value.
pub struct GoServer {
    /// Where it listens.
    pub url: String,
    shared: Shared,
    _runtime: Runtime,
}

impl GoServer {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// Where it cannot listen.
    #[must_use]
    pub fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let shared = Shared::default();
        let app = Router::new()
            .route("/health", get(|| async { Json(json!({"status": "ok", "service": "engram-cloud"})) }))
            .route("/sync/mutations/push", post(push))
            .route("/sync/mutations/pull", get(pull))
            .route("/sync/pull", get(manifest))
            .route("/sync/pull/{id}", get(chunk))
            .fallback(|| async { plain(404, "404 page not found") })
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit))
            .with_state(Arc::clone(&shared));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        runtime.spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, shared, _runtime: runtime }
    }

    /// Reaches what it holds and how it behaves.
    ///
    /// # Panics
    /// Where a request panicked.
    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.shared.lock().expect("no request panicked")
    }

    /// Appends a row as a Go client's push would.
    pub fn append(&self, project: &str, entity: &str, op: &str, payload: Value) -> u64 {
        let key = payload["sync_id"].as_str().or(payload["id"].as_str()).unwrap_or_default().to_owned();
        let entry = json!({"project": project, "entity": entity, "entity_key": key, "op": op, "payload": payload});
        self.inside().commit(&[entry])[0]
    }

    /// Counts the rows of an entity's key.
    #[must_use]
    pub fn rows_of(&self, key: &str) -> usize {
        self.inside().rows.iter().filter(|row| row.entry["entity_key"] == key).count()
    }
}

impl Inside {
    fn commit(&mut self, entries: &[Value]) -> Vec<u64> {
        let first = self.rows.last().map_or(1, |row| row.seq + 1);
        let row = |(seq, entry): (u64, &Value)| Row { seq, entry: entry.clone(), occurred_at: now(), hidden: false };
        self.rows.extend((first..).zip(entries).map(row));
        (first..).take(entries.len()).collect()
    }

    fn allows(&self, project: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(project))
    }
}

#[expect(clippy::disallowed_methods, reason = "a server has a clock of its own")]
fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    engram_proto::time::rfc3339_from_ms(i64::try_from(since.as_millis()).unwrap_or(0))
}

fn plain(status: u16, text: &str) -> Response {
    (StatusCode::from_u16(status).expect("a status"), format!("{text}\n")).into_response()
}

fn refuse(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).expect("a status"), Json(body)).into_response()
}

fn forbidden() -> Response {
    let text = "forbidden: project is not allowed";
    refuse(403, json!({"error": text, "error_class": "policy", "error_code": "policy_forbidden"}))
}

async fn admit(State(shared): State<Shared>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let down = {
        let mut inside = shared.lock().expect("no request panicked");
        *inside.requests.entry(format!("{} {}", request.method(), request.uri().path())).or_default() += 1;
        inside.down
    };
    if down {
        return plain(503, "upstream connect error");
    }
    if request.uri().path().starts_with("/sync/") {
        match headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default()) {
            None => return plain(401, "unauthorized: missing authorization header"),
            Some(token) if token != format!("Bearer {TOKEN}") => {
                return plain(401, "unauthorized: invalid bearer token");
            }
            Some(_) => {}
        }
    }
    next.run(request).await
}

async fn manifest(State(shared): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let Some(project) = query.get("project") else {
        let body = json!({"error": "project is required", "error_class": "blocked",
            "error_code": "upgrade_blocked_project_required"});
        return refuse(400, body);
    };
    let inside = shared.lock().expect("no request panicked");
    if !inside.allows(project) {
        return forbidden();
    }
    let chunks = inside.chunks.get(project).into_iter().flatten();
    let entries = chunks.map(|(created_by, chunk)| {
        let count = |list: &str| chunk[list].as_array().map_or(0, Vec::len);
        json!({"id": chunk_id(chunk), "created_by": created_by, "created_at": "2026-11-22T10:00:00Z",
            "sessions": count("sessions"), "memories": count("observations"), "prompts": count("prompts")})
    });
    Json(json!({"version": 1, "chunks": entries.collect::<Vec<_>>()})).into_response()
}

fn chunk_id(chunk: &Value) -> String {
    ChunkId::of_bytes(&encode(chunk)).to_string()
}

/// A chunk, its bytes as `jsonb` shows them: they are not those that its id is the hash of (D68).
async fn chunk(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let inside = shared.lock().expect("no request panicked");
    let project = query.get("project").cloned().unwrap_or_default();
    if !inside.allows(&project) {
        return forbidden();
    }
    let mut chunks = inside.chunks.get(&project).into_iter().flatten();
    match chunks.find(|(_, chunk)| chunk_id(chunk) == id) {
        Some((_, chunk)) => format!("{chunk:#}").into_response(),
        None => plain(404, &format!("read chunk: cloudstore: chunk not found: {id:?}")),
    }
}

async fn pull(State(shared): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let since = number("since_seq").unwrap_or(0) as u64;
    let limit = number("limit").unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
    let inside = shared.lock().expect("no request panicked");
    let project = |row: &Row| row.entry["project"].as_str().unwrap_or_default().to_owned();
    let visible = |row: &&Row| row.seq > since && !row.hidden && inside.allows(&project(row));
    let rows: Vec<_> = inside.rows.iter().filter(visible).take(limit + 1).collect();
    let page = &rows[..rows.len().min(limit)];
    let served = |row: &&Row| {
        let mut entry = row.entry.clone();
        entry["seq"] = row.seq.into();
        entry["occurred_at"] = row.occurred_at.clone().into();
        entry
    };
    Json(json!({
        "mutations": page.iter().map(served).collect::<Vec<_>>(),
        "has_more": rows.len() > page.len(),
        "latest_seq": page.last().map_or(0, |row| row.seq),
        "project": inside.allowed.as_ref().and_then(|allowed| allowed.first()).cloned().unwrap_or_default(),
        "project_source": "request_body",
        "project_path": "",
    }))
    .into_response()
}

async fn push(State(shared): State<Shared>, body: Bytes) -> Response {
    let body: Value = match serde_json::from_slice(&body) {
        Ok(body) => body,
        // A compressed body is none to it either.
        Err(_) => return plain(400, "invalid request body: unexpected EOF"),
    };
    let entries = body["entries"].as_array().cloned().unwrap_or_default();
    let mut inside = shared.lock().expect("no request panicked");
    if let Some(refusal) = refusal(&inside, &entries) {
        return refusal;
    }
    let mut seqs = inside.commit(&entries);
    let fault = if inside.faults.is_empty() { None } else { Some(inside.faults.remove(0)) };
    match fault {
        Some(Fault::LoseAnswer) => return plain(502, "bad gateway"),
        Some(Fault::AnswerHtml) => return "<html><body>Sign in to the network</body></html>".into_response(),
        Some(Fault::AnswerShort) => drop(seqs.pop()),
        None => {}
    }
    let project = entries[0]["project"].clone();
    Json(json!({"accepted_seqs": seqs, "project": project, "project_source": "request_body", "project_path": ""}))
        .into_response()
}

fn refusal(inside: &Inside, entries: &[Value]) -> Option<Response> {
    if entries.len() > ROWS_MAX {
        return Some(plain(400, "batch too large: max 100 entries per request"));
    }
    if entries.is_empty() {
        let text = "mutation batch must contain at least one entry";
        return Some(refuse(400, json!({"error": text, "error_class": "repairable", "error_code": "empty_batch"})));
    }
    let projects: Vec<_> = entries.iter().map(|entry| entry["project"].as_str().unwrap_or_default().trim()).collect();
    if projects.iter().any(|project| project.is_empty()) {
        let text = "mutation entries must specify a project";
        return Some(refuse(
            400,
            json!({"error": text, "error_class": "invalid_request", "error_code": "empty_project"}),
        ));
    }
    if projects.iter().any(|project| !inside.allows(project)) {
        return Some(forbidden());
    }
    if let Some(project) = projects.iter().find(|&&project| inside.paused.contains(project)) {
        let text = format!("sync is paused for project {project:?}");
        return Some(refuse(
            409,
            json!({"error": text, "error_class": "policy", "error_code": "sync-paused", "project": project,
                "project_path": "", "project_source": "request_body"}),
        ));
    }
    invalid_relation(entries).or_else(|| unacceptable(entries))
}

/// Relations alone are looked at before anything is written.
fn invalid_relation(entries: &[Value]) -> Option<Response> {
    let wrong = |(index, entry): (usize, &Value)| {
        let entity = Entity::parse(entry["entity"].as_str()?).filter(|entity| *entity == Entity::Relation)?;
        let field = entity.missing_field(entry["payload"].as_object()?)?;
        Some(json!({"entity": entity, "field": field, "index": index}))
    };
    let invalid: Vec<_> = entries.iter().enumerate().filter_map(wrong).collect();
    let body = json!({"error": "invalid relation payload", "reason_code": "validation_error", "invalid": invalid});
    (!invalid.is_empty()).then(|| refuse(400, body))
}

/// The first entry that its canonicaliser, or its database, does not take: 500 in plain text for a client's fault.
fn unacceptable(entries: &[Value]) -> Option<Response> {
    let why = |(at, entry): (usize, &Value)| {
        let entity = Entity::parse(entry["entity"].as_str()?)?;
        let Some(payload) = entry["payload"].as_object() else {
            let key = &entry["entity_key"];
            return Some(format!(
                "materialize mutation batch {entity} {key}: json: cannot unmarshal string into Go value of type store.Session"
            ));
        };
        if payload.values().any(|value| value.as_str().is_some_and(|text| text.contains('\0'))) {
            return Some("pq: unsupported Unicode escape sequence (22P05)".to_owned());
        }
        let missing = entity.missing_field(payload).filter(|_| entry["op"] == "upsert")?;
        debug_assert!(text_of(payload, missing).is_none_or(|text| text.trim().is_empty()), "blank");
        Some(format!(
            "canonicalize materialized mutation batch chunk: mutations[{at}]: {entity} payload {missing} is required for upsert"
        ))
    };
    let why = entries.iter().enumerate().find_map(why)?;
    Some(plain(500, &format!("insert mutations: cloudstore: {why}")))
}
