//! Who is let in, and what the others are told.

use crate::harness::*;
use engram_cloud::auth::Grant;
use reqwest::Method;
use serde_json::json;

/// 401 is JSON, tells what is wrong, and never the token (SECRET-1).
#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_every_sync_route_answers_401() {
    let server = Server::start().await;
    for (method, path) in [(Method::POST, PUSH), (Method::GET, PULL), (Method::POST, PULL)] {
        for header in [None, Some("Bearer wrong"), Some("Basic dTpw"), Some("Bearer"), Some("Bearer a b")] {
            let mut request = server.client.request(method.clone(), server.url(path)).body("{}");
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let answer = answer(request).await;
            assert_eq!((answer.status.as_u16(), &answer.body["error_code"]), (401, &json!("auth_required")));
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    assert_eq!(server.get(PULL).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_fails_too_often_waits_and_the_right_token_is_still_let_in() {
    let server = Server::start().await;
    let wrong = || answer(server.client.get(server.url(PULL)).bearer_auth("wrong"));
    for _ in 0..20 {
        assert_eq!(wrong().await.status, 401);
    }
    let told = wrong().await;
    assert_eq!((told.status.as_u16(), &told.body["error_code"]), (429, &json!("rate_limited")));
    let seconds: u64 = told.headers["retry-after"].to_str().expect("text").parse().expect("a number");
    assert!((1..=60).contains(&seconds));
    assert_eq!(server.get(PULL).await.status, 200);
}

/// SCOPE-2: what the token may not touch is neither written nor shown, and one such project refuses a whole push.
#[tokio::test(flavor = "multi_thread")]
async fn scope_2_a_project_outside_the_grant_is_forbidden() {
    let server = Server::start().await;
    let entries = json!([session("alpha", "s"), session("Secret--Project", "s")]);
    let answer = server.post(PUSH, &json!({"entries": entries})).await;
    assert_eq!((answer.status.as_u16(), &answer.body["error_class"]), (403, &json!("policy")));
    assert_eq!(
        (&answer.body["error_code"], &answer.body["project"]),
        (&json!("policy_forbidden"), &json!("secret-project"))
    );
    let pulled = server.post(PULL, &json!({"cursors": {"alpha": 0, "gamma": 0}, "limit": 10})).await;
    assert_eq!(pulled.body["mutations"], json!([]));
    assert_eq!(pulled.body["heads"], json!({"alpha": 0}));
    assert_eq!(pulled.body["denied"]["gamma"]["reason_code"], "policy_forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn insecure_asks_nobody_and_allows_what_was_allowed() {
    let server = Server::with(|config| {
        (config.token, config.insecure) = (None, true);
        config.projects = Some(Grant::Only([name("alpha")].into()));
    })
    .await;
    let push = |entry| server.client.post(server.url(PUSH)).body(json!({"entries": [entry]}).to_string());
    assert_eq!(answer(push(session("alpha", "s"))).await.status, 200);
    assert_eq!(answer(push(session("beta", "s"))).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_need_no_token_and_other_paths_are_json_too() {
    let server = Server::start().await;
    let health = answer(server.client.get(server.url("/health"))).await;
    assert_eq!((&health.body["status"], &health.body["service"]), (&json!("ok"), &json!("engram-cloud")));
    let capabilities = json!(["mutation_ids", "project_pull", "witness", "digest", "long_poll", "gzip", "large_batch"]);
    assert_eq!(health.body["capabilities"], capabilities);
    let limits = json!({"push_bytes": 8_388_608, "push_entries": 1000, "pull_entries": 1000});
    assert_eq!(health.body["limits"], limits);
    assert_eq!(health.body["cloud_id"].as_str().map(str::len), Some(36));
    assert_eq!(answer(server.client.get(server.url("/ready"))).await.status, 200);
    assert_eq!(answer(server.client.get(server.url("/nothing"))).await.status, 404);
    assert_eq!(answer(server.client.delete(server.url("/health"))).await.status, 405);
    assert_eq!(answer(server.request(Method::DELETE, PUSH)).await.status, 405);
    assert_eq!(answer(server.request(Method::GET, "/sync/elsewhere")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_id_comes_back_and_an_odd_one_is_replaced() {
    let server = Server::start().await;
    for (sent, comes_back) in [("device-7.a_b", true), ("two words", false), (&"x".repeat(65), false)] {
        let answer = answer(server.client.get(server.url("/health")).header("x-request-id", sent)).await;
        assert_eq!(answer.headers["x-request-id"] == sent, comes_back, "{sent}");
    }
}
