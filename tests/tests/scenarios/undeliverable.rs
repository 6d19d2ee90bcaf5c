//! Situation 4: A row that can never apply wedges no pull. 19. What we do not know survives, or waits and is counted.

use crate::queue::{self, Row, held, memory, session};
use engram_tests::go::server::GoServer;
use engram_tests::processes::{Cloud, Device, until};
use serde_json::{Value, json};

fn relation(id: &str, source: &str, target: &str) -> Value {
    json!({"sync_id": id, "source_id": source, "target_id": target, "relation": "related", "judgment_status": "judged",
        "marked_by_actor": "ana", "marked_by_kind": "human", "created_at": "2026-11-22 10:00:02",
        "updated_at": "2026-11-22 10:00:02", "project": "demo"})
}

/// ISO-3: whatever a peer put into the history, an empty client reads to its head; late parents end the waiting, and
/// what can never apply is kept once with its evidence.
#[test]
fn scenario_4_iso_3_nothing_that_cannot_apply_wedges_a_pull() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let put = |entity: &str, op: &str, payload: Value| server.append("demo", entity, op, payload);
    put("relation", "upsert", relation("r-early", "o-1", "o-2"));
    put("session", "upsert", session("demo", "s"));
    put("observation", "upsert", memory("demo", "o-1", "s"));
    put("observation", "upsert", memory("demo", "o-2", "s"));
    put("relation", "upsert", relation("r-self", "o-1", "o-1"));
    put("observation", "upsert", memory("demo", "o-gone", "s"));
    put(
        "observation",
        "delete",
        json!({"sync_id": "o-gone", "session_id": "s", "deleted": true,
        "deleted_at": "2026-11-22 11:00:00", "hard_delete": true}),
    );
    put("relation", "upsert", relation("r-gone", "o-1", "o-gone"));
    put("observation", "upsert", memory("demo", "o-orphan", "s-never"));
    put(
        "prompt",
        "upsert",
        json!({"sync_id": "p-orphan", "session_id": "s-never", "content": "why?",
        "created_at": "2026-11-22 10:00:00"}),
    );
    put("mystery", "upsert", json!({"sync_id": "m-1", "color": "red"}));
    put("observation", "upsert", Value::from("not an object"));
    let head = put("observation", "upsert", memory("demo", "o-last", "s"));
    // Rows of just now are read again for a while, because such a server may commit an earlier one late.
    for row in &mut server.inside().rows {
        row.occurred_at = "2026-11-22T10:00:00Z".to_owned();
    }
    let a = Device::enrolled_at(&temp.path().join("a"), &server.url, "demo");
    until("the last one is there", || {
        let _ = a.ctl(&["sync"]);
        a.titles("text").iter().any(|title| title.ends_with("o-last"))
    });
    until("the cursor is at the head", || a.report()["projects"][0]["cursor"] == head);
    let live = |table: &str| queue::number(&a, &format!("SELECT count(*) FROM {table}"));
    until("the orphans have a stand-in", || {
        live("observations WHERE deleted_at IS NULL") == 4 && live("user_prompts") == 1
    });
    assert_eq!(queue::number(&a, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_eq!(live("memory_relations WHERE sync_id = 'r-early'"), 1, "it waited for both ends");
    let dead = held(&a);
    let keys: Vec<_> = dead.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["m-1", ""], "each once, and none of the relations: {dead:?}");
    assert!(dead.iter().all(|(_, evidence)| !evidence.is_empty()), "{dead:?}");
    let relations = "SELECT sync_id || ' ' || judgment_status FROM memory_relations ORDER BY sync_id";
    assert_eq!(
        queue::texts(&a, relations),
        ["r-early judged", "r-gone orphaned", "r-self judged"],
        "to itself is as good as any; to what is gone is said so"
    );
    let report = a.report();
    assert!(
        report["totals"]["dead"] == 2 && report["totals"]["deferred"] == 0 && report["projects"][0]["behind"] == 0,
        "{report}"
    );
    // A parent that comes late after all.
    put("session", "upsert", session("demo", "s-never"));
    until("the session takes its stand-in's place", || {
        let _ = a.ctl(&["sync"]);
        queue::number(&a, "SELECT count(*) FROM sessions WHERE id = 's-never' AND directory = '/d'") == 1
    });
}

/// A newer program's field survives an edit by ours on another device; its entity is kept, counted and said.
#[test]
fn scenario_19_what_we_do_not_know_survives_a_round_trip() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    let flavour = Row::memory("demo", "o-1", "s").with("flavour", json!("mint"));
    let mystery = Row::new("demo", "mystery", "m-1", &json!({"sync_id": "m-1", "color": "red"}));
    queue::add(&a, &[Row::session("demo", "s"), flavour, mystery]);
    until("it arrives", || b.titles("text").len() == 1);
    assert_eq!(b.ctl(&["update", "o-1", "--title", "edited"]).code, 0);
    let last = "SELECT payload FROM cloud_mutations WHERE entity_key = 'o-1' ORDER BY seq DESC LIMIT 1";
    until("the edit is at the server", || queue::cloud(&dir, last)[0].contains("edited"));
    assert!(queue::cloud(&dir, last)[0].contains(r#""flavour":"mint""#), "{:?}", queue::cloud(&dir, last));
    until("the entity is kept", || held(&b).iter().any(|(key, _)| key == "m-1"));
    assert_eq!(b.report()["totals"]["dead"], 1);
    assert!(b.finds_reason("row_undeliverable"));
    assert_eq!(queue::cloud(&dir, "SELECT payload FROM cloud_mutations WHERE entity = 'mystery'").len(), 1);
}
