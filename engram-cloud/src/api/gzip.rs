//! Compresses answers for clients that take gzip.

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use axum::middleware::Next;
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use std::io::Write;

/// Answers up to here go out as they are: the headers weigh more than what is saved.
const PLAIN_BYTES_MAX: u64 = 1_024;

/// Answers up to here are compressed in place; larger ones off the runtime's threads.
const INLINE_BYTES_MAX: usize = 32 * 1024;

/// Compresses what the inner service answers, where that pays.
pub(crate) async fn compress(request: Request, next: Next) -> Response {
    let wanted = accepts_gzip(request.headers());
    let mut response = next.run(request).await;
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    let pays = response.body().size_hint().lower() > PLAIN_BYTES_MAX;
    if !wanted || !pays || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(plain) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        // Our bodies are in memory and cannot fail to be read.
        return Response::from_parts(head, Body::empty());
    };
    let Some(packed) = pack_off_runtime(plain.clone()).await else {
        return Response::from_parts(head, Body::from(plain));
    };
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(packed))
}

async fn pack_off_runtime(plain: Bytes) -> Option<Vec<u8>> {
    if plain.len() <= INLINE_BYTES_MAX {
        return pack(&plain);
    }
    tokio::task::spawn_blocking(move || pack(&plain)).await.ok().flatten()
}

fn pack(plain: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        (name.eq_ignore_ascii_case("gzip") || name == "*") && !refused
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_where_it_is_offered() {
        let says = |value: &str| accepts_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, value.parse().unwrap())]));
        assert!(says("gzip") && says("br, GZIP;q=0.5") && says("*"));
        assert!(!says("br") && !says("gzip;q=0") && !accepts_gzip(&HeaderMap::new()));
    }
}
