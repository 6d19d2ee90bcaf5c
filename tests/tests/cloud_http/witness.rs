//! What a client was told is still here, or it is told 409 and nothing else (CUR-3).

use crate::harness::*;
use reqwest::StatusCode;
use serde_json::{Value, json};

/// CUR-3: pulls, waiting ones too, and pushes; the answer names the data set.
#[tokio::test(flavor = "multi_thread")]
async fn cur_3_whoever_was_told_a_row_that_is_not_here_is_told_so() {
    let server = Server::start().await;
    let id = "d:1:x";
    let mut first = session("alpha", "s");
    first["mutation_id"] = id.into();
    let pushed = server.push(json!([first])).await;
    let receipt = &pushed["receipts"][0];
    let good = json!({"seq": receipt["seq"], "occurred_at": receipt["occurred_at"]});
    let page = server.post(PULL, &json!({"cursors": {"alpha": 0}, "limit": 9})).await.body;
    assert_eq!(page["mutations"][0]["occurred_at"], good["occurred_at"], "page and receipt tell the same");
    let cloud_id = answer(server.client.get(server.url("/health"))).await.body["cloud_id"].clone();
    let later = json!({"seq": receipt["seq"], "occurred_at": "2026-11-22T10:00:00.000001Z"});
    let higher = json!({"seq": receipt["seq"].as_u64().map(|seq| seq + 8), "occurred_at": receipt["occurred_at"]});
    let pull = |witness: &Value, wait_seconds: u32, limit: u32| json!({"cursors": {"alpha": pushed["accepted_seqs"][0]}, "limit": limit, "wait_seconds": wait_seconds, "witness": witness});
    let push = |witness: &Value| json!({"entries": [memory("alpha", "m", "x")], "witness": witness});
    for bad in [&later, &higher] {
        for (path, body) in
            [(PULL, pull(bad, 0, 9)), (PULL, pull(bad, 50, 9)), (PULL, pull(bad, 0, 0)), (PUSH, push(bad))]
        {
            let refused = server.post(path, &body).await;
            assert_eq!(refused.status, StatusCode::CONFLICT, "{path} {}", refused.body);
            assert_eq!((&refused.body["error_code"], &refused.body["cloud_id"]), (&json!("cloud_replaced"), &cloud_id));
        }
    }
    let all = server.post(PULL, &json!({"cursors": {"alpha": 0}, "limit": 9, "witness": good})).await;
    assert_eq!(
        (all.status, all.body["mutations"].as_array().map(Vec::len)),
        (StatusCode::OK, Some(1)),
        "nothing was stored"
    );
    assert_eq!(server.post(PUSH, &push(&good)).await.status, StatusCode::OK);
}
