//! The canonical form of a chunk for one project, made before it is pushed and again by the server that takes it.

use super::error::{ChunkError, MutationError};
use super::{json, payload};
use crate::canonical::Object;
use crate::mutation::{Entity, Op};
use serde_json::Value;
use std::collections::HashSet;

/// Brings a chunk into the form whose bytes its id is the hash of.
///
/// Rows and mutations are given to `project`, which is in normal form already; a session only where the chunk says that
/// it belongs there: where no mutation is carried at all, or one of it, or a row or mutation that names it. Lists that
/// are absent stay so, members and row fields that we do not know are kept.
///
/// # Errors
/// A [`ChunkError`] that names the first place where the chunk is none.
pub fn canonical_bytes(mut chunk: Object, project: &str) -> Result<Vec<u8>, ChunkError> {
    let mut named = HashSet::new();
    let mutations = match take_list(&mut chunk, "mutations")? {
        Some(rows) => Some(canonical_mutations(rows, project, &mut named)?),
        None => None,
    };
    let mut lists = Vec::new();
    for list in ["sessions", "observations", "prompts"] {
        lists.push((list, take_list(&mut chunk, list)?));
    }
    for (_, rows) in &mut lists[1..] {
        for row in rows.iter_mut().flatten() {
            if let Some(session) = row.get("session_id").and_then(Value::as_str) {
                named.insert(session.trim().to_owned());
            }
            row.insert("project".to_owned(), project.into());
        }
    }
    let carries_mutations = mutations.as_ref().is_some_and(|mutations| !mutations.is_empty());
    for row in lists[0].1.iter_mut().flatten() {
        let id = row.get("id").and_then(Value::as_str).unwrap_or_default();
        if !carries_mutations || named.contains(id.trim()) {
            row.insert("project".to_owned(), project.into());
        }
    }
    lists.push(("mutations", mutations));
    for (list, rows) in lists {
        if let Some(rows) = rows {
            chunk.insert(list.to_owned(), rows.into_iter().map(Value::from).collect());
        }
    }
    Ok(encode(&Value::from(chunk)))
}

/// Encodes JSON in the form of chunks: sorted names, numbers and escapes as the Go program writes them.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = String::new();
    json::write_value(value, &mut out);
    out.into_bytes()
}

/// Takes a list out of the chunk; null is an empty one, `None` one that is not there.
fn take_list(chunk: &mut Object, list: &'static str) -> Result<Option<Vec<Object>>, ChunkError> {
    let items = match chunk.remove(list) {
        None => return Ok(None),
        Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(ChunkError::NotAList { list }),
    };
    let rows = items.into_iter().enumerate().map(|(index, item)| match item {
        Value::Object(row) => Ok(row),
        _ => Err(ChunkError::NotAnObject { list, index }),
    });
    rows.collect::<Result<_, _>>().map(Some)
}

fn canonical_mutations(
    rows: Vec<Object>,
    project: &str,
    named: &mut HashSet<String>,
) -> Result<Vec<Object>, ChunkError> {
    let each = rows.into_iter().enumerate().map(|(index, row)| {
        canonical_mutation(row, project, named).map_err(|source| ChunkError::Mutation { index, source })
    });
    each.collect()
}

fn canonical_mutation(mut row: Object, project: &str, named: &mut HashSet<String>) -> Result<Object, MutationError> {
    let text = |row: &Object, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let (entity, op) = (text(&row, "entity"), text(&row, "op"));
    let kind = match (Entity::parse(&entity), Op::parse(&op)) {
        (Some(Entity::Relation), Some(Op::Delete)) => None,
        (Some(entity), Some(op)) => Some((entity, op)),
        _ => None,
    };
    let Some((entity, op)) = kind else { return Err(MutationError::Unsupported { entity, op }) };
    let payload = row.remove("payload").unwrap_or_default();
    let canonical = payload::canonical(project, entity, &text(&row, "entity_key"), op, payload)?;
    named.extend(canonical.session_id);
    if entity == Entity::Session {
        named.insert(canonical.key.clone());
    }
    for (name, value) in [
        ("entity", entity.as_str()),
        ("entity_key", &canonical.key),
        ("op", op.as_str()),
        ("payload", &canonical.payload),
        ("project", project),
    ] {
        row.insert(name.to_owned(), value.into());
    }
    Ok(row)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::chunk::{Chunk, ChunkId};
    use serde_json::json;

    fn object(value: Value) -> Object {
        match value {
            Value::Object(object) => object,
            other => panic!("no object: {other}"),
        }
    }

    #[test]
    fn every_recorded_case_gives_the_recorded_bytes_or_error() {
        let cases = include_str!("../../../tests/fixtures/chunks/canonical.json");
        let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
        assert!(cases.len() > 10);
        for case in cases {
            let made = canonical_bytes(object(case["chunk"].clone()), case["project"].as_str().unwrap());
            match made {
                Ok(bytes) => {
                    assert_eq!(
                        String::from_utf8(bytes.clone()).unwrap(),
                        case["canonical"].as_str().unwrap_or("an error")
                    );
                    assert_eq!(ChunkId::of_bytes(&bytes).as_str(), case["chunk_id"].as_str().unwrap());
                    let again = canonical_bytes(serde_json::from_slice(&bytes).unwrap(), "alpha").unwrap();
                    assert_eq!(again, bytes, "the canonical form is its own");
                    serde_json::from_slice::<Chunk>(&bytes).unwrap();
                }
                Err(error) => assert_eq!(Some(error.to_string().as_str()), case["error"].as_str()),
            }
        }
    }

    #[test]
    fn a_real_clients_chunk_is_canonical_and_has_the_id_it_came_with() {
        let exchanges = include_str!("../../../tests/fixtures/cloud/exchanges.json");
        let exchanges: Vec<Value> = serde_json::from_str(exchanges).unwrap();
        let bodies = exchanges.iter().map(|exchange| &exchange["request"]["body"]);
        let sent: Vec<&Value> = bodies.filter(|body| body["chunk_id"].is_string()).collect();
        assert!(!sent.is_empty());
        for body in sent {
            let bytes = canonical_bytes(object(body["data"].clone()), body["project"].as_str().unwrap()).unwrap();
            assert_eq!(ChunkId::of_bytes(&bytes).as_str(), body["chunk_id"].as_str().unwrap());
            assert_eq!(bytes, encode(&body["data"]));
        }
    }

    #[test]
    fn a_session_that_nothing_in_the_chunk_names_keeps_its_project() {
        let mutation = json!({"entity":"prompt","op":"delete","entity_key":"p","payload":"{\"session_id\":\"named\"}"});
        let chunk = json!({
            "sessions": [{"id":"named","project":"b"}, {"id":"of a row","project":"b"}, {"id":"other","project":"b"}],
            "observations": [{"session_id":"of a row","project":"b"}],
            "mutations": [mutation],
        });
        let chunk: Chunk = serde_json::from_slice(&canonical_bytes(object(chunk), "a").unwrap()).unwrap();
        let projects: Vec<_> = chunk.sessions.iter().map(|row| row["project"].as_str().unwrap()).collect();
        assert_eq!(projects, ["a", "a", "b"]);
        assert_eq!(chunk.observations[0]["project"], "a");
        assert_eq!(chunk.mutations[0].payload, r#"{"sync_id":"p","session_id":"named","content":"","project":"a"}"#);
    }

    #[test]
    fn what_is_wrong_with_a_mutation_is_named() {
        let error = |entity: &str, payload: Value| {
            let chunk = json!({"mutations":[{"entity":entity,"op":"upsert","payload":payload}]});
            canonical_bytes(object(chunk), "a").unwrap_err().to_string()
        };
        assert_eq!(error("session", json!("{\"id\":\"s\"}")), "mutations[0]: payload directory is required");
        assert_eq!(error("session", json!("{\"id\":5}")), "mutations[0]: payload id is not text");
        assert_eq!(error("session", json!("{}")), "mutations[0]: payload id is required");
        assert_eq!(error("prompt", json!("[1]")), "mutations[0]: payload must be a JSON object");
        assert_eq!(error("prompt", json!(null)), "mutations[0]: payload must be a JSON object");
    }
}
