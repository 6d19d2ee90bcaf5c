//! What comes over the socket and over HTTP.

use engram_cloud::journal::Entry;
use engram_proto::canonical::Object;
use engram_proto::http::error::ErrorBody;
use engram_proto::http::health::HealthReply;
use engram_proto::http::pull::PullRequest;
use engram_proto::http::push::{PushReply, PushRequest};
use engram_proto::id::ProjectName;
use engram_proto::ipc::codec;
use engram_proto::ipc::hello::{HEAD_BYTES, Hello};
use engram_proto::ipc::reply::Response;
use engram_proto::ipc::request::Request;
use engram_proto::merge::{Version, merge as join};
use engram_proto::mutation::{Entity, Op};
use engramd_core::classify::{Refusal, classify};
use engramd_core::push_settle::settlements;
use engramd_core::rows::PendingRow;
use serde_json::Value;
use std::sync::Arc;

/// Hello, then frames, as either side reads them.
pub(super) fn ipc_frames(input: &[u8]) {
    if let Some((head, build)) = input.split_first_chunk::<HEAD_BYTES>() {
        let _ = Hello::decode(head, build);
    }
    let _: Result<Response, _> = codec::decode(input);
    if let Ok(request) = codec::decode::<Request>(input) {
        let again = codec::encode(&request).expect("what was read can be written");
        let _: Request = codec::decode(&again[codec::LENGTH_BYTES..]).expect("and read again");
    }
    if let Some((prefix, _)) = input.split_first_chunk() {
        let _ = codec::body_bytes(*prefix);
    }
}

/// A push as the server reads it, entry by entry.
pub(super) fn push_request(input: &[u8]) {
    let Ok(request) = serde_json::from_slice::<PushRequest>(input) else { return };
    for entry in request.entries {
        if let Ok(project) = ProjectName::parse(&entry.project) {
            let read = Entry::read(project.clone(), entry);
            assert_eq!(read.project, project, "SCOPE-2: it is stored where it was authorised");
        }
    }
}

/// An answer to a push as a device reads it.
pub(super) fn push_reply(input: &[u8]) {
    let Ok(reply) = serde_json::from_slice::<PushReply>(input) else { return };
    let sent: Vec<_> = (1..=3).map(row).collect();
    let settled = settlements(&sent, &reply);
    assert!(settled.len() <= sent.len(), "ACK-1: only what was sent is settled");
}

fn row(seq: i64) -> Arc<PendingRow> {
    Arc::new(PendingRow {
        seq,
        mutation_id: format!("device:{seq}:hash"),
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
    let _ = serde_json::from_slice::<HealthReply>(input);
    let _ = serde_json::from_slice::<PullRequest>(input);
    let error = serde_json::from_slice::<ErrorBody>(input).ok();
    let text = String::from_utf8_lossy(input).into_owned();
    for status in [200, 307, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503] {
        let refusal =
            Refusal { status, error: error.clone(), text: text.clone(), host: "h".to_owned(), ..Refusal::default() };
        let _ = (classify(&refusal, true), classify(&refusal, false));
    }
}

/// Two payloads of one entity, in a list of two (CONV-2).
pub(super) fn merge(input: &[u8]) {
    let Ok([a, b]) = serde_json::from_slice::<[Value; 2]>(input) else { return };
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return };
    let project = ProjectName::parse("p").expect("a name");
    for entity in [Entity::Session, Entity::Observation, Entity::Prompt, Entity::Relation] {
        for (op_a, op_b) in [(Op::Upsert, Op::Upsert), (Op::Upsert, Op::Delete), (Op::Delete, Op::Delete)] {
            let key = if entity == Entity::Session { "id" } else { "sync_id" };
            let named = |payload: &Object| {
                let mut payload = payload.clone();
                payload.insert(key.to_owned(), "k".into());
                payload
            };
            let read = |op, payload: &Object| Version::read(entity, "k", op, &named(payload)).ok();
            let (Some(a), Some(b)) = (read(op_a, &a), read(op_b, &b)) else { continue };
            let ab = join(a.clone(), b.clone());
            assert_eq!(ab, join(b.clone(), a.clone()), "commutative");
            assert_eq!(ab, join(ab.clone(), a.clone()), "idempotent");
            assert_eq!(ab, join(b.clone(), ab.clone()), "idempotent");
            if let Some((op, payload)) = ab.write(&project, "k") {
                let again = Version::read(entity, "k", op, &payload).expect("what is written is read");
                assert_eq!(again, ab, "as the same version");
            }
        }
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
