//! One function that turns what `reqwest` says into a reason.

use engram_proto::reason::ReasonCode;
use engramd_core::classify::{Failure, Fault};
use std::error::Error;

/// Turns an error of the connection into a failure that names host and cause.
pub(super) fn failure(error: &reqwest::Error, host: &str) -> Failure {
    let chain = causes(error);
    let lower = chain.to_lowercase();
    let tls = ["certificate", "tls", "handshake", "corrupt message"].iter().any(|word| lower.contains(word));
    let (code, what) = if tls && error.is_connect() {
        (ReasonCode::TlsFailed, "the connection cannot be made secure")
    } else if error.is_timeout() {
        (ReasonCode::TransportFailed, "no answer in time")
    } else if lower.contains("dns") || lower.contains("lookup") {
        (ReasonCode::TransportFailed, "the host name is not known")
    } else if lower.contains("refused") {
        (ReasonCode::TransportFailed, "nothing listens there")
    } else if error.is_connect() {
        (ReasonCode::TransportFailed, "no connection")
    } else {
        (ReasonCode::TransportFailed, "the connection broke")
    };
    let message = format!("{host} cannot be reached: {what} ({})", last_cause(error));
    Failure::Transport {
        code,
        message,
        fault: if error.is_connect() { Fault::Unreachable } else { Fault::Answered },
        wait_ms: None,
    }
}

/// The answer came, and is not engram-cloud's.
pub(super) fn not_the_protocol(host: &str, text: &str) -> Failure {
    let begins = if text.trim().is_empty() { String::new() } else { format!("; it begins: {}", text.trim()) };
    let message = format!("{host} answered, but not as engram-cloud does: is the URL right?{begins}");
    Failure::Transport { code: ReasonCode::TransportFailed, message, fault: Fault::Garbled, wait_ms: None }
}

/// The answer is engram-cloud's, by its form, and cannot be true.
pub(super) fn impossible(host: &str, what: &str) -> Failure {
    let message = format!("{host} answered what cannot be true: {what}");
    Failure::Transport { code: ReasonCode::TransportFailed, message, fault: Fault::Garbled, wait_ms: None }
}

/// The answer is JSON, and lacks what every answer has.
pub(super) fn not_the_form(host: &str, error: &serde_json::Error, text: &str) -> Failure {
    // The parser's words name a field and nothing of the content, and end with the place.
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    let message =
        format!("{host} answered, but not as engram-cloud does ({words}): is the URL right?; it begins: {text}");
    Failure::Transport { code: ReasonCode::TransportFailed, message, fault: Fault::Garbled, wait_ms: None }
}

pub(super) fn too_large(host: &str) -> Failure {
    let message = format!("{host} answered more than fits into memory");
    Failure::Transport { code: ReasonCode::TransportFailed, message, fault: Fault::Answered, wait_ms: None }
}

pub(super) fn unusable_token(host: &str) -> Failure {
    let message = format!("the token for {host} has characters that no token has");
    Failure::Blocked { code: ReasonCode::AuthRequired, message }
}

fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&error.to_string());
        text.push_str(": ");
        cause = error.source();
    }
    text
}

fn last_cause(error: &reqwest::Error) -> String {
    let mut last = error.source();
    while let Some(deeper) = last.and_then(Error::source) {
        last = Some(deeper);
    }
    last.map_or_else(|| "no details".to_owned(), ToString::to_string)
}
