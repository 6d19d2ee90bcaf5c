//! The end in order.

use crate::harness::*;
use engram_cloud::config::Store;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Writes the head of a pull, all but its end.
fn wait_head(bytes: usize) -> String {
    format!("POST {PULL} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {bytes}\r\n")
}

/// cloud.md: on SIGTERM waiting pulls are answered at once, and the process is gone within five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_waiting_pulls_at_once() {
    let mut server = Server::start().await;
    server.push(json!([session("beta", "s")])).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.addr).await.expect("connected");
        let body = json!({"cursors": {"alpha": 0}, "limit": 10, "wait_seconds": 55}).to_string();
        let head = wait_head(body.len());
        stream.write_all(format!("{head}expect: 100-continue\r\n\r\n").as_bytes()).await.expect("written");
        // The server says so when its handler asks for the body: the request is under way.
        let mut go_on = vec![0; CONTINUE.len()];
        stream.read_exact(&mut go_on).await.expect("an interim answer");
        assert_eq!(go_on, CONTINUE);
        stream.write_all(body.as_bytes()).await.expect("written");
        waiting.push(stream);
    }
    // An idle connection and one that never ends its request hold up nothing.
    let idle = TcpStream::connect(server.addr).await.expect("connected");
    let mut endless = TcpStream::connect(server.addr).await.expect("connected");
    endless.write_all(b"GET /health HTTP/1.1\r\nho").await.expect("written");
    let began = now();
    server.stop();
    for mut stream in waiting {
        let mut answer = Vec::new();
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""mutations":[]"#), "{answer}");
    }
    server.gone().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop((idle, endless));
}

/// A push that was answered before the end is there after the next start, and the identity is the same (DUR-1, CUR-3).
#[tokio::test(flavor = "multi_thread")]
async fn dur_1_the_next_start_has_what_was_answered() {
    let mut server = Server::start().await;
    let pushed = server.push(json!([session("alpha", "s")])).await;
    let id = server.get("/health").await.body["cloud_id"].clone();
    server.stop();
    let dir = server.dir.path().join("cloud");
    let kept = std::mem::replace(&mut server.dir, tempfile::tempdir().expect("a temporary directory"));
    server.gone().await;
    let again = Server::with(|config| config.store = Store::Embedded(dir)).await;
    assert_eq!(again.get("/health").await.body["cloud_id"], id);
    let page = again.get(PULL).await.body;
    assert_eq!(page["mutations"][0]["seq"], pushed["accepted_seqs"][0]);
    drop(kept);
}

/// A client that goes away while it waits costs nothing afterwards: its place is free for the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_frees_its_place() {
    let server = Server::with(|config| config.connections_max = 3).await;
    for _ in 0..10 {
        let mut stream = TcpStream::connect(server.addr).await.expect("connected");
        let body = json!({"cursors": {"alpha": 0}, "limit": 10, "wait_seconds": 55}).to_string();
        let head = wait_head(body.len());
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.expect("written");
        drop(stream);
    }
    assert_eq!(answer(server.request(Method::GET, "/health")).await.status, 200);
}

/// A store that is down is 503 with a time to come back, never a question of access, and nothing of it was stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_is_503() {
    let server = Server::start().await;
    assert_eq!(server.get("/ready").await.status, 200, "it has opened its store");
    let path = server.dir.path().join("cloud").join(engram_cloud::journal::embedded::FILE_NAME);
    let beside = rusqlite::Connection::open(path).expect("the store is there");
    beside.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    let refused = server.post(PUSH, &json!({"entries": [session("alpha", "s")]})).await;
    assert_eq!((refused.status.as_u16(), &refused.body["error_code"]), (503, &json!("store_unavailable")));
    assert_eq!(refused.headers["retry-after"], "5");
    beside.execute_batch("COMMIT").expect("unlocked");
    assert_eq!(server.get(PULL).await.body["mutations"], json!([]));
    server.push(json!([session("alpha", "s")])).await;
}
