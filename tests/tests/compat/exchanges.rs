//! Exchanges recorded from the Go program's server: ours answers each of them alike, or better.

use crate::server::*;
use engram_proto::canonical::Hash;
use serde_json::Value;

const RECORDED: &str = include_str!("../../fixtures/cloud/exchanges.json");

/// What a Go client reads of an answer of the chunk routes: a chunk's bytes hash to its id (D68).
fn assert_usable_chunk(path: &str, recorded: &Value, ours: &Value, bytes: &[u8]) {
    if let Some(id) = path.strip_prefix("/sync/pull/").and_then(|rest| rest.split('?').next()) {
        assert_eq!(ours, recorded);
        assert!(Hash::of_bytes(bytes).to_string().starts_with(id), "{id}");
    } else if path.starts_with("/sync/pull") {
        let chunks = ours["chunks"].as_array().expect("chunks");
        assert_eq!(ours["version"], 1);
        assert_eq!(chunks.is_empty(), recorded["chunks"].as_array().expect("chunks").is_empty());
        for one in chunks {
            assert!(one["id"].is_string() && one["created_by"].is_string() && one["created_at"].is_string(), "{one}");
            assert!(one["sessions"].is_u64() && one["memories"].is_u64() && one["prompts"].is_u64(), "{one}");
        }
    } else {
        assert_eq!(ours, recorded);
    }
}

/// What a Go client reads of an answer to a push, or to a pull.
fn assert_usable(request: &Value, recorded: &Value, ours: &Value) {
    if request["method"] == "POST" {
        let count = request["body"]["entries"].as_array().map(Vec::len);
        assert_eq!(ours["accepted_seqs"].as_array().map(Vec::len), count, "{ours}");
        assert!(ours["accepted_seqs"].as_array().expect("numbers").iter().all(|seq| seq.as_u64() > Some(0)));
    } else {
        let rows = ours["mutations"].as_array().expect("rows");
        for row in rows {
            let texts = ["project", "entity", "entity_key", "op", "occurred_at"];
            assert!(row["seq"].is_u64() && texts.iter().all(|field| row[field].is_string()), "{row}");
            assert!(row["payload"].is_object(), "{row}");
        }
        assert_eq!(ours["latest_seq"], rows.last().map_or(Value::from(0), |row| row["seq"].clone()));
        assert!(ours["has_more"].is_boolean());
        let theirs = recorded["mutations"].as_array().expect("rows");
        assert_eq!(theirs.is_empty(), rows.is_empty());
    }
    for field in ["project", "project_source", "project_path"] {
        assert_eq!(ours[field], recorded[field], "{field}");
    }
}

/// The status class, or a better one: a client's fault is 400 with the bad entries named, a stringified payload is taken.
#[tokio::test(flavor = "multi_thread")]
async fn every_exchange_of_a_sync_route_is_answered_alike_or_better() {
    let exchanges: Vec<Value> = serde_json::from_str(RECORDED).expect("JSON");
    let server = Server::start(&["alpha", "beta", "my-project_x"]).await;
    let mut asked = 0;
    for (at, exchange) in exchanges.iter().enumerate() {
        let (request, recorded) = (&exchange["request"], &exchange["response"]);
        let path = request["path"].as_str().expect("a path");
        if !path.starts_with("/sync/") {
            continue;
        }
        asked += 1;
        let status = recorded["status"].as_u64().expect("a status");
        if status == 409 {
            server.pause("beta");
        }
        // The recorded cursor is a number of its server; behind all of ours there is nothing either way.
        let path = path.replace("since_seq=999999", &format!("since_seq={}", u64::from(u32::MAX) << 21));
        let url = format!("{}{path}", server.remote.url);
        let method = request["method"].as_str().and_then(|method| method.parse().ok()).expect("a method");
        let mut ask = server.remote.http.request(method, url);
        if let Some(sent) = request["headers"]["Authorization"].as_str() {
            ask = ask.header("authorization", sent.replace("<token>", &server.remote.token));
        }
        if let Some(text) = request["body_text"].as_str() {
            ask = ask.body(text.to_owned());
        } else if request["body"].is_object() {
            ask = ask.body(request["body"].to_string());
        }
        let answer = ask.send().await.expect("an answer");
        let got = u64::from(answer.status().as_u16());
        let bytes = answer.bytes().await.expect("a body");
        let body: Value = serde_json::from_slice(&bytes).expect("JSON, always");
        let number = at + 1;
        let is_larger_batch = recorded["body_text"].as_str().is_some_and(|text| text.contains("batch too large"));
        let is_stringified =
            recorded["body_text"].as_str().is_some_and(|text| text.contains("cannot unmarshal string"));
        if is_larger_batch || is_stringified || status == 200 {
            assert_eq!(got, 200, "{number}: {body}");
        } else if status == 500 {
            assert_eq!((got, &body["reason_code"]), (400, &"validation_error".into()), "{number}: {body}");
            assert!(body["invalid"][0]["field"].is_string(), "{number}: {body}");
        } else {
            assert_eq!(got, status, "{number}: {body}");
            assert!(body["error"].is_string(), "{number}: {body}");
            for field in
                ["error_code", "reason_code", "invalid"].iter().filter(|field| !recorded["body"][**field].is_null())
            {
                assert_eq!(body[*field], recorded["body"][*field], "{number}: {field}");
            }
        }
        if status == 200 && !path.starts_with("/sync/mutations/") {
            assert_usable_chunk(&path, &recorded["body"], &body, &bytes);
        } else if status == 200 {
            assert_usable(request, &recorded["body"], &body);
        }
    }
    assert_eq!(asked, 36, "exchanges of sync routes");
}
