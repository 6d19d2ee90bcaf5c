//! `GET /ready`: whether the store answers.

use super::ApiError;
use crate::app::App;
use crate::journal::{Journal, JournalError};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the store may take before it counts as down.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the store, and answers 503 when it does not.
///
/// # Errors
/// [`ApiError`] of status 503.
pub(crate) async fn ready<J: Journal>(State(app): State<App<J>>) -> Result<Json<Value>, ApiError> {
    let asked = tokio::time::timeout(PATIENCE, app.journal.ping()).await;
    asked.unwrap_or(Err(JournalError::Slow))?;
    Ok(Json(json!({"status": "ready", "service": "engram-cloud"})))
}
