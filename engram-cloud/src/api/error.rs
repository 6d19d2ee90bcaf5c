//! Every refusal, as JSON in the one envelope of the contract.

use crate::auth::AuthError;
use crate::clock::rfc3339_us;
use crate::journal::{Control, JournalError};
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use engram_proto::canonical::Object;
use engram_proto::http::error::{ErrorBody, InvalidEntry, class, code};
use serde::Serialize;

/// Seconds after which a store that is down is worth another try.
const RETRY_STORE_S: u64 = 5;

/// A refusal.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    body: ErrorBody,
    details: Object,
    retry_after_s: Option<u64>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(flatten)]
    body: &'a ErrorBody,
    #[serde(flatten)]
    details: &'a Object,
}

impl ApiError {
    /// Makes a refusal.
    #[must_use]
    pub(crate) fn new(status: StatusCode, class: &str, code: &str, error: impl Into<String>) -> Self {
        let body = ErrorBody {
            error_class: class.to_owned(),
            error_code: code.to_owned(),
            error: error.into(),
            ..ErrorBody::default()
        };
        Self(Box::new(Parts { status, body, details: Object::new(), retry_after_s: None }))
    }

    /// Refuses a body that is not what the route takes.
    #[must_use]
    pub(crate) fn unreadable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, class::REPAIRABLE, code::PAYLOAD_INVALID, error)
    }

    /// Refuses a batch for single entries, and names them.
    #[must_use]
    pub(crate) fn invalid(error: String, invalid: Vec<InvalidEntry>) -> Self {
        let mut refusal = Self::new(StatusCode::BAD_REQUEST, class::REPAIRABLE, code::VALIDATION_ERROR, error);
        refusal.0.body.reason_code = Some(code::VALIDATION_ERROR.to_owned());
        refusal.0.body.invalid = invalid;
        refusal
    }

    /// Refuses a chunk for single rows, and names them.
    #[must_use]
    pub(crate) fn invalid_chunk(error: String, invalid: Vec<InvalidEntry>) -> Self {
        let mut refusal = Self::invalid(error, invalid);
        code::PAYLOAD_INVALID.clone_into(&mut refusal.0.body.error_code);
        refusal
    }

    /// Refuses a project that the principal may not touch.
    #[must_use]
    pub(crate) fn forbidden(project: &str) -> Self {
        let error = format!("project {project:?} is not among those this token may touch");
        let mut refusal = Self::new(StatusCode::FORBIDDEN, class::POLICY, code::POLICY_FORBIDDEN, error);
        refusal.0.body.project = Some(project.to_owned());
        refusal
    }

    /// Refuses pushes of a paused project, with who paused it, when and why.
    #[must_use]
    pub(crate) fn paused(control: &Control) -> Self {
        let project = control.project.as_str();
        let reason = control.reason.as_deref().unwrap_or_default();
        let error = format!("sync is paused for project {project:?} by {}: {reason}", control.updated_by);
        let mut refusal = Self::new(StatusCode::CONFLICT, class::POLICY, code::SYNC_PAUSED, error);
        refusal.0.body.project = Some(project.to_owned());
        for (name, value) in [
            ("reason", reason),
            ("updated_by", &control.updated_by),
            ("updated_at", &rfc3339_us(control.updated_at_us)),
            ("project_source", "request_body"),
            ("project_path", ""),
        ] {
            refusal.0.details.insert(name.to_owned(), value.into());
        }
        refusal
    }

    /// Refuses everything, because the row that the client was told is not in this data set (CUR-3).
    #[must_use]
    pub(crate) fn replaced(cloud_id: &str) -> Self {
        let error = "this server is not the one you know, or lacks the last row that you were told: it was restored or replaced";
        let mut refusal = Self::new(StatusCode::CONFLICT, class::BLOCKED, code::CLOUD_REPLACED, error);
        refusal.0.body.cloud_id = Some(cloud_id.to_owned());
        refusal
    }

    /// Refuses a path that leads nowhere.
    #[must_use]
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, class::INVALID_REQUEST, "not_found", "there is no such route on this server")
    }

    /// Refuses a verb that the path does not know.
    #[must_use]
    pub(crate) fn method_not_allowed() -> Self {
        let error = "this route does not take that method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, class::INVALID_REQUEST, "method_not_allowed", error)
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let said = error.to_string();
        if let AuthError::Throttled { retry_after_s } = error {
            let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, class::POLICY, "rate_limited", said);
            refusal.0.retry_after_s = Some(retry_after_s);
            return refusal;
        }
        Self::new(StatusCode::UNAUTHORIZED, class::POLICY, code::UNAUTHORIZED, said)
    }
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> Self {
        // The cause may name files; it is for the log, the client learns when to come back.
        tracing::error!(%error, "the store failed a request");
        let said = "the store does not answer; nothing was lost, try again";
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, class::BLOCKED, code::UNAVAILABLE, said);
        refusal.0.retry_after_s = Some(RETRY_STORE_S);
        refusal
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Parts { status, body, details, retry_after_s } = *self.0;
        let mut response = (status, Json(Envelope { body: &body, details: &details })).into_response();
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
