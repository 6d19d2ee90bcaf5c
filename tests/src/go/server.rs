//! A server that answers as the Go program's does, faults included; what it holds and how it fails is told by the test.
//!
//! One global order; a batch is taken whole or not at all; nothing is merged; plain-text errors; 403 per project on
//! pushes and on the manifest route only; `latest_seq` is the end of the page.

mod chunks;

use crate::processes::TOKEN;
use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use engram_proto::mutation::{Entity, text_of};
use engram_proto::time::RowTime;
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
    /// Nothing is committed, and the answer names nothing.
    AnswerNothing,
    /// It is numbered, and neither committed nor answered before [`Inside::late`] says so (D3).
    CommitLate,
}

/// What becomes of a push that is numbered and not committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// It takes its time.
    #[default]
    Waits,
    /// It is committed and answered.
    Commits,
    /// It is answered, and what was written is lost.
    Vanishes,
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
    /// For pushes that are late.
    pub late: Late,
    /// Everything answers 503.
    pub down: bool,
    /// What every push is answered with.
    pub pushes_refused: Option<u16>,
    /// What every page is answered with; a single row is read all the same.
    pub pages_refused: Option<u16>,
    /// The project that is taken from the token while the next page is read.
    pub revoked_meanwhile: Option<String>,
    /// How far its clock is ahead, in seconds.
    pub ahead_s: i64,
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
            .route("/sync/pull", get(chunks::manifest))
            .route("/sync/pull/{id}", get(chunks::one))
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

    /// Lets an hour pass by its clock: no smaller number than those that it served can still appear.
    pub fn pass_hour(&self) {
        self.inside().ahead_s += 3_600;
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
        // The rows of one transaction have one time.
        let occurred_at = self.now().rfc3339();
        let row = |(seq, entry): (u64, &Value)| Row {
            seq,
            entry: entry.clone(),
            occurred_at: occurred_at.clone(),
            hidden: false,
        };
        self.rows.extend((first..).zip(entries).map(row));
        (first..).take(entries.len()).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "a server has a clock of its own")]
    fn now(&self) -> RowTime {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = RowTime::from_unix_ms(i64::try_from(since.as_millis()).unwrap_or(0)).expect("a time");
        now.plus_s(self.ahead_s)
    }

    fn allows(&self, project: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(project))
    }
}

/// Writes a time as the header `Date` has it, without the weekday.
fn http_date(at: RowTime) -> HeaderValue {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = at.to_string();
    let month = text[5..7].parse::<usize>().expect("a month");
    let date = format!("{} {} {} {} GMT", &text[8..10], MONTHS[month - 1], &text[..4], &text[11..]);
    HeaderValue::from_str(&date).expect("a header")
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
    let (down, now) = {
        let mut inside = shared.lock().expect("no request panicked");
        *inside.requests.entry(format!("{} {}", request.method(), request.uri().path())).or_default() += 1;
        (inside.down, inside.now())
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
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::DATE, http_date(now));
    response
}

async fn pull(State(shared): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let since = number("since_seq").unwrap_or(0) as u64;
    let limit = number("limit").unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
    let mut inside = shared.lock().expect("no request panicked");
    if let Some(status) = inside.pages_refused.filter(|_| limit > 1) {
        return plain(status, "upstream connect error");
    }
    if let Some(project) = inside.revoked_meanwhile.take_if(|_| limit > 1) {
        inside.allowed.get_or_insert_default().remove(&project);
    }
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
    let (mut seqs, fault) = {
        let mut inside = shared.lock().expect("no request panicked");
        if let Some(status) = inside.pushes_refused {
            return plain(status, "insert mutations: cloudstore: pq: the database is starting up");
        }
        if let Some(refusal) = refusal(&inside, &entries) {
            return refusal;
        }
        let fault = if inside.faults.is_empty() { None } else { Some(inside.faults.remove(0)) };
        let seqs = if fault == Some(Fault::AnswerNothing) { Vec::new() } else { inside.commit(&entries) };
        if fault == Some(Fault::CommitLate) {
            inside.rows.iter_mut().filter(|row| seqs.contains(&row.seq)).for_each(|row| row.hidden = true);
        }
        (seqs, fault)
    };
    match fault {
        Some(Fault::CommitLate) => commit_late(&shared, &seqs).await,
        Some(Fault::LoseAnswer) => return plain(502, "bad gateway"),
        Some(Fault::AnswerHtml) => return "<html><body>Sign in to the network</body></html>".into_response(),
        Some(Fault::AnswerShort) => drop(seqs.pop()),
        Some(Fault::AnswerNothing) | None => {}
    }
    let project = entries[0]["project"].clone();
    Json(json!({"accepted_seqs": seqs, "project": project, "project_source": "request_body", "project_path": ""}))
        .into_response()
}

/// Waits until it is said what becomes of these rows.
async fn commit_late(shared: &Shared, seqs: &[u64]) {
    loop {
        {
            let mut inside = shared.lock().expect("no request panicked");
            let of_push = |row: &Row| seqs.contains(&row.seq);
            match inside.late {
                Late::Waits => {}
                Late::Commits => {
                    inside.rows.iter_mut().filter(|row| of_push(row)).for_each(|row| row.hidden = false);
                    return;
                }
                Late::Vanishes => return inside.rows.retain(|row| !of_push(row)),
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
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
