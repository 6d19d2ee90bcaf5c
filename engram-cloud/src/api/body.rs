//! Reads request bodies: bounded in bytes (of the decompressed form too) and in time.

use super::ApiError;
use crate::config::Timeouts;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, StatusCode};
use engram_proto::http::error::{class, code};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use std::io::Read;

/// A refused body is read on up to this many times the limit, so that who writes first and reads later sees the answer.
const READ_ON_TIMES: u64 = 4;

/// Bodies up to here are decoded in place; larger ones off the runtime's threads.
const INLINE_BYTES_MAX: usize = 32 * 1024;

/// Reads a JSON body of at most `bytes_max` decompressed bytes.
///
/// # Errors
/// 400, 408, 413 or 415.
pub(crate) async fn read_json<T: DeserializeOwned + Send + 'static>(
    headers: &HeaderMap,
    body: Body,
    bytes_max: u64,
    timeouts: Timeouts,
) -> Result<T, ApiError> {
    let packed = match encoding(headers) {
        Ok(packed) => packed,
        Err(error) => {
            discard(body, bytes_max, timeouts).await;
            return Err(error);
        }
    };
    let raw = collect(body, bytes_max, timeouts).await?;
    let decode = move || {
        let plain = if packed { unpack(&raw, bytes_max)? } else { raw };
        serde_json::from_slice(&plain).map_err(|error| unparsable(&error))
    };
    // A few hundred bytes of gzip can hold megabytes.
    if !packed && body_is_small(headers) {
        return decode();
    }
    let decoded = tokio::task::spawn_blocking(decode).await;
    decoded.unwrap_or_else(|_| Err(ApiError::unreadable("the body could not be decoded")))
}

/// Reads on and throws away up to four times the limit, for as long as something comes and the time for a body lasts.
pub(crate) async fn discard(mut body: Body, bytes_max: u64, timeouts: Timeouts) {
    let mut left = bytes_max.saturating_mul(READ_ON_TIMES);
    let all = async {
        while left > 0 {
            match tokio::time::timeout(timeouts.body_idle, body.frame()).await {
                Ok(Some(Ok(frame))) => left = left.saturating_sub(frame.data_ref().map_or(0, bytes_of)),
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(timeouts.body, all).await;
}

/// Says what is wrong with a JSON text and where, without quoting it (SECRET-1: an error text holds no content).
fn unparsable(error: &serde_json::Error) -> ApiError {
    let place = format!("(line {}, column {})", error.line(), error.column());
    ApiError::unreadable(match error.classify() {
        serde_json::error::Category::Data => {
            let words = error.to_string();
            let words = words.split(" at line ").next().unwrap_or_default();
            // Of a value of the wrong kind the parser repeats the value, which may be anything.
            let named = if words.starts_with("missing field") { format!(": {words}") } else { String::new() };
            format!("the body does not have the fields of this route{named} {place}")
        }
        _ => format!("the body is not JSON {place}"),
    })
}

fn body_is_small(headers: &HeaderMap) -> bool {
    let length = headers.get(axum::http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse::<usize>().ok()).is_some_and(|length| length <= INLINE_BYTES_MAX)
}

fn bytes_of(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

fn encoding(headers: &HeaderMap) -> Result<bool, ApiError> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(false) };
    match value.to_str().unwrap_or("?").trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        _ => {
            let error = "this server reads plain bodies and Content-Encoding: gzip";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Err(ApiError::new(status, class::INVALID_REQUEST, "unsupported_encoding", error))
        }
    }
}

fn too_large(bytes_max: u64) -> ApiError {
    let error = format!("the body is larger than the {bytes_max} bytes this route takes at once");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, class::REPAIRABLE, code::PAYLOAD_TOO_LARGE, error)
}

fn too_slow() -> ApiError {
    let error = "the body did not arrive in time";
    ApiError::new(StatusCode::REQUEST_TIMEOUT, class::INVALID_REQUEST, "body_timeout", error)
}

async fn collect(mut body: Body, bytes_max: u64, timeouts: Timeouts) -> Result<Vec<u8>, ApiError> {
    let mut raw = Vec::new();
    let all = async {
        while let Some(frame) = tokio::time::timeout(timeouts.body_idle, body.frame()).await.map_err(|_| too_slow())? {
            let frame = frame.map_err(|_| ApiError::unreadable("the body ended before its announced length"))?;
            let Some(data) = frame.data_ref() else { continue };
            if u64::try_from(raw.len()).unwrap_or(u64::MAX) + bytes_of(data) > bytes_max {
                return Err(too_large(bytes_max));
            }
            raw.extend_from_slice(data);
        }
        Ok(())
    };
    let read = tokio::time::timeout(timeouts.body, all).await.unwrap_or_else(|_| Err(too_slow()));
    match read {
        Ok(()) => Ok(raw),
        Err(error) => {
            drop(raw);
            discard(body, bytes_max, timeouts).await;
            Err(error)
        }
    }
}

fn unpack(raw: &[u8], bytes_max: u64) -> Result<Vec<u8>, ApiError> {
    let mut plain = Vec::new();
    let mut decoder = MultiGzDecoder::new(raw).take(bytes_max.saturating_add(1));
    decoder.read_to_end(&mut plain).map_err(|_| ApiError::unreadable("the body is not gzip"))?;
    if u64::try_from(plain.len()).unwrap_or(u64::MAX) > bytes_max { Err(too_large(bytes_max)) } else { Ok(plain) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 10 << 20]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 64 * 1024);
        assert!(unpack(&bomb, 1 << 20).is_err());
        assert_eq!(unpack(&bomb, 10 << 20).unwrap().len(), 10 << 20);
    }
}
