//! Mutations in.

use crate::harness::*;
use engram_cloud::journal::Control;
use engram_cloud::journal::embedded::{Beside, FILE_NAME};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_ids_gets_receipts_and_keeps_its_good_entries() {
    let server = Server::start().await;
    let mut bad = memory("alpha", "bad", "content");
    bad["payload"]["title"] = json!("");
    let entries = json!([
        with_id(session(" Alpha ", "s"), "d:1:aa"),
        with_id(bad, "d:2:bb"),
        with_id(memory("alpha", "m", "x"), "d:3:cc")
    ]);
    let reply = server.push(entries.clone()).await;
    let (seqs, receipts) = (&reply["accepted_seqs"], &reply["receipts"]);
    assert_eq!(seqs[1], 0);
    assert_eq!(
        (&reply["project"], &reply["project_source"], &reply["project_path"]),
        (&json!("alpha"), &json!("request_body"), &json!(""))
    );
    for (at, status) in [(0, "accepted"), (1, "rejected"), (2, "accepted")] {
        assert_eq!(receipts[at]["mutation_id"], entries[at]["mutation_id"]);
        assert_eq!(receipts[at]["status"], status);
    }
    assert_eq!((&receipts[0]["seq"], &receipts[2]["seq"]), (&seqs[0], &seqs[2]));
    let occurred_at = receipts[0]["occurred_at"].as_str().expect("a time");
    assert!(occurred_at.len() == "2026-11-22T14:02:49.123456Z".len() && occurred_at.ends_with('Z'), "{occurred_at}");
    assert_eq!((&receipts[1]["reason_code"], &receipts[1]["field"]), (&json!("validation_error"), &json!("title")));
    assert!(receipts[1].get("seq").is_none());
    // IDEM-1: the whole request again.
    let again = server.push(entries).await;
    assert_eq!((&again["accepted_seqs"], &again["receipts"][0]["status"]), (seqs, &json!("duplicate")));
    assert_eq!(again["receipts"][0]["occurred_at"], receipts[0]["occurred_at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_without_ids_is_all_or_nothing_and_names_its_bad_entries() {
    let server = Server::start().await;
    let relation = json!({"project": "alpha", "entity": "relation", "entity_key": "r", "op": "upsert", "payload": {"sync_id": "r"}});
    let answer = server.post(PUSH, &json!({"entries": [session("alpha", "s"), relation]})).await;
    assert_eq!((answer.status.as_u16(), &answer.body["reason_code"]), (400, &json!("validation_error")));
    assert_eq!(answer.body["invalid"], json!([{"index": 1, "field": "source_id", "entity": "relation"}]));
    assert_eq!(server.get(PULL).await.body["mutations"], json!([]));
    let reply = server.push(json!([session("alpha", "s"), memory("alpha", "m", "x")])).await;
    assert_eq!(reply["accepted_seqs"].as_array().map(Vec::len), Some(2));
    assert!(reply.get("receipts").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_push_is_refused_in_words_without_content() {
    let server = Server::start().await;
    let thousand_one: Vec<Value> = (0..1001).map(|i| session("alpha", &format!("s{i}"))).collect();
    let mut foreign_payload = memory("alpha", "m", "secret-content");
    foreign_payload["entity"] = json!(7);
    let cases = [
        (json!({"entries": []}), "empty_batch"),
        (json!({}), "empty_batch"),
        (json!({"entries": null}), "empty_batch"),
        (json!({"entries": [{"entity": "session", "payload": {}}]}), "empty_project"),
        (json!({"entries": [session("alpha", "s"), session("  ", "s")]}), "empty_project"),
        (json!({"entries": thousand_one}), "upgrade_repairable_payload_invalid"),
        (json!({"entries": [foreign_payload]}), "upgrade_repairable_payload_invalid"),
        (json!([1, 2]), "upgrade_repairable_payload_invalid"),
    ];
    for (body, code) in cases {
        let answer = server.post(PUSH, &body).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error_code"]), (400, &json!(code)));
        assert!(!answer.body.to_string().contains("secret-content"));
    }
    let broken = answer(server.request(reqwest::Method::POST, PUSH).body("{\"entries\":[")).await;
    assert_eq!((broken.status.as_u16(), &broken.body["error_class"]), (400, &json!("repairable")));
    let thousand: Vec<Value> = (0..1000).map(|i| session("alpha", &format!("s{i}"))).collect();
    assert_eq!(server.push(json!(thousand)).await["accepted_seqs"].as_array().map(Vec::len), Some(1000));
}

/// D39: the author of a row is who was let in, whatever the request says of itself.
#[tokio::test(flavor = "multi_thread")]
async fn scope_2_a_rows_author_is_who_was_let_in() {
    let server = Server::start().await;
    let mut entry = session("alpha", "s");
    entry["pushed_by"] = json!("somebody else");
    let answer = server.post(PUSH, &json!({"entries": [entry], "created_by": "somebody else"})).await;
    assert_eq!(answer.status.as_u16(), 200);
    let store = rusqlite::Connection::open(server.dir.path().join("cloud").join(FILE_NAME)).expect("the store");
    let author: String = store.query_row("SELECT pushed_by FROM cloud_mutations", [], |row| row.get(0)).expect("a row");
    assert!(!author.is_empty() && author != "somebody else", "{author}");
}

/// D58: a text is stored once, whatever becomes of it and however often it comes; the loser of a conflict, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_stored_once() {
    let server = Server::start().await;
    server.push(json!([with_id(session("alpha", "s"), "d:1:aa")])).await;
    let mut second = memory("alpha", "m", "the second text");
    second["payload"]["updated_at"] = json!("2026-11-22 18:00:00");
    for entry in [
        with_id(memory("alpha", "m", "the first text"), "d:2:aa"),
        with_id(memory("alpha", "m", "the first text"), "d:2:aa"),
        with_id(second, "d:3:aa"),
        with_id(memory("alpha", "m", "a text that lost"), "e:1:aa"),
        with_id(memory("alpha", "m", "a text that lost"), "e:2:aa"),
    ] {
        server.push(json!([entry])).await;
    }
    let store = rusqlite::Connection::open(server.dir.path().join("cloud").join(FILE_NAME)).expect("the store");
    let all = |sql: &str| -> Vec<String> {
        let mut statement = store.prepare(sql).expect("a statement");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("texts")
    };
    let columns = all("SELECT 'SELECT CAST(\"' || c.name || '\" AS TEXT) FROM \"' || m.name || '\" WHERE \"' || c.name
        || '\" IS NOT NULL AND typeof(\"' || c.name || '\") <> ''blob''' FROM sqlite_schema AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table'");
    let cells: Vec<String> = columns.iter().flat_map(|sql| all(sql)).collect();
    for text in ["the first text", "the second text", "a text that lost"] {
        assert_eq!(cells.iter().map(|cell| cell.matches(text).count()).sum::<usize>(), 1, "{text}");
    }
}

/// cloud.md: who paused it, when and why; set by another process, seen at the next request, and pulls go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_project_answers_409_with_the_reason() {
    let server = Server::start().await;
    server.push(json!([session("alpha", "s")])).await;
    let beside = Beside::open(server.dir.path().join("cloud").join(FILE_NAME)).expect("the store is there");
    let mut control = Control {
        project: name("alpha"),
        is_sync_enabled: false,
        reason: Some("moving house".into()),
        updated_by: "root".into(),
        updated_at_us: 1_795_000_000_000_000,
    };
    beside.set_control(&control).expect("set");
    let answer = server.post(PUSH, &json!({"entries": [session("alpha", "t")]})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["error_class"], &answer.body["error_code"]),
        (409, &json!("policy"), &json!("sync-paused"))
    );
    assert_eq!(
        (&answer.body["project"], &answer.body["reason"], &answer.body["updated_by"]),
        (&json!("alpha"), &json!("moving house"), &json!("root"))
    );
    assert_eq!(answer.body["updated_at"], "2026-11-18T11:06:40.000000Z");
    assert_eq!(server.get(PULL).await.body["mutations"].as_array().map(Vec::len), Some(1));
    server.push(json!([session("beta", "t")])).await;
    control.is_sync_enabled = true;
    control.reason = None;
    beside.set_control(&control).expect("set");
    server.push(json!([session("alpha", "t")])).await;
    // cloud.md: every pause is audited with its actor, and the audit can be read.
    let audited: Vec<_> =
        beside.audited(10).expect("a list").into_iter().map(|one| (one.action, one.actor, one.reason)).collect();
    let words = |action: &str, reason: Option<&str>| (action.to_owned(), "root".to_owned(), reason.map(str::to_owned));
    assert_eq!(audited, [words("project.resume", None), words("project.pause", Some("moving house"))]);
    assert_eq!(beside.audited(1).expect("a list").len(), 1);
}
