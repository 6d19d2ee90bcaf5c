//! Mutations out, and the long poll.

use crate::harness::*;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

fn ask(server: &Server, cursors: &Value, wait_seconds: u32) -> reqwest::RequestBuilder {
    let body = json!({"cursors": cursors, "limit": 100, "wait_seconds": wait_seconds, "of a newer client": {"seq": 7}});
    server.request(Method::POST, PULL).body(body.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_get_form_pages_by_hundred_and_ignores_bad_numbers() {
    let server = Server::start().await;
    let empty = server.get(&format!("{PULL}?since_seq=9")).await.body;
    let expected = json!({"mutations": [], "has_more": false, "latest_seq": 0, "project": "alpha", "project_source": "request_body", "project_path": ""});
    assert_eq!(empty, expected);
    let entries: Vec<Value> = (0..130).map(|i| memory(["alpha", "beta"][i % 2], &format!("m{i}"), "x")).collect();
    server.push(json!(entries)).await;
    let first = server.get(&format!("{PULL}?since_seq=abc&limit=9999")).await.body;
    let rows = first["mutations"].as_array().expect("rows");
    assert_eq!((rows.len(), &first["has_more"], &first["latest_seq"]), (100, &json!(true), &rows[99]["seq"]));
    let mut names: Vec<_> = rows[0].as_object().expect("a row").keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["entity", "entity_key", "occurred_at", "op", "payload", "project", "seq"]);
    let rest = server.get(&format!("{PULL}?since_seq={}&limit=100", first["latest_seq"])).await.body;
    // Two sessions that nobody told us of are put in on each page.
    assert_eq!((rest["mutations"].as_array().map(Vec::len), &rest["has_more"]), (Some(130 + 4 - 100), &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_post_form_serves_several_projects_from_their_own_cursors() {
    let server = Server::start().await;
    let pushed = server.push(json!([session("alpha", "s"), memory("alpha", "m", "x"), session("beta", "s")])).await;
    let seqs = &pushed["accepted_seqs"];
    let page = answer(ask(&server, &json!({"Alpha": seqs[0], "beta": 0}), 0)).await.body;
    let keys: Vec<_> = page["mutations"].as_array().expect("rows").iter().map(|row| &row["entity_key"]).collect();
    assert_eq!(keys, ["m", "s"]);
    assert_eq!(page["cursors"], json!({"alpha": seqs[1], "beta": seqs[2]}));
    assert_eq!(page["heads"], page["cursors"]);
    assert_eq!((&page["has_more"], page.get("denied")), (&json!(false), None));
    let heads = server.post(PULL, &json!({"cursors": {"alpha": 0}, "limit": 0, "wait_seconds": 50})).await.body;
    assert_eq!(
        (&heads["mutations"], &heads["heads"], &heads["remaining"]),
        (&json!([]), &json!({"alpha": seqs[1]}), &json!({"alpha": 2}))
    );
    let broken = server.post(PULL, &json!({"cursors": {"": 1}, "limit": 1})).await;
    assert_eq!(broken.status, 400);
    let short = server.post(PULL, &json!({"cursors": {"alpha": 0}})).await;
    assert_eq!(short.status, 400);
    assert!(
        short.body["error"].as_str().is_some_and(|words| words.contains("missing field `limit`")),
        "{:?}",
        short.body
    );
    // What a value says is not repeated.
    let wrong = server.post(PULL, &json!({"cursors": {"alpha": "hush"}, "limit": 1})).await;
    assert!(wrong.status == 400 && !wrong.body.to_string().contains("hush"), "{:?}", wrong.body);
    let chunk = server.post("/sync/push", &json!({"data": {}})).await;
    assert_eq!(chunk.status, 400);
    assert!(chunk.body["error"].as_str().is_some_and(|words| words.contains("in the body")), "{:?}", chunk.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_pull_is_answered_by_the_next_row_of_its_projects() {
    let server = Server::start().await;
    let waiting: Vec<_> = ["alpha", "beta"]
        .into_iter()
        .map(|project| tokio::spawn(answer(ask(&server, &json!({project: 0}), 55))))
        .collect();
    let began = now();
    for project in ["alpha", "beta"] {
        server.push(json!([session(project, "s")])).await;
    }
    for (project, waiting) in ["alpha", "beta"].into_iter().zip(waiting) {
        let page = waiting.await.expect("no panic").body;
        assert_eq!(page["mutations"].as_array().map(Vec::len), Some(1), "{page}");
        assert_eq!(page["mutations"][0]["project"], project);
    }
    assert!(began.elapsed() < Duration::from_secs(25), "nobody waited to the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_pull_ends_empty_when_its_seconds_are_over() {
    let server = Server::start().await;
    let began = now();
    let page = answer(ask(&server, &json!({"alpha": 0}), 1)).await.body;
    assert_eq!((&page["mutations"], &page["heads"]), (&json!([]), &json!({"alpha": 0})));
    assert!(began.elapsed() >= Duration::from_secs(1));
    // A denial is told at once.
    let began = now();
    let page = answer(ask(&server, &json!({"alpha": 0, "gamma": 0}), 55)).await.body;
    assert!(page["denied"]["gamma"].is_object() && began.elapsed() < Duration::from_secs(25));
}
