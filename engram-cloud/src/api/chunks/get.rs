//! `GET /sync/pull` and `GET /sync/pull/{chunkID}`: a project's list of chunks, and the bytes of one.

use super::{Asked, IN_QUERY, authorised, slice};
use crate::api::ApiError;
use crate::app::App;
use crate::auth::Principal;
use crate::journal::Journal;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use engram_proto::chunk::{ChunkId, Manifest};
use engram_proto::http::error::class;
use std::sync::Arc;

type Query1 = Result<Query<Asked>, QueryRejection>;

/// Lists the chunks, once they tell all that the journal holds.
///
/// # Errors
/// [`ApiError`] without a project or a grant for it, or where the store does not answer.
pub(crate) async fn list<J: Journal>(
    State(app): State<App<J>>,
    Extension(principal): Extension<Arc<Principal>>,
    query: Query1,
) -> Result<Json<Manifest>, ApiError> {
    let asked = query.map(|query| query.0).unwrap_or_default();
    let project = authorised(asked.project.as_deref(), IN_QUERY, &principal)?;
    slice::tell_all(&app.journal, &project).await?;
    Ok(Json(Manifest { version: Manifest::VERSION, chunks: app.journal.chunks(&project).await? }))
}

/// Answers with the bytes that the id is the hash of.
///
/// # Errors
/// [`ApiError`] without a project or a grant for it, where there is no such chunk, or the store does not answer.
pub(crate) async fn one<J: Journal>(
    State(app): State<App<J>>,
    Extension(principal): Extension<Arc<Principal>>,
    Path(id): Path<String>,
    query: Query1,
) -> Result<Response, ApiError> {
    let asked = query.map(|query| query.0).unwrap_or_default();
    let project = authorised(asked.project.as_deref(), IN_QUERY, &principal)?;
    let found = match ChunkId::parse(&id) {
        Ok(id) => app.journal.chunk(&project, &id).await?,
        Err(_) => None,
    };
    let Some(text) = found else {
        let error = format!("project {:?} has no chunk of this id; GET /sync/pull lists what it has", project.as_str());
        return Err(ApiError::new(StatusCode::NOT_FOUND, class::INVALID_REQUEST, "chunk_not_found", error));
    };
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}
