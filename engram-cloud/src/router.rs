//! Which path leads where, and what wraps every answer: request id, log line, compression.

use crate::api;
use crate::app::{App, Peer};
use crate::journal::Journal;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engram_proto::http::path;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Builds the routes.
pub fn router<J: Journal>(app: App<J>) -> Router {
    let sync = Router::new()
        .route(path::PUSH, post(api::push::push::<J>))
        .route(path::PULL, get(api::peers::get::pull::<J>).post(api::pull::pull::<J>))
        .route(path::CHUNKS, get(api::chunks::get::list::<J>))
        .route(path::CHUNK, get(api::chunks::get::one::<J>))
        .route(path::CHUNK_PUSH, post(api::chunks::push::push::<J>))
        .route_layer(middleware::from_fn_with_state(app.clone(), door::<J>));
    Router::new()
        .route(path::HEALTH, get(api::health::health::<J>))
        .route(path::READY, get(api::ready::ready::<J>))
        .merge(sync)
        .fallback(|| async { api::ApiError::not_found() })
        .method_not_allowed_fallback(|| async { api::ApiError::method_not_allowed() })
        .layer(middleware::from_fn(api::gzip::compress))
        .layer(middleware::from_fn_with_state(app.clone(), log::<J>))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(middleware::from_fn(forget_odd_id))
        .with_state(app)
}

/// Lets a request in, or reads its body to the end and answers 401: whoever writes first and reads later sees it then.
async fn door<J: Journal>(State(app): State<App<J>>, mut request: Request, next: Next) -> Response {
    let from = request.extensions().get::<Peer>().map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0);
    match app.gate.admit(request.headers(), from, app.clock.now_us()) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(error) => {
            tracing::warn!(%from, path = request.uri().path(), %error, "not let in");
            api::body::discard(request.into_body(), app.limits.push_bytes, app.timeouts).await;
            api::ApiError::from(error).into_response()
        }
    }
}

/// Takes the id of a client only where it is short and plain; the layer after this one makes one otherwise.
async fn forget_odd_id(mut request: Request, next: Next) -> Response {
    if !plain_id(request.headers()) {
        request.headers_mut().remove(REQUEST_ID);
    }
    next.run(request).await
}

fn plain_id(headers: &HeaderMap) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    headers.get(REQUEST_ID).is_some_and(|id| (1..=64).contains(&id.len()) && id.as_bytes().iter().all(plain))
}

/// Writes one line per request: path and outcome, never a query, a header or a body.
async fn log<J: Journal>(State(app): State<App<J>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).map(str::to_owned);
    let began_us = app.clock.now_us();
    let response = next.run(request).await;
    let (status, ms) = (response.status(), (app.clock.now_us() - began_us) / 1_000);
    let (code, id) = (status.as_u16(), id.unwrap_or_default());
    if status.is_server_error() {
        tracing::warn!(%method, path, status = code, ms, request_id = id, "answered");
    } else if status.is_client_error() && status != StatusCode::UNAUTHORIZED {
        tracing::info!(%method, path, status = code, ms, request_id = id, "answered");
    } else {
        tracing::debug!(%method, path, status = code, ms, request_id = id, "answered");
    }
    response
}
