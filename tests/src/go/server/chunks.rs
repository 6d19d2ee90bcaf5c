//! Its chunk routes, for reading.

use super::rules::Reply;
use super::{Inside, Shared};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use engram_proto::chunk::{ChunkId, encode};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Inside {
    /// Lists a project's chunks; of all its routes this one says 403 for one project alone.
    #[must_use]
    pub fn manifest(&self, project: Option<&str>) -> Reply {
        let Some(project) = project else {
            let body = json!({"error": "project is required", "error_class": "blocked",
                "error_code": "upgrade_blocked_project_required"});
            return Reply::json(400, &body);
        };
        if !self.allows(project) {
            return Reply::forbidden();
        }
        let chunks = self.chunks.get(project).into_iter().flatten();
        let entries = chunks.map(|(created_by, chunk)| {
            let count = |list: &str| chunk[list].as_array().map_or(0, Vec::len);
            json!({"id": chunk_id(chunk), "created_by": created_by, "created_at": "2026-11-22T10:00:00Z",
                "sessions": count("sessions"), "memories": count("observations"), "prompts": count("prompts")})
        });
        Reply::json(200, &json!({"version": 1, "chunks": entries.collect::<Vec<_>>()}))
    }
}

/// Tells by which id it lists a chunk.
#[must_use]
pub fn chunk_id(chunk: &Value) -> String {
    ChunkId::of_bytes(&encode(chunk)).to_string()
}

/// Lists a project's chunks.
pub(super) async fn manifest(State(shared): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let project = query.get("project").map(String::as_str);
    shared.lock().expect("no request panicked").manifest(project).into_response()
}

/// A chunk, its bytes as `jsonb` shows them: they are not those that its id is the hash of (D68).
pub(super) async fn one(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    while shared.lock().expect("no request panicked").chunk_stalled.as_ref() == Some(&id) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let inside = shared.lock().expect("no request panicked");
    if let Some((status, text)) = inside.chunk_faults.get(&id) {
        return Reply::plain(*status, text).into_response();
    }
    let project = query.get("project").cloned().unwrap_or_default();
    if !inside.allows(&project) {
        return Reply::forbidden().into_response();
    }
    let mut chunks = inside.chunks.get(&project).into_iter().flatten();
    match chunks.find(|(_, chunk)| chunk_id(chunk) == id) {
        Some((_, chunk)) => format!("{chunk:#}").into_response(),
        None => Reply::plain(404, &format!("read chunk: cloudstore: chunk not found: {id:?}")).into_response(),
    }
}
