//! What Go clients send, by the rules of the door (peers.md).

use crate::server::*;
use engram_proto::stand_in::stand_in_id;
use serde_json::json;

/// What came out under a stand-in's id goes in under the session's own; a stand-in without a summary says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_served_under_a_stand_in_comes_back_to_its_session() {
    let server = Server::start(&["alpha", "beta"]).await;
    server.push(vec![session("alpha", "s", "/alpha"), memory("beta", "s", "m", "title", 1)]).await;
    let mut client = server.go("client", 60);
    client.enroll("alpha");
    client.enroll("beta");
    client.cycle(&server.remote).await.expect("no halt");
    // Opening its store queues what it pulled (D1).
    let mut client = client.reopened();
    assert_eq!(client.pending_count(), 3);
    client.cycle(&server.remote).await.expect("no halt");
    assert_eq!(server.rows(&["alpha", "beta"]).await.len(), 2, "nothing of it is new");
    // Whoever has only the stand-in ends it, edits, adds.
    let id = stand_in_id(&name("beta"), "s");
    client.end_session(&id, "done");
    client.edit("m", "edited", "content");
    client.prompt("beta", &id, "why?");
    client.cycle(&server.remote).await.expect("no halt");
    let rows = server.rows(&["beta"]).await;
    let shape: Vec<_> = rows.iter().map(|row| (row.entity.as_str(), row.payload["session_id"].as_str())).collect();
    assert_eq!(
        shape,
        [("observation", Some("s")), ("session", None), ("observation", Some("s")), ("prompt", Some("s"))]
    );
    assert_eq!((rows[1].entity_key.as_str(), &rows[1].payload["summary"]), ("s", &json!("done")));
    // The stand-in of another project is a session like any other here.
    let other = stand_in_id(&name("alpha"), "s");
    let seqs = server.push_bare(vec![session("beta", &other, "/src"), session("beta", &id, "/src")]).await;
    let rows = server.rows(&["beta"]).await;
    assert_eq!(rows.last().map(|row| (row.entity_key.as_str(), row.seq)), Some((other.as_str(), seqs[0])));
    assert_eq!(rows.iter().filter(|row| row.entity_key == "s").map(|row| row.seq).next_back(), Some(seqs[1]));
}

/// A client whose clock is behind overwrites what it pulled; the version it lost to comes to it once more.
#[tokio::test(flavor = "multi_thread")]
async fn who_lost_with_a_cursor_past_the_winner_is_shown_it_again() {
    let server = Server::start(&["alpha"]).await;
    server.push(vec![session("alpha", "s", "/src"), memory("alpha", "s", "m", "new", 30)]).await;
    let mut client = server.go("behind", 5);
    client.enroll("alpha");
    client.cycle(&server.remote).await.expect("no halt");
    client.edit("m", "written with a clock that is behind", "content");
    client.cycle(&server.remote).await.expect("no halt");
    let title = |client: &engram_tests::go::GoClient| {
        client.db.query_row("SELECT title FROM observations", [], |row| row.get::<_, String>(0)).expect("the memory")
    };
    assert_eq!(title(&client), "new");
    client.delete("m", true);
    client.cycle(&server.remote).await.expect("no halt");
    assert_eq!(title(&client), "new");
    let rows = server.rows(&["alpha"]).await.len();
    client.cycle(&server.remote).await.expect("no halt");
    assert_eq!(server.rows(&["alpha"]).await.len(), rows);
}
