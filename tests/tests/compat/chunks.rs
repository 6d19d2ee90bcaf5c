//! Go clients that sync by chunks beside those that sync by mutations: both rails tell the same truth.

use crate::fleet::{PROJECTS, STEPS, memories_of, memories_of_journal, write, write_ours};
use crate::server::*;
use engram_proto::chunk::{ChunkId, encode};
use engram_tests::go::GoClient;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::HashMap;

async fn push_chunk(server: &Server, project: &str, data: Value) -> (u16, Value) {
    let body = json!({"project": project, "created_by": "a hand", "data": data}).to_string();
    let request = server.remote.http.post(format!("{}/sync/push", server.remote.url)).bearer_auth(&server.remote.token);
    let answer = request.body(body).send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON"))
}

/// Pushes and imports every project by chunks.
async fn chunk_cycle(client: &mut GoClient, server: &Server) -> Result<(), String> {
    for project in PROJECTS {
        client.push_chunk(&server.remote, project).await.map_err(|(status, body)| format!("{status}: {body}"))?;
        client.import_chunks(&server.remote, project).await?;
    }
    Ok(())
}

fn count(client: &GoClient, sql: &str) -> i64 {
    client.db.query_row(sql, [], |row| row.get(0)).expect("a count")
}

/// Scenario 5: a delete reaches both rails from either of them, and nothing brings the memory back (D4).
#[tokio::test(flavor = "multi_thread")]
async fn conv_5_deletes_and_relations_travel_on_both_rails() {
    let server = Server::start(&["alpha"]).await;
    let (mut by_chunks, mut by_mutations) = (server.go("chunks", 0), server.go("mutations", 1));
    let mut late = server.go("late", 2);
    for client in [&by_chunks, &by_mutations, &late] {
        client.enroll("alpha");
    }
    by_chunks.start_session("s", "alpha", "/src");
    let ids: Vec<String> =
        ["soft", "hard", "kept", "other"].map(|title| by_chunks.save("alpha", "s", title, title, None)).into();
    by_chunks.prompt("alpha", "s", "gone");
    by_chunks.relate(&ids[2], &ids[3]);
    let sent = by_chunks.push_chunk(&server.remote, "alpha").await.expect("taken").expect("something");
    assert_eq!(sent.0, sent.1, "the id it counted itself");
    by_mutations.cycle(&server.remote).await.expect("no halt");
    assert_eq!(count(&by_mutations, "SELECT count(*) FROM observations WHERE deleted_at IS NULL"), 4);
    assert_eq!(count(&by_mutations, "SELECT count(*) FROM memory_relations"), 1);
    // One deletes by mutations, the other by a chunk.
    by_chunks.pass_s(300);
    by_mutations.pass_s(300);
    by_mutations.delete(&ids[0], false);
    by_chunks.delete(&ids[1], true);
    by_chunks.delete_prompt("prompt-chunks-5");
    by_mutations.cycle(&server.remote).await.expect("no halt");
    by_chunks.push_chunk(&server.remote, "alpha").await.expect("taken");
    by_mutations.cycle(&server.remote).await.expect("no halt");
    for client in [&mut by_chunks, &mut late] {
        client.import_chunks(&server.remote, "alpha").await.expect("it imports");
    }
    let (expected, _) = memories_of_journal(&server, 0).await;
    assert_eq!(expected.len(), 2);
    for client in [&by_chunks, &by_mutations, &late] {
        assert_eq!(memories_of(client), expected);
        assert_eq!(count(client, "SELECT count(*) FROM memory_relations"), 1);
        assert_eq!(count(client, "SELECT count(*) FROM user_prompts"), 0);
    }
    // A second sync of everybody moves nothing.
    let (rows, listed) = (server.rows(&["alpha"]).await.len(), late.manifest(&server.remote, "alpha").await);
    for client in [&mut by_chunks, &mut late] {
        assert_eq!(client.push_chunk(&server.remote, "alpha").await.expect("taken"), None);
        assert_eq!(client.import_chunks(&server.remote, "alpha").await, Ok(0));
    }
    by_mutations.cycle(&server.remote).await.expect("no halt");
    assert_eq!(server.rows(&["alpha"]).await.len(), rows);
    assert_eq!(late.manifest(&server.remote, "alpha").await, listed);
}

/// ISO-3 for an importing client: it applies deletes last, and stalls at a relation whose end it lacks (D63).
#[tokio::test(flavor = "multi_thread")]
async fn iso_3_what_an_import_would_stall_at_or_lose_is_told_otherwise() {
    let server = Server::start(&["alpha"]).await;
    server.push(vec![session("alpha", "s", "/src"), memory("alpha", "s", "again", "one", 1)]).await;
    server.push(vec![delete("alpha", "s", "again", 2, false)]).await;
    server.push(vec![memory("alpha", "s", "again", "two", 3)]).await;
    for (id, end) in [("rel", "of another project"), ("rel-late", "late")] {
        let relation = json!({
            "sync_id": id, "source_id": "again", "target_id": end, "relation": "related",
            "judgment_status": "judged", "marked_by_actor": "a", "marked_by_kind": "agent",
            "created_at": minute(4).to_string(), "updated_at": minute(4).to_string(),
        });
        server.push(vec![entry("alpha", "relation", id, "upsert", relation)]).await;
    }
    // A child whose project knows no directory of its session, and one of a session that is gone.
    server.push(vec![memory("alpha", "nowhere", "child", "child", 5), session("alpha", "t", "/src")]).await;
    server.push(vec![memory("alpha", "t", "hard", "hard", 6)]).await;
    server.push(vec![delete("alpha", "t", "hard", 7, true), session_delete("alpha", "t", 8)]).await;
    let mut client = server.go("client", 60);
    client.enroll("alpha");
    assert_eq!(client.import_chunks(&server.remote, "alpha").await, Ok(1));
    let mut titles: Vec<String> = memories_of(&client).into_values().collect();
    titles.sort_unstable();
    assert_eq!(titles, ["child", "two"]);
    assert_eq!(count(&client, "SELECT count(*) FROM memory_relations"), 0);
    // Once its memory is there, it is told.
    server.push(vec![memory("alpha", "s", "late", "late", 9)]).await;
    assert_eq!(client.import_chunks(&server.remote, "alpha").await, Ok(1));
    assert_eq!(count(&client, "SELECT count(*) FROM memory_relations"), 1);
    // Opening its store queues what it imported (D1): it is nothing new to the server.
    let rows = server.rows(&["alpha"]).await.len();
    let mut client = client.reopened();
    assert!(client.pending_count() > 0);
    client.push_chunk(&server.remote, "alpha").await.expect("taken");
    assert_eq!(server.rows(&["alpha"]).await.len(), rows);
}

/// A chunk that says what the journal holds after it is listed itself; one that lost is not, and its sender learns.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_is_listed_where_it_tells_the_truth() {
    let server = Server::start(&["alpha"]).await;
    let mut client = server.go("client", 0);
    client.enroll("alpha");
    client.start_session("s", "alpha", "/src");
    let id = client.save("alpha", "s", "first", "content", None);
    let (sent, _) = client.push_chunk(&server.remote, "alpha").await.expect("taken").expect("something");
    let listed = client.manifest(&server.remote, "alpha").await.chunks;
    assert_eq!(listed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [&sent]);
    assert_eq!((listed[0].created_by.as_str(), listed[0].sessions, listed[0].memories), ("client", 1, 1));
    assert_eq!(client.import_chunks(&server.remote, "alpha").await, Ok(0), "its own chunk is nothing new to it");
    // Another device wrote later; what this one pushes is older.
    server.push(vec![memory("alpha", "s", &id, "newer", 60)]).await;
    client.edit(&id, "older", "content");
    let (sent, _) = client.push_chunk(&server.remote, "alpha").await.expect("taken").expect("something");
    let listed = client.manifest(&server.remote, "alpha").await.chunks;
    assert!(listed.iter().all(|one| one.id != sent), "{listed:?}");
    client.import_chunks(&server.remote, "alpha").await.expect("it imports");
    assert!(memories_of(&client).into_values().eq(["newer".to_owned()]));
}

/// IDEM-1: the same bytes again are answered with the same id, and change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn idem_1_the_same_chunk_twice_changes_nothing() {
    let server = Server::start(&["alpha"]).await;
    let session = json!({"id": "s", "project": "theirs", "directory": "/d", "started_at": minute(0).to_string()});
    let data = json!({"sessions": [session], "observations": null, "prompts": []});
    let (status, first) = push_chunk(&server, "alpha", data.clone()).await;
    assert_eq!(status, 200, "{first}");
    let (rows, client) = (server.rows(&["alpha"]).await, server.go("client", 0));
    assert_eq!(rows[0].payload["project"], "alpha", "SCOPE-2");
    let listed = client.manifest(&server.remote, "alpha").await;
    assert_eq!(push_chunk(&server, "alpha", data).await, (200, first));
    assert_eq!(server.rows(&["alpha"]).await, rows);
    assert_eq!(client.manifest(&server.remote, "alpha").await, listed);
}

/// D24: two chunks whose hashes begin with the same 32 bits are two chunks.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_collide_in_32_bits_are_both_kept() {
    let server = Server::start(&["alpha"]).await;
    let chunk = |number: u32| json!({"sessions": [], "salt": number});
    let mut seen = HashMap::new();
    let pair = (0..).find_map(|number| {
        let id = ChunkId::of_bytes(&encode(&chunk(number)));
        seen.insert(id, number).map(|other| (other, number))
    });
    let (one, other) = pair.expect("among some hundred thousand");
    let mut ids = Vec::new();
    for number in [one, other, one, other] {
        let (status, body) = push_chunk(&server, "alpha", chunk(number)).await;
        assert_eq!(status, 200, "{body}");
        ids.push(body["chunk_id"].as_str().expect("an id").to_owned());
    }
    assert_eq!(ids[..2], ids[2..]);
    assert_eq!((ids[0].len(), ids[1].len()), (8, 12));
    assert!(ids[1].starts_with(&ids[0]));
    let mut client = server.go("client", 0);
    assert_eq!(client.import_chunks(&server.remote, "alpha").await, Ok(2), "each of them hashes to its id");
}

/// Bad rows are named; nothing of their chunk is kept, and a good one beside them neither.
#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_named_and_nothing_of_the_chunk_is_kept() {
    let server = Server::start(&["alpha"]).await;
    let session = json!({"id": "s", "directory": "/d", "started_at": minute(0).to_string()});
    let bad = json!({"sync_id": "o", "session_id": "s", "type": "t", "title": " ", "content": "c", "scope": "project"});
    let orphan = json!({"sync_id": "p", "session_id": "nowhere", "content": "c"});
    let nul = json!({"sync_id": "p", "session_id": "s", "content": "a\u{0}b"});
    for (data, field, entity, index) in [
        (json!({"sessions": [session], "observations": [bad]}), "title", "observation", 0),
        (
            json!({"sessions": [session], "prompts": [{"sync_id": "q", "session_id": "s", "content": "c"}, orphan]}),
            "session_id",
            "prompt",
            1,
        ),
        (json!({"sessions": [session], "prompts": [nul]}), "content", "prompt", 0),
        (
            json!({"sessions": [session], "mutations": [{"entity": "session", "op": "upsert", "payload": "{\"id\":\"t\"}"}]}),
            "directory",
            "",
            0,
        ),
    ] {
        let (status, body) = push_chunk(&server, "alpha", data).await;
        assert_eq!((status, &body["error_code"]), (400, &"upgrade_repairable_payload_invalid".into()), "{body}");
        assert_eq!(body["invalid"], json!([{"index": index, "field": field, "entity": entity}]), "{body}");
    }
    assert!(server.rows(&["alpha"]).await.is_empty());
    server.pause("alpha");
    let (status, body) = push_chunk(&server, "alpha", json!({"sessions": [{"id": "s"}]})).await;
    assert_eq!((status, &body["error_code"]), (409, &"sync-paused".into()), "{body}");
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let server = Server::start(&PROJECTS).await;
    let mut clients: Vec<GoClient> = (0..4).map(|at| server.go(&format!("go-{at}"), 10 * at)).collect();
    for client in &clients {
        PROJECTS.iter().for_each(|project| client.enroll(project));
    }
    for step in 0..STEPS {
        let at = rng.random_range(0..clients.len());
        match rng.random_range(0..6) {
            0 => write_ours(&server, &mut rng, step).await,
            // The first two sync by chunks, the others by mutations.
            1..=3 if at < 2 => {
                let done = chunk_cycle(&mut clients[at], &server).await;
                assert!(done.is_ok(), "seed {seed}, step {step}: {done:?}");
            }
            1..=3 => {
                let halt = clients[at].cycle(&server.remote).await;
                assert!(halt.is_ok(), "seed {seed}, step {step}: {halt:?}");
            }
            _ => write(&mut clients[at], &mut rng, step),
        }
    }
    for _ in 0..4 {
        for (at, client) in clients.iter_mut().enumerate() {
            if at < 2 {
                let done = chunk_cycle(client, &server).await;
                assert!(done.is_ok(), "seed {seed}: {done:?}");
            } else {
                let halt = client.cycle(&server.remote).await;
                assert!(halt.is_ok(), "seed {seed}: {halt:?}");
            }
        }
    }
    let (ours, _) = memories_of_journal(&server, 0).await;
    for (at, client) in clients.iter().enumerate() {
        assert_eq!(memories_of(client), ours, "seed {seed}, client {at}");
    }
}

/// Scenario 20 for the cloud's two rails: nobody stalls, and whoever syncs by chunks has what the others have.
#[tokio::test(flavor = "multi_thread")]
async fn conv_1_whoever_syncs_by_chunks_ends_with_the_same_memories() {
    for seed in 0..6 {
        run(seed).await;
    }
}
