//! A small daemon on a temporary socket, and how the client gets on with it.

use super::client::Client;
use super::{ConnectError, greet};
use crate::target::Target;
use engram_proto::ipc::codec::{self, LENGTH_BYTES};
use engram_proto::ipc::hello::{HEAD_BYTES, Hello};
use engram_proto::ipc::reply::{Reply, Response};
use engram_proto::ipc::request::{Request, RequestBody};
use engram_proto::reason::Exit;
use interprocess::local_socket::tokio::{Listener, Stream, prelude::*};
use interprocess::local_socket::{GenericFilePath, ListenerOptions};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PATIENCE: Duration = Duration::from_millis(150);

fn target(directory: &TempDir) -> Target {
    Target { socket: directory.path().join("engramd.sock"), start: "engramd run".to_owned() }
}

fn listen(socket: &Path) -> Listener {
    let name = socket.to_fs_name::<GenericFilePath>().unwrap();
    ListenerOptions::new().name(name).create_tokio().unwrap()
}

/// Accepts one client and says Hello.
async fn accept(listener: &Listener, protocol: u32) -> Stream {
    let mut stream = listener.accept().await.unwrap();
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await.unwrap();
    let mut build = vec![0; Hello::build_bytes(&head).unwrap()];
    stream.read_exact(&mut build).await.unwrap();
    let hello = Hello { protocol, pid: 4711, build: "9.9.9".to_owned() };
    stream.write_all(&hello.encode()).await.unwrap();
    stream
}

async fn read_request(stream: &mut Stream) -> Request {
    let mut prefix = [0; LENGTH_BYTES];
    stream.read_exact(&mut prefix).await.unwrap();
    let mut body = vec![0; codec::body_bytes(prefix).unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    codec::decode(&body).unwrap()
}

fn frame(id: u64, last: bool, reply: Reply) -> Vec<u8> {
    codec::encode(&Response { id, last, reply }).unwrap()
}

fn done(text: &str) -> Reply {
    Reply::Done(text.to_owned())
}

#[tokio::test]
async fn no_socket_fails_at_once_and_says_how_to_start_a_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let error = greet(&target(&directory), PATIENCE).await.err().unwrap();
    assert!(matches!(error, ConnectError::NoDaemon { .. }));
    assert_eq!((error.exit(), error.hint().as_deref()), (Exit::NoDaemon, Some("engramd run")));
    assert!(error.to_string().contains("engramd.sock: there is no such socket"), "{error}");
}

#[tokio::test]
async fn a_daemon_that_restarts_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let target = target(&directory);
    // A socket that nobody listens on any more, as a killed daemon leaves it.
    drop(std::os::unix::net::UnixListener::bind(&target.socket).unwrap());
    let error = greet(&target, Duration::from_secs(2)).await.err().unwrap();
    assert!(error.to_string().contains("nobody listens"), "{error}");

    let socket = target.socket.clone();
    let daemon = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let fresh = directory.path().join("fresh.sock");
        let listener = listen(&fresh);
        std::fs::rename(&fresh, &socket).unwrap();
        (accept(&listener, 1).await, directory)
    });
    let wire = greet(&target, Duration::from_secs(2)).await.unwrap();
    assert_eq!(wire.daemon().pid, 4711);
    daemon.await.unwrap();
}

#[tokio::test]
async fn a_stopped_daemon_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let target = target(&directory);
    let _stopped = listen(&target.socket);
    let error = greet(&target, PATIENCE).await.err().unwrap();
    assert!(matches!(error, ConnectError::Mute { .. }), "{error}");
    assert_eq!(error.exit(), Exit::NoDaemon);
}

#[tokio::test]
async fn a_stranger_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let target = target(&directory);
    let listener = listen(&target.socket);
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let error = greet(&target, PATIENCE).await.err().unwrap();
    assert!(error.to_string().ends_with("is not engramd"), "{error}");
}

#[tokio::test]
async fn another_protocol_names_both_sides_and_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let target = target(&directory);
    let listener = listen(&target.socket);
    tokio::spawn(async move {
        let _held = accept(&listener, 0).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let error = Client::open(&target, PATIENCE).await.err().unwrap();
    assert_eq!(error.exit(), Exit::Protocol);
    let text = error.to_string();
    assert!(text.contains("engramd 9.9.9 (pid 4711) speaks protocol 0"), "{text}");
    assert!(text.contains(&format!("(pid {}) speaks protocol", std::process::id())), "{text}");
    assert!(error.hint().unwrap().contains("restart engramd"));
}

#[tokio::test]
async fn answers_come_in_pieces_and_belong_to_their_question() {
    let directory = tempfile::tempdir().unwrap();
    let target = target(&directory);
    let listener = listen(&target.socket);
    tokio::spawn(async move {
        let mut stream = accept(&listener, engram_proto::ipc::PROTOCOL).await;
        let id = read_request(&mut stream).await.id;
        let mut bytes = frame(id + 7, true, done("somebody else's"));
        bytes.extend(frame(id, false, done("one")));
        bytes.extend(frame(id, true, done("two")));
        for piece in bytes.chunks(3) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let mut client = Client::open(&target, Duration::from_secs(2)).await.unwrap();
    let replies = client.ask(RequestBody::Projects).await.unwrap();
    let said: Vec<_> =
        replies.iter().map(|reply| if let Reply::Done(text) = reply { text.as_str() } else { "" }).collect();
    assert_eq!(said, ["one", "two"]);
}

#[tokio::test]
async fn an_answer_that_comes_before_that_of_an_earlier_question_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let target = target(&directory);
    let listener = listen(&target.socket);
    tokio::spawn(async move {
        let mut stream = accept(&listener, engram_proto::ipc::PROTOCOL).await;
        let (first, second) = (read_request(&mut stream).await.id, read_request(&mut stream).await.id);
        for (id, text) in [(second, "second"), (second + 1, "nobody's"), (first, "first")] {
            stream.write_all(&frame(id, true, done(text))).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let mut client = Client::open(&target, Duration::from_secs(2)).await.unwrap();
    let (first, second) =
        (client.start(RequestBody::Projects).await.unwrap(), client.start(RequestBody::Projects).await.unwrap());
    for (id, text) in [(first, "first"), (second, "second")] {
        let reply = client.answer(id).await.unwrap();
        assert!(matches!(&reply, Reply::Done(said) if said == text), "{reply:?}");
    }
}

#[tokio::test]
async fn a_question_without_an_answer_ends() {
    let directory = tempfile::tempdir().unwrap();
    let target = target(&directory);
    let listener = listen(&target.socket);
    tokio::spawn(async move {
        let mut stream = accept(&listener, engram_proto::ipc::PROTOCOL).await;
        read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(stream);
    });
    let mut client = Client::open(&target, PATIENCE).await.unwrap();
    let error = client.ask_one(RequestBody::Projects).await.unwrap_err();
    assert_eq!((error.exit(), error.reason_code()), (Exit::NoDaemon, "no_daemon"));
}

#[tokio::test]
async fn a_daemon_that_dies_in_the_middle_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let target = target(&directory);
    let listener = listen(&target.socket);
    tokio::spawn(async move {
        let mut stream = accept(&listener, engram_proto::ipc::PROTOCOL).await;
        read_request(&mut stream).await;
        stream.write_all(&frame(1, true, done("half"))[..5]).await.unwrap();
    });
    let mut client = Client::open(&target, Duration::from_secs(2)).await.unwrap();
    let error = client.ask_one(RequestBody::Projects).await.unwrap_err();
    assert_eq!(error.reason_code(), "connection_lost");
}

/// A stream may be silent for as long as the daemon shows that it lives, and no longer.
#[tokio::test]
async fn a_silent_stream_is_kept_while_the_daemon_lives() {
    let directory = tempfile::tempdir().unwrap();
    let target = target(&directory);
    let listener = listen(&target.socket);
    tokio::spawn(async move {
        let mut stream = accept(&listener, engram_proto::ipc::PROTOCOL).await;
        let follow = read_request(&mut stream).await.id;
        let ping = read_request(&mut stream).await.id;
        stream.write_all(&frame(ping, true, done("alive"))).await.unwrap();
        let ping = read_request(&mut stream).await.id;
        // An event instead of the answer proves the same.
        stream.write_all(&frame(follow, false, done("event"))).await.unwrap();
        stream.write_all(&frame(ping, true, done("alive"))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let mut client = Client::open(&target, PATIENCE).await.unwrap();
    let id = client.start(RequestBody::Events { follow: true }).await.unwrap();
    let (reply, last) = client.next(id).await.unwrap();
    assert!(matches!(reply, Reply::Done(text) if text == "event") && !last);
    let error = client.next(id).await.unwrap_err();
    assert_eq!(error.reason_code(), "no_daemon", "{error}");
}
