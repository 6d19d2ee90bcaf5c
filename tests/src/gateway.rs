//! A gateway before a server: it passes everything on and writes it down, or answers as the test tells it to.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::Runtime;

/// No body here is larger.
const BODY_BYTES_MAX: usize = 64 << 20;

/// What becomes of the next push. Rows are told by their places: bits of a pattern, which begins anew after 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server has done it, and the answer is lost.
    LoseAnswer,
    /// The server has done it, and the answer ends in the middle.
    Truncate,
    /// The server hears nothing of it; a page in HTML is the answer.
    Html,
    /// The server has done it, and the answer names some of the rows, or none.
    NameSome(u64),
    /// The server hears of some of the rows, and the answer names those.
    TakeSome(u64),
}

/// An answer that is given instead of the server's.
#[derive(Clone, Debug)]
pub struct Instead {
    /// To requests of paths that begin so, and, where `holding` is not empty, whose body holds it.
    pub path: &'static str,
    /// A text that the body must hold.
    pub holding: &'static str,
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// One request, as it passed by.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method, path and query.
    pub line: String,
    /// All headers but the token.
    pub headers: String,
    /// The body, unpacked.
    pub body: String,
    /// How long the body was on the wire.
    pub bytes: usize,
    /// What was answered.
    pub status: u16,
}

/// How it behaves, and what it saw.
#[derive(Debug, Default)]
pub struct Inside {
    /// For the next pushes, in order.
    pub faults: Vec<Fault>,
    /// Answers that are given instead.
    pub instead: Vec<Instead>,
    /// Pushes with entries whose keys begin so are refused with 400, which names these; empty for none.
    pub invalid: &'static str,
    /// Bodies longer than this, unpacked, are refused with 413.
    pub body_bytes_max: Option<usize>,
    /// While it is there, requests are delayed, come a second time later, or their answer is lost: the state of the dice.
    pub storm: Option<u64>,
    /// Answers to pushes are kept back as long as this is so.
    pub keeps_answers: bool,
    /// Where requests go instead, without an outage.
    pub behind: Option<String>,
    /// Everything that passed by.
    pub seen: Vec<Seen>,
}

/// What a storm does to a request.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// How long it is on its way.
    delay: Duration,
    /// How long after it the same request arrives once more.
    again: Option<Duration>,
    /// Whether the answer is lost.
    is_lost: bool,
}

impl Inside {
    fn weather(&mut self) -> Weather {
        let Some(state) = &mut self.storm else { return Weather::default() };
        let mut roll = |sides: u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 33) % sides
        };
        let delay = Duration::from_millis(if roll(2) == 0 { roll(60) } else { 0 });
        let again = (roll(4) == 0).then(|| Duration::from_millis(roll(120)));
        Weather { delay, again, is_lost: roll(8) == 0 }
    }
}

/// A running gateway; it ends with its value.
pub struct Gateway {
    /// Where it listens.
    pub url: String,
    shared: Arc<Mutex<Inside>>,
    _runtime: Runtime,
}

#[derive(Clone)]
struct Behind {
    url: String,
    client: reqwest::Client,
    shared: Arc<Mutex<Inside>>,
}

impl Gateway {
    /// Starts one before a server.
    ///
    /// # Panics
    /// Where it cannot listen.
    #[must_use]
    pub fn start(url: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Runtime::new().expect("a runtime");
        let client = reqwest::Client::builder().no_proxy().timeout(crate::processes::DEADLINE * 2).build();
        let shared = Arc::<Mutex<Inside>>::default();
        let behind = Behind { url: url.to_owned(), client: client.expect("a client"), shared: Arc::clone(&shared) };
        let app = Router::new().fallback(pass).with_state(behind);
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        runtime.spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, shared, _runtime: runtime }
    }

    /// Reaches how it behaves and what it saw.
    ///
    /// # Panics
    /// Where a request panicked.
    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.shared.lock().expect("no request panicked")
    }

    /// Counts the pushes that were answered so.
    #[must_use]
    pub fn answered(&self, status: u16) -> usize {
        self.inside().seen.iter().filter(|seen| is_push(&seen.line) && seen.status == status).count()
    }

    /// Returns the pushes that passed by.
    #[must_use]
    pub fn pushes(&self) -> Vec<Seen> {
        self.inside().seen.iter().filter(|seen| is_push(&seen.line)).cloned().collect()
    }
}

fn is_push(line: &str) -> bool {
    line.starts_with("POST /sync/mutations/push")
}

fn unpacked(headers: &HeaderMap, body: &[u8]) -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    let packed = headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip");
    let read = if packed { flate2::read::GzDecoder::new(body).read_to_end(&mut text) } else { Ok(0) };
    if packed && read.is_ok() {
        String::from_utf8_lossy(&text).into_owned()
    } else {
        String::from_utf8_lossy(body).into()
    }
}

/// Passes a request on, whether or not whoever sent it still waits.
async fn pass(State(behind): State<Behind>, request: Request) -> Response {
    tokio::spawn(through(behind, request)).await.expect("no request panicked")
}

async fn through(behind: Behind, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let line = format!("{} {}", parts.method, parts.uri);
    let text = unpacked(&parts.headers, &body);
    let mut headers = parts.headers.clone();
    headers.remove("authorization");
    let told = told(&behind, parts.uri.path(), &text);
    let answer = match told {
        Some(instead) => instead,
        None => ask(&behind, &line, parts.uri.to_string(), parts.method, parts.headers, body.clone()).await,
    };
    let (headers, status) = (format!("{headers:?}"), answer.status().as_u16());
    let seen = Seen { line, headers, body: text, bytes: body.len(), status };
    let mut inside = behind.shared.lock().expect("no request panicked");
    inside.seen.push(seen);
    drop(inside);
    answer
}

/// What it was told to answer instead.
fn told(behind: &Behind, path: &str, body: &str) -> Option<Response> {
    let inside = behind.shared.lock().expect("no request panicked");
    if inside.body_bytes_max.is_some_and(|max| body.len() > max) {
        return Some((StatusCode::PAYLOAD_TOO_LARGE, "<html>413 Request Entity Too Large</html>").into_response());
    }
    let bad = if inside.invalid.is_empty() { None } else { invalid(body, inside.invalid) };
    if let Some(invalid) = bad {
        return Some((StatusCode::BAD_REQUEST, [("content-type", "application/json")], invalid).into_response());
    }
    let fits = |instead: &&Instead| path.starts_with(instead.path) && body.contains(instead.holding);
    let instead = inside.instead.iter().find(fits)?;
    let status = StatusCode::from_u16(instead.status).expect("a status");
    Some((status, [("content-type", "application/json")], instead.body.clone()).into_response())
}

/// The refusal of a push that has entries with such keys.
fn invalid(body: &str, prefix: &str) -> Option<String> {
    let push: serde_json::Value = serde_json::from_str(body).ok()?;
    let is_bad = |entry: &serde_json::Value| entry["entity_key"].as_str().is_some_and(|key| key.starts_with(prefix));
    let bad = push["entries"].as_array()?.iter().enumerate().filter(|(_, entry)| is_bad(entry));
    let named: Vec<_> = bad
        .map(|(index, entry)| serde_json::json!({"index": index, "field": "content", "entity": entry["entity"]}))
        .collect();
    let error = serde_json::json!({"error": "invalid rows", "reason_code": "validation_error", "invalid": named});
    (!named.is_empty()).then(|| error.to_string())
}

/// Where a request goes now, and in what weather.
fn now(behind: &Behind) -> (String, Weather) {
    let mut inside = behind.shared.lock().expect("no request panicked");
    (inside.behind.clone().unwrap_or_else(|| behind.url.clone()), inside.weather())
}

async fn ask(
    behind: &Behind,
    line: &str,
    uri: String,
    method: axum::http::Method,
    mut headers: HeaderMap,
    mut body: Bytes,
) -> Response {
    headers.remove("host");
    let (server, weather) = now(behind);
    let fault = if is_push(line) { next_fault(behind) } else { None };
    match fault {
        Some(Fault::Html) => return "<html><body>Sign in to the network</body></html>".into_response(),
        Some(Fault::TakeSome(places)) => {
            body = some(&unpacked(&headers, &body), &["entries"], places);
            headers.remove("content-encoding");
            headers.remove("content-length");
        }
        _ => {}
    }
    let url = format!("{server}{uri}");
    tokio::time::sleep(weather.delay).await;
    let request = behind.client.request(method, url).headers(headers).body(body);
    if let (Some(delay), Some(copy)) = (weather.again, request.try_clone()) {
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // Nobody waits for this answer.
            let _ = copy.send().await;
        });
    }
    let Ok(answer) = request.send().await else {
        return (StatusCode::BAD_GATEWAY, "nobody behind").into_response();
    };
    while is_push(line) && keeps_answers(behind) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if weather.is_lost {
        return (StatusCode::BAD_GATEWAY, "lost on its way").into_response();
    }
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let Ok(body) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let body = match fault {
        Some(Fault::LoseAnswer) => return StatusCode::BAD_GATEWAY.into_response(),
        Some(Fault::Truncate) => body.slice(..body.len() / 2),
        Some(Fault::NameSome(places)) => {
            let text = unpacked(&headers, &body);
            headers.remove("content-encoding");
            some(&text, &["accepted_seqs", "receipts"], places)
        }
        None | Some(Fault::Html | Fault::TakeSome(_)) => body,
    };
    headers.remove("content-length");
    headers.remove("transfer-encoding");
    let mut response = Response::new(Body::from(body));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

fn next_fault(behind: &Behind) -> Option<Fault> {
    let mut inside = behind.shared.lock().expect("no request panicked");
    (!inside.faults.is_empty()).then(|| inside.faults.remove(0))
}

fn keeps_answers(behind: &Behind) -> bool {
    behind.shared.lock().expect("no request panicked").keeps_answers
}

/// An object whose lists lack what stands at the other places.
fn some(text: &str, lists: &[&str], places: u64) -> Bytes {
    let mut object: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    for list in lists {
        if let Some(list) = object[list].as_array_mut() {
            let keep = |at: usize| places >> (at % 64) & 1 == 1;
            *list = list.drain(..).enumerate().filter(|(at, _)| keep(*at)).map(|(_, one)| one).collect();
        }
    }
    Bytes::from(object.to_string())
}
