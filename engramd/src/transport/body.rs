//! Bodies: compressed on the way out, bounded and decompressed on the way in.

use super::errors;
use engram_proto::http::error::ErrorBody;
use engramd_core::classify::{Failure, Refusal};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, RETRY_AFTER};
use std::io::Read as _;

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

/// Reads a reply: as a refusal to classify, and as bytes to decode.
pub(super) async fn read(mut response: Response, host: &str) -> Result<(Refusal, Vec<u8>), Failure> {
    let status = response.status().as_u16();
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
    let error = serde_json::from_slice::<ErrorBody>(&bytes).ok();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EVIDENCE_CHARS_MAX)]);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(EVIDENCE_CHARS_MAX).collect();
    Ok((Refusal { status, retry_after_ms, error, text, host: host.to_owned() }, bytes))
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
