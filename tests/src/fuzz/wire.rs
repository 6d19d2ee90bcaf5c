//! What comes over the socket and over HTTP, as far as no store is needed to read it.

use engram_proto::canonical::Object;
use engram_proto::http::error::ErrorBody;
use engram_proto::http::health::HealthReply;
use engram_proto::http::pull::PullRequest;
use engram_proto::http::push::PushReply;
use engram_proto::id::ProjectName;
use engram_proto::ipc::hello::{HEAD_BYTES, Hello};
use engram_proto::ipc::reply::Response;
use engram_proto::ipc::request::Request;
use engram_proto::ipc::{FRAME_BYTES_MAX, codec};
use engram_proto::merge::{Version, merge as join};
use engram_proto::mutation::{Entity, Op};
use engramd_core::classify::{Failure, Refusal, classify};
use engramd_core::push_settle::settlements;
use engramd_core::rows::{PendingRow, Settlement};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

/// Hello, then frames, as either side reads them.
pub(super) fn ipc_frames(input: &[u8]) {
    if let Some((head, build)) = input.split_first_chunk::<HEAD_BYTES>()
        && let Ok(hello) = Hello::decode(head, build)
    {
        let again = hello.encode();
        let (head, build) = again.split_first_chunk().expect("a head");
        let again = Hello::decode(head, build).expect("what was read can be read again");
        assert_eq!((again.protocol, again.pid), (hello.protocol, hello.pid));
        assert!(hello.build.starts_with(&again.build), "what is no text grows and is cut");
    }
    frame::<Request>(input);
    frame::<Response>(input);
    if let Some((&prefix, _)) = input.split_first_chunk() {
        let length = u32::from_le_bytes(prefix) as usize;
        assert!(codec::body_bytes(prefix).map_or(length > FRAME_BYTES_MAX, |bytes| bytes == length));
    }
}

/// What was read as a frame is written in one form, which is read as the same.
fn frame<T: Serialize + DeserializeOwned>(body: &[u8]) {
    let Ok(value) = codec::decode::<T>(body) else { return };
    let written = codec::encode(&value).expect("what was read can be written");
    let (&prefix, again) = written.split_first_chunk().expect("a length");
    assert_eq!(codec::body_bytes(prefix).ok(), Some(again.len()));
    let value: T = codec::decode(again).expect("and read again");
    assert_eq!(codec::encode(&value).ok(), Some(written), "a frame that was read is written as it was");
}

/// An answer to a push as a device reads it.
pub(super) fn push_reply(input: &[u8]) {
    let Ok(reply) = serde_json::from_slice::<PushReply>(input) else { return };
    let sent: Vec<_> = (1..=3).map(row).collect();
    let named = |seq| reply.receipts.iter().any(|receipt| receipt.mutation_id == id(seq));
    let mut settled = BTreeSet::new();
    for settlement in settlements(&sent, &reply) {
        let seq = match settlement {
            Settlement::Acked { seq, cloud_seq, .. } => {
                assert!(cloud_seq > 0, "ACK-1: a row that is kept has a number");
                seq
            }
            Settlement::Held { seq, evidence, .. } => {
                assert!(!evidence.is_empty());
                seq
            }
        };
        assert!((1..=3).contains(&seq) && named(seq) && settled.insert(seq), "ACK-1: only what is named, once");
    }
}

fn id(seq: i64) -> String {
    format!("device:{seq}:hash")
}

fn row(seq: i64) -> Arc<PendingRow> {
    Arc::new(PendingRow {
        seq,
        mutation_id: id(seq),
        entity: "observation".to_owned(),
        entity_key: format!("obs-{seq}"),
        op: Op::Upsert,
        payload: Object::new(),
        base: None,
        body_bytes: 100,
    })
}

/// What a server says of itself and of its refusals, and what it is asked for.
pub(super) fn status(input: &[u8]) {
    json::<HealthReply>(input);
    json::<PullRequest>(input);
    let error = json::<ErrorBody>(input);
    let text = String::from_utf8_lossy(input).into_owned();
    for status in [200, 307, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503] {
        let refusal =
            Refusal { status, error: error.clone(), text: text.clone(), host: "h".to_owned(), ..Refusal::default() };
        for of_batch in [true, false] {
            let failure = classify(&refusal, of_batch);
            let is_rows = matches!(failure, Failure::Rows(_));
            assert_eq!(is_rows, of_batch && [400, 413, 422, 500].contains(&status), "a row's fault? {failure:?}");
            let is_replaced = matches!(failure, Failure::Replaced { .. });
            assert!(!is_replaced || status == 409 && error.is_some(), "CUR-3: only a server of ours says so");
        }
    }
}

/// What was read is written so that it is read as the same.
fn json<T: Serialize + DeserializeOwned + PartialEq + Debug>(input: &[u8]) -> Option<T> {
    let read = serde_json::from_slice::<T>(input).ok()?;
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&written).ok().as_ref(), Some(&read));
    Some(read)
}

/// Payloads of one entity, two or three in a list, each as an upsert and as a delete (CONV-2).
pub(super) fn merge(input: &[u8]) {
    let Ok(payloads) = serde_json::from_slice::<Vec<Value>>(input) else { return };
    if !(2..=3).contains(&payloads.len()) {
        return;
    }
    for entity in [Entity::Session, Entity::Observation, Entity::Prompt, Entity::Relation] {
        let versions: Vec<Vec<Version>> = payloads.iter().map(|payload| versions(entity, payload)).collect();
        for a in &versions[0] {
            for b in &versions[1] {
                joined(entity, a, b);
                for c in versions.get(2).into_iter().flatten() {
                    let left = join(join(a.clone(), b.clone()), c.clone());
                    assert_eq!(left, join(a.clone(), join(b.clone(), c.clone())), "associative");
                }
            }
        }
    }
}

/// What a payload says as an upsert, and as a delete.
fn versions(entity: Entity, payload: &Value) -> Vec<Version> {
    let Value::Object(payload) = payload else { return Vec::new() };
    let mut payload = payload.clone();
    payload.insert(if entity == Entity::Session { "id" } else { "sync_id" }.to_owned(), "k".into());
    [Op::Upsert, Op::Delete].into_iter().filter_map(|op| Version::read(entity, "k", op, &payload).ok()).collect()
}

fn joined(entity: Entity, a: &Version, b: &Version) {
    let ab = join(a.clone(), b.clone());
    assert_eq!(ab, join(b.clone(), a.clone()), "commutative");
    assert_eq!(ab, join(ab.clone(), a.clone()), "idempotent");
    assert_eq!(ab, join(b.clone(), ab.clone()), "idempotent");
    let project = ProjectName::parse("p").expect("a name");
    if let Some((op, payload)) = ab.write(&project, "k") {
        let again = Version::read(entity, "k", op, &payload).expect("what is written is read");
        assert_eq!(again, ab, "as the same version");
    }
}

/// A project's name as it is typed.
pub(super) fn project_name(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(name) = ProjectName::parse(text) {
        assert_eq!(ProjectName::parse(name.as_str()).ok().as_ref(), Some(&name), "a normal form is its own");
        assert!(!name.as_str().trim().is_empty(), "nor is it blank");
    }
}
