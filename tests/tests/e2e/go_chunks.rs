//! A Go server that has a project's history only in chunks: our devices read them once (chunks.md, peers.md).

use engram_proto::chunk::{ChunkId, encode};
use engram_tests::go::server::GoServer;
use engram_tests::processes::Device;
use serde_json::{Value, json};

fn memory(sync_id: &str, title: &str) -> Value {
    json!({"id": 1, "sync_id": sync_id, "session_id": "s", "type": "note", "title": title, "content": "a text",
        "project": "demo", "scope": "project", "revision_count": 1, "duplicate_count": 1,
        "created_at": "2026-11-22 10:00:01", "updated_at": "2026-11-22 10:00:01"})
}

fn mutation(entity: &str, key: &str, op: &str, payload: Value) -> Value {
    json!({"seq": 1, "target_key": "cloud", "entity": entity, "entity_key": key, "op": op,
        "payload": payload.to_string(), "source": "local", "project": "demo", "occurred_at": "2026-11-22 10:00:02"})
}

/// CONV-5, D4: memories, deletes and relations of chunks come in by the path of pulled rows; once.
#[test]
fn conv_5_a_history_that_is_only_in_chunks_is_read_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let session = json!({"id": "s", "project": "demo", "directory": "/d", "started_at": "2026-11-22 10:00:00"});
    let first = json!({"sessions": [session], "observations": [memory("obs-1", "kept"), memory("obs-2", "gone"),
        memory("obs-3", "other")], "prompts": []});
    let relation = json!({"sync_id": "rel-1", "source_id": "obs-1", "target_id": "obs-3", "relation": "related",
        "judgment_status": "judged", "marked_by_actor": "a", "marked_by_kind": "agent",
        "created_at": "2026-11-22 10:00:02", "updated_at": "2026-11-22 10:00:02"});
    let gone = json!({"sync_id": "obs-2", "session_id": "s", "deleted": true, "deleted_at": "2026-11-22 10:00:02"});
    let second = json!({"sessions": [], "observations": [], "prompts": [], "mutations": [
        mutation("relation", "rel-1", "upsert", relation), mutation("observation", "obs-2", "delete", gone)]});
    let derived = json!({"sessions": [], "observations": [memory("obs-4", "of a mutation")], "prompts": []});
    let id = ChunkId::of_bytes(&encode(&first));
    server.inside().chunks.insert(
        "demo".to_owned(),
        [("ana", first), ("bob", second), ("mutation-push", derived)].map(|(by, chunk)| (by.to_owned(), chunk)).into(),
    );
    let device = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    let sync = device.ctl(&["sync", "--json"]);
    assert_eq!(sync.code, 0, "{sync:?}");
    let mut titles = device.titles("text");
    titles.sort_unstable();
    assert_eq!(titles, ["kept", "other"]);
    let store = rusqlite::Connection::open(device.dir.join("engram.db")).expect("the store");
    let count = |sql: &str| store.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a count");
    assert_eq!(count("SELECT count(*) FROM memory_relations WHERE sync_id = 'rel-1'"), 1);
    // A memory of its own goes out, and the chunks are not read again.
    let saved = device.save("demo", "new", "a text");
    assert_eq!(device.ctl(&["sync"]).code, 0);
    assert_eq!(device.ctl(&["sync"]).code, 0);
    assert_eq!(server.rows_of(&saved), 1);
    assert_eq!(server.inside().requests.get(&format!("GET /sync/pull/{id}")), Some(&1));
    assert_eq!(count("SELECT count(*) FROM engramd_meta WHERE key LIKE 'chunks:%' AND value = 'all'"), 1);
}
