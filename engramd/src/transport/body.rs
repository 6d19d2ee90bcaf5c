//! Bodies: compressed on the way out, bounded and decompressed on the way in.

use super::errors;
use engram_proto::http::error::ErrorBody;
use engramd_core::classify::{Failure, Refusal};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, DATE, RETRY_AFTER};
use std::io::Read as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// A smaller body is sent as it is.
const GZIP_FROM_BYTES: usize = 1_024;

/// No reply is larger, compressed or not.
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Of a reply that is no JSON so much is kept as evidence, in characters.
const EVIDENCE_CHARS_MAX: usize = 200;

/// Returns the compressed body, where that is worth it.
pub(super) fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < GZIP_FROM_BYTES {
        return None;
    }
    let mut smaller = Vec::with_capacity(body.len() / 4);
    GzEncoder::new(body, Compression::fast()).read_to_end(&mut smaller).ok()?;
    (smaller.len() < body.len()).then_some(smaller)
}

/// A reply, read to its end.
pub(super) struct Answer {
    /// As a refusal to classify.
    pub(super) refusal: Refusal,
    /// As bytes to decode.
    pub(super) bytes: Vec<u8>,
    /// When the server says it answered, Unix seconds.
    pub(super) date_s: Option<i64>,
}

impl Answer {
    /// Makes one of what came.
    pub(super) fn of(status: u16, date: Option<&str>, retry_after_ms: Option<u64>, bytes: Vec<u8>, host: &str) -> Self {
        let error = serde_json::from_slice::<ErrorBody>(&bytes).ok();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EVIDENCE_CHARS_MAX)]);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(EVIDENCE_CHARS_MAX).collect();
        let refusal = Refusal { status, retry_after_ms, error, text, host: host.to_owned() };
        Self { refusal, bytes, date_s: date.and_then(http_date_s) }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.refusal.status)
    }
}

/// Reads a reply.
pub(super) async fn read(mut response: Response, host: &str) -> Result<Answer, Failure> {
    let status = response.status().as_u16();
    let date = response.headers().get(DATE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let retry_after_ms = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(seconds_ms);
    let packed = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes() == b"gzip");
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| errors::failure(&error, host))? {
        if bytes.len() + part.len() > REPLY_BYTES_MAX {
            return Err(errors::too_large(host));
        }
        bytes.extend_from_slice(&part);
    }
    if packed {
        bytes = gunzip(&bytes, host)?;
    }
    Ok(Answer::of(status, date.as_deref(), retry_after_ms, bytes, host))
}

/// Decompresses with a limit: a small reply must not become a large one in memory.
fn gunzip(bytes: &[u8], host: &str) -> Result<Vec<u8>, Failure> {
    let mut plain = Vec::new();
    let limit = u64::try_from(REPLY_BYTES_MAX).unwrap_or(u64::MAX);
    let read = GzDecoder::new(bytes).take(limit + 1).read_to_end(&mut plain);
    match read {
        Ok(length) if length <= REPLY_BYTES_MAX => Ok(plain),
        Ok(_) => Err(errors::too_large(host)),
        Err(_) => Err(errors::not_the_protocol(host, "a body that does not decompress")),
    }
}

fn seconds_ms(text: &str) -> Option<u64> {
    text.trim().parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1_000).min(3_600_000))
}

fn http_date_s(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc2822).ok().map(OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_a_reply_is_read() {
        assert_eq!(http_date_s("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date_s("yesterday"), None);
    }
}
