//! A Go server that has a project's history only in chunks: our devices read them once (chunks.md, peers.md).

use engram_tests::go::server::{GoServer, chunk_id};
use engram_tests::processes::{Device, until};
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
    let id = chunk_id(&first);
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
    // A Go process on this store passes them over.
    assert_eq!(count("SELECT count(*) FROM sync_chunks WHERE target_key = 'cloud:demo'"), 2);
}

fn chunk(rows: &[Value]) -> Value {
    let session = json!({"id": "s", "project": "demo", "directory": "/d", "started_at": "2026-11-22 10:00:00"});
    json!({"sessions": [session], "observations": rows, "prompts": []})
}

/// Lays chunks of colleagues in the order of their ids, in which they are read; returns these.
fn lay(server: &GoServer, chunks: Vec<Value>) -> Vec<String> {
    let mut ids: Vec<_> = chunks.iter().map(chunk_id).collect();
    ids.sort();
    let chunks = chunks.into_iter().map(|chunk| ("ana".to_owned(), chunk));
    server.inside().chunks.entry("demo".to_owned()).or_default().extend(chunks);
    ids
}

fn asked(server: &GoServer, id: &str) -> u64 {
    server.inside().requests.get(&format!("GET /sync/pull/{id}")).copied().unwrap_or(0)
}

fn held(device: &Device) -> Vec<Value> {
    device.json(&["held", "list"])["held"].as_array().expect("a list").clone()
}

/// The chunks that a Go process on this store takes for imported.
fn imported(device: &Device) -> Vec<String> {
    let store = rusqlite::Connection::open(device.dir.join("engram.db")).expect("the store");
    let sql = "SELECT chunk_id FROM sync_chunks WHERE target_key = 'cloud:demo' ORDER BY chunk_id";
    let mut statement = store.prepare(sql).expect("a statement");
    let ids = statement.query_map([], |row| row.get(0)).expect("rows");
    ids.collect::<Result<_, _>>().expect("ids")
}

/// CUR-1, IDEM-1: a daemon that is killed between two chunks goes on at the next one, and reads none twice.
#[test]
fn cur_1_a_daemon_that_is_killed_between_chunks_goes_on_at_the_next() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    // Two pages full, and one more.
    let small = |n: usize| chunk(&[memory(&format!("obs-{n}"), &format!("kept {n}"))]);
    let ids = lay(&server, (0..201).map(small).collect());
    let (last, before) = ids.split_last().expect("some");
    server.inside().chunk_stalled = Some(last.clone());
    let mut device = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    until("the last one is asked for", || asked(&server, last) > 0);
    device.daemon.kill();
    assert_eq!(imported(&device), before);
    server.inside().chunk_stalled = None;
    device.boot();
    assert_eq!(device.ctl(&["sync"]).code, 0);
    assert_eq!(device.titles("text").len(), ids.len());
    assert_eq!(imported(&device), ids);
    assert!(before.iter().all(|id| asked(&server, id) == 1), "none is read twice");
}

/// LOUD-1, ISO-2: chunks that are listed and missing, none, or refused are shown; the others come in, and so do these
/// once they can be had.
#[test]
fn loud_1_a_chunk_that_cannot_be_read_is_shown_and_asked_for_again() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let ids = lay(&server, (0..6).map(|n| chunk(&[memory(&format!("obs-{n}"), &format!("kept {n}"))])).collect());
    let fault = |status: u16, text: &str| (status, text.to_owned());
    server.inside().chunk_faults = [
        (ids[0].clone(), fault(404, "read chunk: cloudstore: chunk not found")),
        (ids[1].clone(), fault(200, "<html>Sign in</html>")),
        (ids[2].clone(), fault(500, "read chunk: pq: invalid page in block 7")),
        (ids[3].clone(), fault(200, "{\"mutations\": [{\"entity\": \"dream\", \"op\": \"upsert\"}]}")),
    ]
    .into();
    let device = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    until("all are asked for", || {
        let _ = device.ctl(&["sync"]);
        asked(&server, &ids[5]) == 1
    });
    assert_eq!(device.ctl(&["sync"]).code, 5, "something is left over");
    assert_eq!((device.titles("text").len(), imported(&device)), (2, ids[4..].to_vec()));
    let rows = held(&device);
    assert_eq!(rows.len(), 4, "{rows:?}");
    for (row, words) in rows.iter().zip(["has no such chunk", "no chunk", "HTTP 500", "dream"]) {
        assert!(row["evidence"].as_str().expect("words").contains(words), "{row}");
        assert_eq!((&row["project"], &row["reason_code"]), (&"demo".into(), &"row_undeliverable".into()), "{row}");
    }
    let keys: Vec<_> = rows.iter().map(|row| row["entity_key"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(keys, ids[..4]);
    until("it is shown", || device.finds_reason("row_undeliverable"));
    // Whoever gives one up is not told of it again.
    assert_eq!(device.ctl(&["held", "drop", &rows[3]["id"].to_string(), "--yes"]).code, 0);
    assert_eq!(device.ctl(&["sync"]).code, 5);
    assert_eq!(held(&device).len(), 3);
    // One that is not listed any more is missed by nobody.
    server.inside().chunks.get_mut("demo").expect("chunks").retain(|(_, chunk)| chunk_id(chunk) != ids[1]);
    let pages = server.inside().requests["GET /sync/mutations/pull"];
    assert!(asked(&server, &ids[0]) <= pages, "with a page at most: {} of {pages}", asked(&server, &ids[0]));
    server.inside().chunk_faults.clear();
    until("all is in", || device.ctl(&["sync"]).code == 0);
    assert_eq!((held(&device), device.titles("text").len()), (vec![], 4));
    assert_eq!(imported(&device), [&ids[0], &ids[2], &ids[4], &ids[5]].map(Clone::clone));
    until("nothing is shown", || !device.finds_reason("row_undeliverable"));
}

/// CONV-5, D4: a delete in a chunk that came later, or that a Go process imported into this store, is no mutation of the
/// server and left no trace here: it is read once all the same.
#[test]
fn conv_5_a_chunk_that_came_later_or_that_a_go_process_read_is_read_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let delete = |key: &str| {
        let gone = json!({"sync_id": key, "session_id": "s", "deleted": true, "deleted_at": "2026-11-22 10:00:02"});
        json!({"sessions": [], "observations": [], "prompts": [],
            "mutations": [mutation("observation", key, "delete", gone)]})
    };
    lay(&server, vec![chunk(&[memory("obs-1", "one"), memory("obs-2", "two"), memory("obs-3", "three")])]);
    let device = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    assert_eq!((device.ctl(&["sync"]).code, device.titles("text").len()), (0, 3));
    let store = rusqlite::Connection::open(device.dir.join("engram.db")).expect("the store");
    store.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    let recorded = "INSERT INTO sync_chunks (target_key, chunk_id) VALUES ('cloud:demo', ?1)";
    store.execute(recorded, [chunk_id(&delete("obs-1"))]).expect("recorded");
    let ids = lay(&server, vec![delete("obs-1"), delete("obs-2")]);
    assert_eq!((device.ctl(&["sync"]).code, device.titles("text")), (0, vec!["three".to_owned()]));
    assert_eq!(device.ctl(&["sync"]).code, 0);
    assert_eq!(ids.iter().map(|id| asked(&server, id)).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(imported(&device).len(), 3);
}
