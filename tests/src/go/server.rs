//! A server that answers as the Go program's does, faults included; what it holds and how it fails is told by the test.
//!
//! One global order; a batch is taken whole or not at all; nothing is merged; plain-text errors; 403 per project on
//! pushes and on the manifest route only; `latest_seq` is the end of the page.

mod chunks;
mod rules;

use crate::processes::TOKEN;
use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
pub use chunks::chunk_id;
use rules::ROWS_MAX;
pub use rules::{Inside, Reply, Row};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::runtime::Runtime;

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

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("a status");
        if self.is_json {
            (status, [(header::CONTENT_TYPE, "application/json")], self.body).into_response()
        } else {
            (status, self.body).into_response()
        }
    }
}

fn plain(status: u16, text: &str) -> Response {
    Reply::plain(status, text).into_response()
}

async fn admit(State(shared): State<Shared>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let (down, date) = {
        let mut inside = shared.lock().expect("no request panicked");
        *inside.requests.entry(format!("{} {}", request.method(), request.uri().path())).or_default() += 1;
        (inside.down, inside.http_date())
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
    response.headers_mut().insert(header::DATE, HeaderValue::from_str(&date).expect("a header"));
    response
}

async fn pull(State(shared): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (since, limit) = (number("since_seq").unwrap_or(0) as u64, number("limit").unwrap_or(ROWS_MAX));
    shared.lock().expect("no request panicked").pull(since, limit).into_response()
}

async fn push(State(shared): State<Shared>, body: Bytes) -> Response {
    let entries = match Inside::entries(&body) {
        Ok(entries) => entries,
        Err(refusal) => return refusal.into_response(),
    };
    let (mut seqs, fault) = {
        let mut inside = shared.lock().expect("no request panicked");
        let before = inside.rows.len();
        let seqs = match inside.push(&entries) {
            Ok(seqs) => seqs,
            Err(refusal) => return refusal.into_response(),
        };
        let fault = if inside.faults.is_empty() { None } else { Some(inside.faults.remove(0)) };
        match fault {
            Some(Fault::AnswerNothing) => inside.rows.truncate(before),
            Some(Fault::CommitLate) => inside.rows[before..].iter_mut().for_each(|row| row.hidden = true),
            _ => {}
        }
        (seqs, fault)
    };
    match fault {
        Some(Fault::CommitLate) => commit_late(&shared, &seqs).await,
        Some(Fault::LoseAnswer) => return plain(502, "bad gateway"),
        Some(Fault::AnswerHtml) => return "<html><body>Sign in to the network</body></html>".into_response(),
        Some(Fault::AnswerShort) => drop(seqs.pop()),
        Some(Fault::AnswerNothing) => seqs.clear(),
        None => {}
    }
    Inside::accepted(&entries, &seqs).into_response()
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
