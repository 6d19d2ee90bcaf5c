//! The error envelope.

use serde::{Deserialize, Serialize};

/// The JSON of every refusal; a peer sends plain text for some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// `repairable`, `blocked`, `policy` or `invalid_request`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_class: String,
    /// A word of [`code`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_code: String,
    /// In words: the thing, the reason, the next step.
    pub error: String,
    /// `validation_error`, with [`invalid`](Self::invalid).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    /// The entries at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<InvalidEntry>,
    /// The project a refusal is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Which data set answers, where it is not the one that was synced with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_id: Option<String>,
}

/// One entry at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidEntry {
    /// Its place in the request, from 0.
    pub index: usize,
    /// The field that is missing or wrong.
    #[serde(default)]
    pub field: String,
    /// Its entity.
    #[serde(default)]
    pub entity: String,
}

/// The words of `error_class`.
pub mod class {
    /// The sender can mend it.
    pub const REPAIRABLE: &str = "repairable";
    /// Somebody has to act.
    pub const BLOCKED: &str = "blocked";
    /// An administrator decided so.
    pub const POLICY: &str = "policy";
    /// The request makes no sense.
    pub const INVALID_REQUEST: &str = "invalid_request";
}

/// The words of `error_code`; those a peer uses keep its spelling.
pub mod code {
    /// 403.
    pub const POLICY_FORBIDDEN: &str = "policy_forbidden";
    /// 409: an administrator paused the project.
    pub const SYNC_PAUSED: &str = "sync-paused";
    /// 409: the row of the witness is not here, so this data set was restored or replaced.
    pub const CLOUD_REPLACED: &str = "cloud_replaced";
    /// 413.
    pub const PAYLOAD_TOO_LARGE: &str = "upgrade_repairable_payload_too_large";
    /// 400: not JSON, or not of this shape.
    pub const PAYLOAD_INVALID: &str = "upgrade_repairable_payload_invalid";
    /// 400: a chunk route was asked without a project.
    pub const PROJECT_REQUIRED: &str = "upgrade_blocked_project_required";
    /// 400.
    pub const EMPTY_BATCH: &str = "empty_batch";
    /// 400.
    pub const EMPTY_PROJECT: &str = "empty_project";
    /// 400, in `reason_code`, with the entries at fault.
    pub const VALIDATION_ERROR: &str = "validation_error";
    /// 401.
    pub const UNAUTHORIZED: &str = "auth_required";
    /// 503.
    pub const UNAVAILABLE: &str = "store_unavailable";
}
