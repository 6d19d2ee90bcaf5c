//! Sizes, encodings and times.

use crate::harness::*;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: u64 = 64 * 1024;

async fn small() -> Server {
    Server::with(|config| config.push_bytes_max = LIMIT).await
}

fn push_of(bytes: usize) -> String {
    json!({"entries": [memory("alpha", "m", &"x".repeat(bytes))]}).to_string()
}

/// The limit is on the decompressed body, however small it was on the wire.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_over_the_limit_is_413_plain_or_packed() {
    let server = small().await;
    let (large, fits) = (push_of(70_000), push_of(60_000));
    assert!(gzip(large.as_bytes()).len() < 2_000);
    let post = || server.request(Method::POST, PUSH);
    for request in [post().body(large.clone()), post().header("content-encoding", "gzip").body(gzip(large.as_bytes()))]
    {
        let answer = answer(request).await;
        assert_eq!(answer.status, 413);
        assert_eq!(
            (&answer.body["error_class"], &answer.body["error_code"]),
            (&json!("repairable"), &json!("upgrade_repairable_payload_too_large"))
        );
        assert!(answer.body["error"].to_string().contains("65536"));
    }
    for request in [post().body(fits.clone()), post().header("content-encoding", "gzip").body(gzip(fits.as_bytes()))] {
        assert_eq!(answer(request).await.status, 200);
    }
}

/// A client that writes its whole body before it reads (Go's, Python's) sees the refusal and no broken pipe.
#[tokio::test(flavor = "multi_thread")]
async fn who_writes_first_and_reads_later_sees_413_and_401() {
    // More than the system takes for a server that does not read.
    let limit = 4 << 20;
    let server = Server::with(|config| config.push_bytes_max = limit).await;
    for (token, status) in [(TOKEN, "413"), ("wrong", "401")] {
        let mut stream = TcpStream::connect(server.addr).await.expect("connected");
        let bytes = usize::try_from(limit).expect("small") * 4 - 1;
        let head = format!(
            "POST {PUSH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {bytes}\r\n\r\n"
        );
        let written = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&vec![b' '; bytes]).await?;
            let mut answer = vec![0; 12];
            stream.read_exact(&mut answer).await.map(|_| answer)
        };
        let answer = tokio::time::timeout(DEADLINE, written).await.expect("in time").expect("no broken pipe");
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"));
    }
}

/// Who goes on beyond four times the limit is answered and cut off, however much was announced.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_four_times_the_limit_is_cut_off() {
    let server = Server::with(|config| {
        config.push_bytes_max = LIMIT;
        // Nobody waits for a body that stands still: what ends the connection is its length.
        (config.timeouts.body_idle, config.timeouts.body) = (2 * DEADLINE, 2 * DEADLINE);
    })
    .await;
    let mut stream = TcpStream::connect(server.addr).await.expect("connected");
    let announced = usize::try_from(LIMIT).expect("small") * 4_000;
    let head = format!(
        "POST {PUSH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {announced}\r\n\r\n"
    );
    let written = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&vec![b' '; announced]).await
    };
    let written = tokio::time::timeout(DEADLINE, written).await.expect("in time");
    assert!(written.is_err(), "all of it was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_or_broken_encoding_is_named() {
    let server = small().await;
    let unknown = server.request(Method::POST, PUSH).header("content-encoding", "br").body("{}");
    assert_eq!(answer(unknown).await.status, 415);
    let broken = server.request(Method::POST, PUSH).header("content-encoding", "gzip").body("{}");
    assert_eq!(answer(broken).await.status, 400);
    let mut cut = gzip(push_of(10).as_bytes());
    cut.truncate(cut.len() - 6);
    let cut = server.request(Method::POST, PUSH).header("content-encoding", "gzip").body(cut);
    assert_eq!(answer(cut).await.status, 400);
    assert_eq!(server.get(PULL).await.body["mutations"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_packed_for_who_takes_it() {
    let server = Server::start().await;
    let entries: Vec<Value> =
        (0..200).map(|i| memory("alpha", &format!("m{i}"), "the same words again and again")).collect();
    server.push(json!(entries)).await;
    let body = json!({"cursors": {"alpha": 0}, "limit": 1000}).to_string();
    let plain = answer(server.request(Method::POST, PULL).body(body.clone())).await;
    let packed = answer(server.request(Method::POST, PULL).header("accept-encoding", "gzip").body(body)).await;
    assert!(plain.headers.get("content-encoding").is_none());
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_eq!(packed.body, plain.body);
    assert!(packed.raw.len() * 5 < plain.raw.len(), "{} of {}", packed.raw.len(), plain.raw.len());
    let small = answer(server.client.get(server.url("/health")).header("accept-encoding", "gzip")).await;
    assert!(small.headers.get("content-encoding").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_is_408_and_a_head_that_stalls_is_cut_off() {
    let server = Server::with(|config| {
        config.timeouts.body_idle = Duration::from_millis(200);
        config.timeouts.head = Duration::from_millis(400);
    })
    .await;
    let mut stalls = TcpStream::connect(server.addr).await.expect("connected");
    let head =
        format!("POST {PUSH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 99\r\n\r\n{{");
    stalls.write_all(head.as_bytes()).await.expect("written");
    let mut answer = vec![0; 12];
    tokio::time::timeout(DEADLINE, stalls.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 408");
    let mut slow = TcpStream::connect(server.addr).await.expect("connected");
    slow.write_all(b"GET /health HTTP/1.1\r\nho").await.expect("written");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, slow.read_to_end(&mut rest)).await.expect("cut off in time");
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

/// A connection over the cap waits for a free place instead of being served.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_capped() {
    let server = Server::with(|config| config.connections_max = 2).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.addr).await.expect("connected");
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        held.push(stream);
    }
    let third = tokio::spawn(answer(server.client.get(server.url("/health"))));
    assert!(!third.is_finished());
    held.pop();
    let third = tokio::time::timeout(DEADLINE, third).await.expect("in time").expect("no panic");
    assert_eq!(third.status, 200);
}
