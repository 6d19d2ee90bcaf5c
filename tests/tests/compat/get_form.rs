//! The `GET` form, sentence by sentence (peers.md, "Go clients on our server").

use crate::server::*;
use engram_proto::http::pull::PulledMutation;
use engram_proto::stand_in::stand_in_id;
use serde_json::json;

fn shape(rows: &[PulledMutation]) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row.entity.as_str(), row.entity_key.as_str())).collect()
}

/// A session's row says no `deleted_at`, and a summary always.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_served_without_its_deletion_and_with_a_summary() {
    let server = Server::start(&["alpha"]).await;
    let mut ended = session("alpha", "ended", "/src");
    ended["payload"]["summary"] = json!("done");
    server.push(vec![memory("alpha", "s", "m", "title", 1)]).await;
    server.push(vec![session("alpha", "s", "/src"), ended, session_delete("alpha", "s", 30)]).await;
    let page = server.get(0, 100).await;
    let expected = [("session", "s"), ("observation", "m"), ("session", "s"), ("session", "ended"), ("session", "s")];
    assert_eq!(shape(&page.mutations), expected);
    for row in page.mutations.iter().filter(|row| row.entity == "session") {
        assert!(row.payload.get("deleted_at").is_none(), "{row:?}");
        let summary = if row.entity_key == "s" { "" } else { "done" };
        assert_eq!(row.payload["summary"], summary);
    }
    assert_eq!(page.latest_seq, page.mutations[4].seq);
    assert_eq!(server.get(page.latest_seq, 100).await.latest_seq, 0);
}

/// No row of a session that is deleted as things stand; nothing that was in it brings it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_is_not_served_nor_what_was_in_it() {
    let server = Server::start(&["alpha"]).await;
    server.push(vec![session("alpha", "s", "/src"), memory("alpha", "s", "m", "title", 1)]).await;
    server.push(vec![delete("alpha", "s", "m", 20, true), session_delete("alpha", "s", 30)]).await;
    server.push(vec![session("alpha", "t", "/src"), memory("alpha", "t", "n", "title", 1)]).await;
    let page = server.get(0, 100).await;
    assert_eq!(shape(&page.mutations), [("observation", "m"), ("session", "t"), ("observation", "n")]);
    assert_eq!(page.mutations[0].op, "delete");
    let mut client = server.go("late", 60);
    client.cycle(&server.remote).await.expect("it does not halt");
    // A softly deleted memory keeps its session alive.
    server.push(vec![session("alpha", "u", "/src"), memory("alpha", "u", "o", "title", 1)]).await;
    server.push(vec![delete("alpha", "u", "o", 20, false), session_delete("alpha", "u", 30)]).await;
    let rest = server.get(page.latest_seq, 100).await.mutations;
    assert_eq!(
        shape(&rest),
        ["u", "u", "o", "o", "u"].map(|key| (if key == "u" { "session" } else { "observation" }, key))
    );
    client.cycle(&server.remote).await.expect("it does not halt");
}

/// A page that begins behind a session puts its current row before the first child, between the numbers around it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_put_in_before_its_first_child_of_every_page() {
    let server = Server::start(&["alpha"]).await;
    let children = (0..3).map(|at| memory("alpha", "s", &format!("m{at}"), "title", 1));
    let seqs = server.push([session("alpha", "s", "/old")].into_iter().chain(children).collect()).await;
    let mut moved = session("alpha", "s", "/new");
    moved["payload"]["started_at"] = minute(1).to_string().into();
    let last = server.push(vec![moved]).await;
    // The current row comes later: it is put in behind the older one.
    let page = server.get(0, 100).await.mutations;
    assert_eq!(shape(&page)[..3], [("session", "s"), ("session", "s"), ("observation", "m0")]);
    let numbers: Vec<u64> = page.iter().map(|row| row.seq).collect();
    assert_eq!(numbers, [seqs[0], seqs[0] + 1, seqs[1], seqs[2], seqs[3], last[0]]);
    assert_eq!((&page[0].payload["directory"], &page[1].payload["directory"]), (&json!("/old"), &json!("/new")));
    let page = server.get(seqs[1] + 3, 100).await.mutations;
    assert_eq!(page[0].seq, seqs[1] + 4, "the lowest number above the cursor");
    assert_eq!(shape(&page)[..3], [("session", "s"), ("observation", "m1"), ("observation", "m2")]);
}

/// A put-in row counts in `limit` and ends no page, and a page of one row still brings somebody on.
#[tokio::test(flavor = "multi_thread")]
async fn put_in_rows_count_and_end_no_page() {
    let server = Server::start(&["alpha"]).await;
    let seqs = server.push(vec![session("alpha", "s", "/src"), session("alpha", "t", "/src")]).await;
    let children = ["s", "t"].map(|id| memory("alpha", id, &format!("m-{id}"), "title", 1));
    let children = server.push(children.to_vec()).await;
    let page = server.get(seqs[1], 3).await;
    assert_eq!(shape(&page.mutations), [("session", "s"), ("observation", "m-s")]);
    assert!(page.has_more && page.latest_seq == children[0]);
    let single = server.get(seqs[1], 1).await;
    assert_eq!((single.mutations.len(), single.has_more), (2, true));
    let rest = server.get(page.latest_seq, 2).await;
    assert_eq!((shape(&rest.mutations), rest.has_more), (vec![("session", "t"), ("observation", "m-t")], false));
}

/// Where its project knows no directory of the session, a child comes under the stand-in's id, behind the stand-in.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_without_a_known_directory_comes_with_a_stand_in() {
    let server = Server::start(&["alpha", "beta"]).await;
    server.push(vec![session("alpha", "s", "/alpha"), memory("beta", "s", "m", "title", 1)]).await;
    let id = stand_in_id(&name("beta"), "s");
    let page = server.get(0, 100).await.mutations;
    assert_eq!(shape(&page), [("session", "s"), ("session", id.as_str()), ("observation", "m")]);
    let expected = json!({
        "id": id, "project": "beta", "directory": "(recovered-missing-session)", "started_at": "1970-01-01 00:00:00",
        "summary": "",
    });
    assert_eq!((&page[1].payload, &page[2].payload["session_id"]), (&expected, &json!(id)));
    let mut client = server.go("client", 60);
    client.cycle(&server.remote).await.expect("it does not halt");
    // An end without a directory: the stand-in gets it, and so does who has the child already.
    let mut ended = session("beta", "s", "(recovered-missing-session)");
    ended["payload"]["summary"] = json!("done");
    server.push(vec![ended, memory("beta", "s", "n", "title", 2)]).await;
    client.cycle(&server.remote).await.expect("it does not halt");
    let sessions = "SELECT group_concat(id || ' ' || project || ' ' || directory || ' ' || summary, ', ')
                    FROM (SELECT * FROM sessions ORDER BY id DESC)";
    let kept: String = client.db.query_row(sessions, [], |row| row.get(0)).expect("sessions");
    assert_eq!(kept, format!("s alpha /alpha , {id} beta (recovered-missing-session) done"));
}

/// A project that is granted late, behind the one cursor of a client, makes nobody halt.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_grant_halts_nobody() {
    let server = Server::start(&["alpha", "beta"]).await;
    server.push(vec![session("beta", "of-beta", "/beta"), session("alpha", "s", "/alpha")]).await;
    let server = server.regrant(&["alpha"]).await;
    let mut client = server.go("client", 60);
    client.cycle(&server.remote).await.expect("it does not halt");
    let server = server.regrant(&["alpha", "beta"]).await;
    server.push(vec![memory("beta", "of-beta", "m", "title", 1), memory("alpha", "s", "n", "title", 1)]).await;
    client.cycle(&server.remote).await.expect("it does not halt");
    let known: i64 = client.db.query_row("SELECT count(*) FROM observations", [], |row| row.get(0)).expect("a count");
    assert_eq!(known, 2);
}

/// A client that dies between a put-in row and its child goes on from there, as often as there is room.
#[tokio::test(flavor = "multi_thread")]
async fn who_dies_behind_a_put_in_row_goes_on() {
    let server = Server::start(&["alpha"]).await;
    let seqs = server.push(vec![session("alpha", "s", "/src"), memory("alpha", "s", "m", "title", 1)]).await;
    let mut client = server.go("client", 60);
    client.pull_some(&server.remote, 1).await.expect("the session");
    for died in 1..=9 {
        client.pull_some(&server.remote, 1).await.expect("no halt");
        assert_eq!(client.cursor(), (seqs[0] + died).min(seqs[1]));
    }
    client.cycle(&server.remote).await.expect("no halt");
    assert_eq!(client.cursor(), seqs[1]);
}

/// Unknown entities are left out; rows that nobody may see never make an empty page that says "more".
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_never_makes_an_empty_page() {
    let server = Server::start(&["alpha"]).await;
    server.push(vec![entry("alpha", "mood", "x", "tint", json!({"value": 1}))]).await;
    let gone = (0..30).flat_map(|at| {
        let id = format!("m{at}");
        [memory("alpha", "s", &id, "title", 1), delete("alpha", "s", &id, 20, true)]
    });
    server.push([session("alpha", "s", "/src")].into_iter().chain(gone).collect()).await;
    server.push(vec![session_delete("alpha", "s", 30), session("alpha", "t", "/src")]).await;
    let (mut since_seq, mut rows) = (0, Vec::new());
    loop {
        let page = server.get(since_seq, 4).await;
        assert!(!page.mutations.is_empty() || !page.has_more);
        since_seq = since_seq.max(page.latest_seq);
        rows.extend(page.mutations);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(rows.iter().filter(|row| row.op == "delete").count(), 30);
    assert_eq!(
        rows.iter().filter(|row| row.op == "upsert").map(|row| row.entity_key.as_str()).collect::<Vec<_>>(),
        ["t"]
    );
}
