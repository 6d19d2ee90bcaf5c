//! A database that the Go program filled: its rows are served, merged with, and left as they are.

use crate::bench::*;
use crate::pages::sum;
use engram_cloud::auth::Grant;
use engram_cloud::clock::Clock;
use engram_cloud::journal::postgres::Postgres;
use engram_cloud::journal::{Fate, Journal};
use engram_proto::http::pull::PulledMutation;
use engram_proto::mutation::Entity;
use engram_proto::stand_in::stand_in_id;
use engram_tests::postgres::Database;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Loads what `pg_dump` wrote of the Go program's database.
pub(crate) fn load(database: &Database) {
    database.load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cloud/cloud-v2026-07.sql"));
}

/// Writes a row as the Go program does: the number and the time are the database's.
pub(crate) fn peer_writes(database: &Database, entity: &str, key: &str, op: &str, payload: &Value) -> u64 {
    let seq = database.query(&format!(
        "INSERT INTO cloud_mutations (project, entity, entity_key, op, payload)
         VALUES ('alpha', '{entity}', '{key}', '{op}', '{payload}') RETURNING seq"
    ));
    seq.parse().expect("a number")
}

/// Waits until the background work is done: every known entity of the peer that makes a version has its head.
pub(crate) async fn taken_over(database: &Database) {
    let sql = "SELECT coalesce((SELECT value::bigint FROM engram_meta WHERE name = 'taken_over_to'), 0)
               >= coalesce((SELECT max(seq) FROM cloud_mutations WHERE version_hash IS NULL), 0)";
    in_time(async {
        while database.query(sql) != "t" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

pub(crate) async fn opened(bench: &PostgresBench) -> Postgres {
    bench.open(Clock::system()).await
}

async fn opened_journal(bench: &PostgresBench) -> Postgres {
    let journal = opened(bench).await;
    taken_over(&bench.0).await;
    journal
}

fn of_peer(rows: &[PulledMutation]) -> Vec<&PulledMutation> {
    rows.iter().filter(|row| row.seq < 1_000).collect()
}

/// cloud.md: every row with its number, unknown entities and stringified payloads (as objects) included.
pub(crate) async fn what_a_peer_wrote_is_served_as_it_stands(bench: PostgresBench) {
    load(&bench.0);
    let text = bench.0.query("SELECT json_agg(m ORDER BY seq) FROM cloud_mutations m");
    let stored: Vec<Value> = serde_json::from_str(&text).expect("rows");
    let journal = opened(&bench).await;
    taken_over(&bench.0).await;
    let projects: std::collections::BTreeSet<&str> =
        stored.iter().map(|row| row["project"].as_str().expect("a project")).collect();
    let mut read = read_all(&journal, &projects.into_iter().collect::<Vec<_>>()).await;
    read.sort_unstable_by_key(|row| row.seq);
    let served = of_peer(&read);
    assert!(stored.len() > 130);
    assert_eq!(served.len(), stored.len());
    for (served, stored) in served.iter().zip(&stored) {
        let words = [&served.project, &served.entity, &served.entity_key, &served.op];
        let columns = ["project", "entity", "entity_key", "op"].map(|column| &stored[column]);
        assert_eq!(
            (json!(served.seq), words.map(|word| json!(word))),
            (stored["seq"].clone(), columns.map(Clone::clone))
        );
        let payload = match &stored["payload"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| stored["payload"].clone()),
            payload => payload.clone(),
        };
        assert_eq!(served.payload, payload, "{}", served.seq);
    }
    let by_grant = read_grant(&journal, Grant::Every).await;
    let known: Vec<&PulledMutation> = read.iter().filter(|row| Entity::parse(&row.entity).is_some()).collect();
    assert_eq!(by_grant.iter().collect::<Vec<_>>(), known);
}

/// CONV-1: a push that names an entity of the peer's merges with it, before the background came there and after.
pub(crate) async fn conv_1_a_push_merges_with_what_a_peer_wrote(bench: PostgresBench) {
    load(&bench.0);
    peer_writes(&bench.0, "session", "s", "upsert", &session("alpha", "s").payload);
    let newest = memory("alpha", "later", "as the peer has it", 30).payload;
    let journal = opened(&bench).await;
    taken_over(&bench.0).await;
    // Two more that the background does not look for any more: a push finds them by itself.
    let first = peer_writes(&bench.0, "observation", "later", "upsert", &memory("alpha", "later", "old", 1).payload);
    let second = peer_writes(&bench.0, "observation", "later", "upsert", &newest);
    assert!(second > first);
    let lost = fates(&journal, vec![with_id("d:1:00", memory("alpha", "later", "older", 20))]).await;
    assert!(matches!(lost.as_slice(), [Fate::Superseded(told)] if told.seq == second), "{lost:?}");
    let same = fates(&journal, vec![memory("alpha", "later", "as the peer has it", 30)]).await;
    assert!(matches!(same.as_slice(), [Fate::Duplicate(told)] if told.seq == second), "{same:?}");
    // One of the dump.
    let rows = read_all(&journal, &["alpha"]).await;
    let old = rows.iter().find(|row| row.entity == "observation" && row.seq < 100).expect("an observation").clone();
    let mut edited = old.payload.clone();
    edited["title"] = json!("too late");
    edited["updated_at"] = json!("2020-01-01 00:00:00");
    let lost =
        fates(&journal, vec![with_id("d:2:00", entry("alpha", "observation", &old.entity_key, "upsert", edited))])
            .await;
    let current = last(&rows, &old.entity_key).seq;
    assert!(matches!(lost.as_slice(), [Fate::Superseded(told)] if told.seq == current), "{lost:?}");
    assert_eq!(read_all(&journal, &["alpha"]).await, rows, "nothing was appended");
}

/// CONV-1: where the peer served versions in another order, the join is appended once, whoever starts how often.
pub(crate) async fn conv_1_the_last_row_becomes_the_join(bench: PostgresBench) {
    load(&bench.0);
    peer_writes(&bench.0, "session", "s", "upsert", &session("alpha", "s").payload);
    peer_writes(&bench.0, "observation", "x", "upsert", &memory("alpha", "x", "newest", 30).payload);
    peer_writes(&bench.0, "observation", "x", "upsert", &memory("alpha", "x", "stale", 10).payload);
    peer_writes(&bench.0, "observation", "bad", "upsert", &json!({"sync_id": "another"}));
    let in_order = peer_writes(&bench.0, "observation", "y", "upsert", &memory("alpha", "y", "alone", 1).payload);
    let before = bench.0.query("SELECT max(seq) FROM cloud_mutations").parse::<u64>().expect("a number");
    for _ in 0..2 {
        let journals = [opened(&bench).await, opened(&bench).await];
        taken_over(&bench.0).await;
        let rows = read_all(&journals[0], &["alpha"]).await;
        assert_eq!(last(&rows, "x").payload["title"], "newest");
        assert_eq!(rows.iter().filter(|row| row.entity_key == "x").count(), 3);
        assert_eq!(last(&rows, "y").seq, in_order);
        assert_eq!(rows.iter().filter(|row| row.entity_key == "bad").count(), 1);
        for row in rows.iter().filter(|row| row.seq > before) {
            assert_ne!(row.entity_key, "bad", "what makes no version merges with nothing");
        }
        for journal in journals {
            journal.close().await;
        }
    }
}

/// merging.md, "A session's": also where session and prompt were the peer's, and whichever was taken over first.
pub(crate) async fn a_deletion_reaches_prompts_that_a_peer_wrote(bench: PostgresBench) {
    load(&bench.0);
    let journal = opened(&bench).await;
    taken_over(&bench.0).await;
    journal.close().await;
    let deleted = json!({"id": "s", "deleted": true, "deleted_at": "2026-11-22 12:00:00"});
    peer_writes(&bench.0, "session", "s", "upsert", &session("alpha", "s").payload);
    let early = prompt("alpha", "early", "2026-11-22 11:00:00").payload;
    peer_writes(&bench.0, "prompt", "early", "upsert", &early);
    peer_writes(&bench.0, "session", "s", "delete", &deleted);
    let late = prompt("alpha", "late", "2026-11-22 13:00:00").payload;
    peer_writes(&bench.0, "prompt", "late", "upsert", &late);
    let journal = opened(&bench).await;
    taken_over(&bench.0).await;
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!((last(&rows, "early").op.as_str(), last(&rows, "late").op.as_str()), ("delete", "upsert"));
    assert_eq!(last(&rows, "early").payload["deleted_at"], "2026-11-22 12:00:00");
}

/// peers.md: every pull of ours takes back the forms in which devices sent sessions to a Go server; so does the take-over,
/// or devices and server would add up to other digests (`diverged`).
pub(crate) async fn conv_1_what_was_sent_in_another_form_counts_as_what_it_says(bench: PostgresBench) {
    load(&bench.0);
    let mut deleted = session("alpha", "deleted").payload;
    deleted["engramd_deleted_at"] = json!("2026-11-22 12:00:00");
    peer_writes(&bench.0, "session", "deleted", "upsert", &deleted);
    let id = stand_in_id(&name("alpha"), "unknown");
    let stand_in = json!({"id": id, "directory": "(recovered-missing-session)", "started_at": "1970-01-01 00:00:00"});
    peer_writes(&bench.0, "session", &id, "upsert", &stand_in);
    let mut child = memory("alpha", "child", "title", 1).payload;
    child["session_id"] = json!(id);
    peer_writes(&bench.0, "observation", "child", "upsert", &child);
    let mut ended = stand_in;
    (ended["summary"], ended["ended_at"]) = (json!("done"), json!("2026-11-22 13:00:00"));
    peer_writes(&bench.0, "session", &id, "upsert", &ended);
    let journal = opened_journal(&bench).await;
    let rows = read_all(&journal, &["alpha"]).await;
    assert_eq!(last(&rows, "child").payload["session_id"], "unknown");
    assert_eq!(last(&rows, "deleted").payload["deleted_at"], "2026-11-22 12:00:00");
    assert_eq!(last(&rows, "unknown").payload["summary"], "done");
    let head = rows.last().map_or(0, |row| row.seq);
    let own: Vec<_> = rows.into_iter().filter(|row| row.entity_key != id).collect();
    assert_eq!(page(&journal, &[("alpha", head)], 10).await.digests[&name("alpha")], sum(&own));
    journal.close().await;
    // Another start appends nothing more.
    let journal = opened_journal(&bench).await;
    assert_eq!(read_all(&journal, &["alpha"]).await.iter().filter(|row| row.entity_key != id).count(), own.len());
}

/// cloud.md: one may switch back; the peer's next number is above ours, and what it writes then is merged with again.
pub(crate) async fn the_peer_may_go_on_where_this_server_ended(bench: PostgresBench) {
    load(&bench.0);
    peer_writes(&bench.0, "session", "s", "upsert", &session("alpha", "s").payload);
    let journal = opened(&bench).await;
    let ours = accepted(&journal, memory("alpha", "m", "ours", 1)).await;
    journal.close().await;
    let theirs = peer_writes(&bench.0, "observation", "m", "upsert", &memory("alpha", "m", "theirs", 2).payload);
    assert!(theirs > ours.seq, "{theirs} is not above {}", ours.seq);
    let journal = opened(&bench).await;
    let lost = fates(&journal, vec![memory("alpha", "m", "ours", 1)]).await;
    assert!(matches!(lost.as_slice(), [Fate::Superseded(told)] if told.seq == theirs), "{lost:?}");
}

/// peers.md: between dense rows there is no room for a session, so what came before its own waits behind them.
pub(crate) async fn a_child_before_its_session_is_left_out_of_the_grant_form_and_appended_again(bench: PostgresBench) {
    load(&bench.0);
    let of = |session_id: &str, id: &str| {
        let mut payload = memory("alpha", id, "title", 1).payload;
        payload["session_id"] = json!(session_id);
        payload
    };
    let gone = json!({"id": "gone", "deleted": true, "deleted_at": "2026-11-22 09:00:00"});
    peer_writes(&bench.0, "session", "gone", "delete", &gone);
    let left_out = [
        peer_writes(&bench.0, "observation", "early", "upsert", &of("later", "early")),
        peer_writes(&bench.0, "observation", "orphan", "upsert", &of("nowhere", "orphan")),
        peer_writes(&bench.0, "observation", "text", "upsert", &json!(of("later", "text").to_string())),
        // A session of which the first row says no directory brings nothing.
        peer_writes(&bench.0, "observation", "of-gone", "upsert", &of("gone", "of-gone")),
    ];
    peer_writes(&bench.0, "session", "later", "upsert", &session("alpha", "later").payload);
    let served = peer_writes(&bench.0, "observation", "in-time", "upsert", &of("later", "in-time"));
    let deleted = json!({"sync_id": "early", "session_id": "later", "deleted_at": "2026-11-22 10:00:00"});
    let dense = peer_writes(&bench.0, "observation", "older", "delete", &deleted);
    for _ in 0..2 {
        let journal = opened_journal(&bench).await;
        let rows = read_grant(&journal, Grant::Every).await;
        let seqs: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        assert!(seqs.contains(&served) && left_out.iter().all(|seq| !seqs.contains(seq)), "{left_out:?} of {seqs:?}");
        let again: Vec<&str> = rows.iter().filter(|row| row.seq > dense).map(|row| row.entity_key.as_str()).collect();
        for key in ["early", "orphan", "text", "of-gone"] {
            assert_eq!(again.iter().filter(|&&other| other == key).count(), 1, "{key} in {again:?}");
        }
        assert!(!again.contains(&"in-time"));
        // Whoever reads by project sees every row as it stands.
        assert!(read_all(&journal, &["alpha"]).await.iter().any(|row| row.seq == left_out[0]));
        journal.close().await;
    }
}

/// The last sentence of "Go clients on our server" holds for what is taken over as well.
pub(crate) async fn a_relation_that_a_peer_wrote_before_its_end_is_appended_again(bench: PostgresBench) {
    load(&bench.0);
    let relation = json!({
        "sync_id": "r", "source_id": "missing", "target_id": "missing-too", "relation": "related",
        "judgment_status": "judged", "marked_by_actor": "a", "marked_by_kind": "agent",
    });
    let seq = peer_writes(&bench.0, "relation", "r", "upsert", &relation);
    let journal = opened(&bench).await;
    taken_over(&bench.0).await;
    accepted(&journal, memory("alpha", "missing", "title", 1)).await;
    let rows = read_all(&journal, &["alpha"]).await;
    let seqs: Vec<u64> = rows.iter().filter(|row| row.entity_key == "r").map(|row| row.seq).collect();
    assert_eq!((seqs.len(), seqs[0]), (2, seq));
}
