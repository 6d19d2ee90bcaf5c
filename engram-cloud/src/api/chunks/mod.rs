//! The chunk routes: the same history as the mutation routes', for clients that read and write it in chunks.
//!
//! [`slice`] makes chunks of what came as mutations, [`read`] makes entries of what came as a chunk.

pub(crate) mod get;
pub(crate) mod push;
mod read;
mod slice;

use super::ApiError;
use crate::auth::Principal;
use axum::http::StatusCode;
use engram_proto::http::error::{class, code};
use engram_proto::id::ProjectName;
use serde::Deserialize;

/// The query of every chunk route.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    project: Option<String>,
}

/// Where a request without a body names its project.
const IN_QUERY: &str = "name it with ?project=NAME";

/// Reads the project that a request is about, and asks the grant for it; `how` says how it is named.
fn authorised(project: Option<&str>, how: &str, principal: &Principal) -> Result<ProjectName, ApiError> {
    let Ok(project) = ProjectName::parse(project.unwrap_or_default()) else {
        let error = format!("project is required; {how}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, class::BLOCKED, code::PROJECT_REQUIRED, error));
    };
    if principal.grant.allows(&project) { Ok(project) } else { Err(ApiError::forbidden(project.as_str())) }
}
