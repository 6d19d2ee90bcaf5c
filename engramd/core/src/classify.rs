//! One function that turns what a server answered into a reason (reasons.md).

use engram_proto::http::error::{ErrorBody, code};
use engram_proto::reason::ReasonCode;

/// Why a request brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Somebody has to act: credentials, URL, server version.
    Blocked {
        /// `auth_required`, `server_unsupported`, `cloud_config_error`.
        code: ReasonCode,
        /// Names the host.
        message: String,
    },
    /// One project is refused; the others go on.
    Project {
        /// `policy_forbidden` or `sync_paused`.
        code: ReasonCode,
        /// Names the project.
        message: String,
    },
    /// No conversation came about; try again later.
    Transport {
        /// `transport_failed`, `tls_failed` or `rate_limited`.
        code: ReasonCode,
        /// Names host and cause.
        message: String,
        /// How far it came.
        fault: Fault,
        /// How long the server asked to wait, in milliseconds.
        wait_ms: Option<u64>,
    },
    /// It does not hold the last row that it told of: it was restored or replaced (CUR-3).
    Replaced {
        /// Which data set answers, where it said so.
        cloud_id: Option<String>,
        /// Names the host.
        message: String,
    },
    /// The batch was refused for what is in it, it seems.
    Rows(RowFault),
}

/// How far a conversation came that brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not even to a connection: nothing else will get through either.
    Unreachable,
    /// To an answer, or to the middle of one.
    Answered,
    /// To an answer that is another program's.
    Garbled,
}

/// A refusal that may be one row's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// Whether it is about size.
    pub too_large: bool,
    /// Entries that the server named, by their place in the request.
    pub named: Vec<usize>,
    /// The server's words.
    pub evidence: String,
}

/// A refusal as it came from the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The envelope, where it was one.
    pub error: Option<ErrorBody>,
    /// The body's beginning, where it was not.
    pub text: String,
    /// Host and port.
    pub host: String,
}

impl Refusal {
    /// Returns the server's own words, or what can be said without any.
    #[must_use]
    pub fn words(&self) -> String {
        let said = self.error.as_ref().map_or(self.text.as_str(), |error| error.error.as_str()).trim();
        if said.is_empty() { format!("HTTP {}", self.status) } else { format!("HTTP {}: {said}", self.status) }
    }
}

/// Turns a refusal into a failure.
///
/// 400, 413, 422 and 500 of a batch may be one row's fault; 401, 403, 404, 408, 409, 429 and 502-504 never are.
#[must_use]
pub fn classify(refusal: &Refusal, of_batch: bool) -> Failure {
    let (host, words) = (&refusal.host, refusal.words());
    let transport =
        |code, message| Failure::Transport { code, message, fault: Fault::Answered, wait_ms: refusal.retry_after_ms };
    match refusal.status {
        // SECRET-1: whoever stands at that address was not named by anybody.
        300..=399 => Failure::Transport {
            code: ReasonCode::TransportFailed,
            message: format!(
                "{host} answered with a redirect ({words}), which a token never follows; log in with the server's own URL"
            ),
            fault: Fault::Garbled,
            wait_ms: refusal.retry_after_ms,
        },
        401 => blocked(ReasonCode::AuthRequired, format!("the token for {host} was refused ({words})")),
        403 => {
            Failure::Project { code: ReasonCode::PolicyForbidden, message: format!("{host} refused access: {words}") }
        }
        404 | 405 => blocked(
            ReasonCode::ServerUnsupported,
            format!(
                "{host} has no mutation routes ({words}); engram-cloud {} or newer is wanted",
                engram_proto::VERSION
            ),
        ),
        409 if is_cloud_replaced(refusal) => Failure::Replaced {
            cloud_id: refusal.error.as_ref().and_then(|error| error.cloud_id.clone()),
            message: format!("{host} lost what it had told this device ({words})"),
        },
        409 => Failure::Project { code: ReasonCode::SyncPaused, message: words },
        429 => transport(ReasonCode::RateLimited, format!("{host} asks to wait ({words})")),
        503 if refusal.retry_after_ms.is_some() => {
            transport(ReasonCode::RateLimited, format!("{host} asks to wait ({words})"))
        }
        400 | 413 | 422 | 500 if of_batch => Failure::Rows(RowFault {
            too_large: refusal.status == 413,
            named: refusal.error.iter().flat_map(|error| &error.invalid).map(|entry| entry.index).collect(),
            evidence: named_words(refusal),
        }),
        _ => transport(ReasonCode::TransportFailed, format!("{host} answered {words}")),
    }
}

fn blocked(code: ReasonCode, message: String) -> Failure {
    Failure::Blocked { code, message }
}

fn is_cloud_replaced(refusal: &Refusal) -> bool {
    refusal.error.as_ref().is_some_and(|error| error.error_code == code::CLOUD_REPLACED)
}

fn named_words(refusal: &Refusal) -> String {
    let fields: Vec<_> =
        refusal.error.iter().flat_map(|error| &error.invalid).map(|entry| entry.field.as_str()).collect();
    if fields.is_empty() { refusal.words() } else { format!("{} ({})", refusal.words(), fields.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16) -> Refusal {
        Refusal { status, host: "h".to_owned(), ..Refusal::default() }
    }

    /// reasons.md, "Row or server?": which answers may be one row's fault.
    #[test]
    fn iso_1_which_answers_blame_rows() {
        for status in [400, 413, 422, 500] {
            assert!(matches!(classify(&refusal(status), true), Failure::Rows(_)), "{status}");
            assert!(!matches!(classify(&refusal(status), false), Failure::Rows(_)), "{status} of a pull");
        }
        for status in [401, 403, 404, 408, 409, 429, 502, 503, 504] {
            assert!(!matches!(classify(&refusal(status), true), Failure::Rows(_)), "{status}");
        }
    }

    #[test]
    fn each_status_has_its_reason() {
        let code = |refusal: &Refusal| match classify(refusal, false) {
            Failure::Blocked { code, .. } | Failure::Project { code, .. } | Failure::Transport { code, .. } => code,
            Failure::Rows(_) | Failure::Replaced { .. } => unreachable!("neither a batch nor a witness"),
        };
        for (status, expected) in [
            (401, ReasonCode::AuthRequired),
            (403, ReasonCode::PolicyForbidden),
            (404, ReasonCode::ServerUnsupported),
            (409, ReasonCode::SyncPaused),
            (429, ReasonCode::RateLimited),
            (500, ReasonCode::TransportFailed),
            (502, ReasonCode::TransportFailed),
        ] {
            assert_eq!(code(&refusal(status)), expected, "{status}");
        }
        assert_eq!(code(&Refusal { retry_after_ms: Some(5), ..refusal(503) }), ReasonCode::RateLimited);
        assert_eq!(code(&refusal(503)), ReasonCode::TransportFailed);
    }
}
