//! `POST /sync/mutations/pull`: several projects, each from its own cursor, and the long poll.
//!
//! A pull that waits listens first and looks then; it holds an entry among the listeners and nothing of the database.

use super::{ApiError, body};
use crate::app::App;
use crate::auth::Principal;
use crate::journal::{Journal, JournalError, Page, PageAsk};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use engram_proto::http::error::code;
use engram_proto::http::pull::{Denial, PullReply, PullRequest, WAIT_SECONDS_MAX};
use engram_proto::id::ProjectName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The largest question: some ten thousand cursors.
const REQUEST_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of payload in one page.
pub(super) const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Pages up to here are encoded in place; larger ones off the runtime's threads.
const INLINE_ROWS_MAX: usize = 50;

/// Answers with a page, at once or as soon as there is a row.
///
/// # Errors
/// [`ApiError`] for a question that cannot be read, or a store that does not answer.
pub(crate) async fn pull<J: Journal>(
    State(app): State<App<J>>,
    Extension(principal): Extension<Arc<Principal>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: PullRequest = body::read_json(&headers, body, REQUEST_BYTES_MAX, app.timeouts).await?;
    meant(&app, request.cloud_id.as_deref())?;
    let (cursors, denied) = sort(request.cursors, &principal);
    let ask = PageAsk {
        cursors,
        rows_max: usize::try_from(request.limit.min(app.limits.pull_entries)).unwrap_or(usize::MAX),
        bytes_max: PAGE_BYTES_MAX,
        witness: request.witness,
    };
    // A denial is news as well, and heads were asked for now.
    let may_wait = ask.rows_max > 0 && denied.is_empty() && !ask.cursors.is_empty();
    let wait_seconds = if may_wait { request.wait_seconds.min(WAIT_SECONDS_MAX) } else { 0 };
    let page = look(&app, ask, Duration::from_secs(u64::from(wait_seconds))).await?;
    let page = page.ok_or_else(|| ApiError::replaced(app.journal.cloud_id()))?;
    let Page { rows, cursors, heads, remaining, has_more, digests } = page;
    encode(PullReply { mutations: rows, cursors, heads, remaining, has_more, denied, digests, ..PullReply::default() })
        .await
}

/// Refuses a request that means another cloud: whoever was told no row yet has no witness by which it would find out.
///
/// # Errors
/// 409 with the identity of this one.
pub(super) fn meant<J: Journal>(app: &App<J>, cloud_id: Option<&str>) -> Result<(), ApiError> {
    let own = app.journal.cloud_id();
    if cloud_id.is_some_and(|meant| meant != own) { Err(ApiError::replaced(own)) } else { Ok(()) }
}

fn sort(
    asked: BTreeMap<ProjectName, u64>,
    principal: &Principal,
) -> (BTreeMap<ProjectName, u64>, BTreeMap<ProjectName, Denial>) {
    let (granted, refused): (BTreeMap<_, _>, BTreeMap<_, _>) =
        asked.into_iter().partition(|(project, _)| principal.grant.allows(project));
    let denial = |project: ProjectName| {
        let message = format!("project {:?} is not among those this token may touch", project.as_str());
        (project, Denial { reason_code: code::POLICY_FORBIDDEN.to_owned(), message })
    };
    (granted, refused.into_keys().map(denial).collect())
}

async fn look<J: Journal>(app: &App<J>, ask: PageAsk, wait: Duration) -> Result<Option<Page>, JournalError> {
    if wait.is_zero() {
        return app.journal.page(ask).await;
    }
    let listener = app.journal.listen(ask.cursors.keys().cloned().collect());
    let mut draining = app.draining.clone();
    let over = tokio::time::sleep(wait);
    tokio::pin!(over);
    loop {
        let page = app.journal.page(ask.clone()).await?;
        if page.as_ref().is_none_or(|page| !page.rows.is_empty()) {
            return Ok(page);
        }
        tokio::select! {
            () = listener.rung() => {}
            () = &mut over => return Ok(page),
            () = shutdown(&mut draining) => return Ok(page),
        }
    }
}

async fn shutdown(draining: &mut watch::Receiver<bool>) {
    // An error says that the server is gone already.
    let _ = draining.wait_for(|draining| *draining).await;
}

async fn encode(reply: PullReply) -> Result<Response, ApiError> {
    let text = if reply.mutations.len() <= INLINE_ROWS_MAX {
        serde_json::to_vec(&reply).ok()
    } else {
        tokio::task::spawn_blocking(move || serde_json::to_vec(&reply).ok()).await.ok().flatten()
    };
    let text = text.ok_or(JournalError::Closed)?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}
