//! `POST /sync/push`: a chunk in, whole or not at all.
//!
//! The order of refusals is the contract's: size, form, project, grant, pause, single rows.

use super::read::{Faults, Read, read};
use super::{Asked, authorised, slice};
use crate::api::{ApiError, body};
use crate::app::App;
use crate::auth::Principal;
use crate::clock::US_PER_S;
use crate::journal::rail::ChunkPushed;
use crate::journal::{Journal, JournalError};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use engram_proto::http::chunk::{ChunkPushReply, ChunkPushRequest};
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Takes a chunk.
///
/// # Errors
/// [`ApiError`]; nothing of the chunk was stored then.
pub(crate) async fn push<J: Journal>(
    State(app): State<App<J>>,
    Extension(principal): Extension<Arc<Principal>>,
    query: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ChunkPushReply>, ApiError> {
    let request: ChunkPushRequest = body::read_json(&headers, body, app.limits.push_bytes, app.timeouts).await?;
    let data = match request.data {
        Some(Value::Object(data)) => data,
        Some(_) => return Err(ApiError::unreadable("data must be an object, the chunk")),
        None => return Err(ApiError::unreadable("data is required")),
    };
    let asked = query.map(|query| query.0.project).unwrap_or_default();
    let project = request.project.filter(|project| !project.trim().is_empty()).or(asked);
    let how = "name it in the body, {\"project\": NAME, \"data\": ...}, or with ?project=NAME";
    let project = authorised(project.as_deref(), how, &principal)?;
    let client_created_at_us = match request.client_created_at.filter(|text| !text.trim().is_empty()) {
        Some(text) => Some(time_us(&text)?),
        None => None,
    };
    let (name, principal_name) = (project.clone(), principal.name.clone());
    let created_by = request.created_by.unwrap_or_default();
    let reading =
        tokio::task::spawn_blocking(move || read(&name, &principal_name, &created_by, client_created_at_us, data));
    match reading.await.map_err(|_| JournalError::Closed)? {
        Ok(Read { push, references }) => {
            // Only a list that tells what came before can be told on by this chunk itself.
            slice::tell_all(&app.journal, &project).await?;
            match app.journal.push_chunk(push).await? {
                ChunkPushed::Kept(id) => Ok(Json(ChunkPushReply { status: "ok".to_owned(), chunk_id: id.to_string() })),
                ChunkPushed::Paused(control) => Err(ApiError::paused(&control)),
                ChunkPushed::MissingSessions(missing) => refuse(&project, &principal, unknown(references, &missing)),
            }
        }
        Err(faults) => {
            let controls = app.journal.controls().await?;
            match controls.into_iter().find(|control| control.project == project && !control.is_sync_enabled) {
                Some(control) => Err(ApiError::paused(&control)),
                None => refuse(&project, &principal, faults),
            }
        }
    }
}

fn time_us(text: &str) -> Result<i64, ApiError> {
    let time = RowTime::parse(text).filter(|_| text.contains('T'));
    let time = time.ok_or_else(|| ApiError::unreadable("client_created_at must be RFC3339"))?;
    Ok(time.unix_s().saturating_mul(US_PER_S))
}

fn unknown(references: Vec<(&'static str, usize, String)>, missing: &BTreeSet<String>) -> Faults {
    let mut faults = Faults::default();
    for (list, at, id) in references.into_iter().filter(|(_, _, id)| missing.contains(id)) {
        let entity = if list == "prompts" { "prompt" } else { "observation" };
        faults.add(list, at, "session_id", entity, &format!("references a session that is not there: {id:?}"));
    }
    faults
}

fn refuse<T>(project: &ProjectName, principal: &Principal, faults: Faults) -> Result<T, ApiError> {
    for one in &faults.invalid {
        let (project, field, entity, index) = (project.as_str(), one.field.as_str(), &one.entity, one.index);
        tracing::warn!(project, ?entity, index, field, principal = principal.name, "row of a chunk rejected");
    }
    Err(ApiError::invalid_chunk(format!("invalid push payload: {}", faults.words.join("; ")), faults.invalid))
}
