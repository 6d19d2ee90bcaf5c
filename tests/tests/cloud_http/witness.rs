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

/// CUR-3: whoever was told no row yet says which cloud it means; another one tells and takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn cur_3_whoever_means_another_cloud_is_told_so() {
    let server = Server::start().await;
    let own = answer(server.client.get(server.url("/health"))).await.body["cloud_id"].clone();
    let pull =
        |cloud_id: &Value| json!({"cursors": {"alpha": 0}, "limit": 9, "wait_seconds": 50, "cloud_id": cloud_id});
    let push = |cloud_id: &Value| json!({"entries": [session("alpha", "s")], "cloud_id": cloud_id});
    let other = json!("00000000-0000-4000-8000-000000000000");
    for (path, body) in [(PULL, pull(&other)), (PUSH, push(&other))] {
        let refused = server.post(path, &body).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{path} {}", refused.body);
        assert_eq!((&refused.body["error_code"], &refused.body["cloud_id"]), (&json!("cloud_replaced"), &own));
    }
    let heads = server.post(PULL, &json!({"cursors": {"alpha": 0}, "limit": 0, "cloud_id": own})).await.body;
    assert_eq!(heads["heads"], json!({"alpha": 0}), "nothing was stored");
    assert_eq!(server.post(PUSH, &push(&own)).await.status, StatusCode::OK);
    assert_eq!(server.post(PULL, &pull(&own)).await.status, StatusCode::OK);
}
