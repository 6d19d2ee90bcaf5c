//! Journal rows and leases as the Go program leaves them: what lacks a field is filled, what cannot be filled is held.
#![expect(clippy::unwrap_used, reason = "tests")]

mod go_support;
mod store_support;

use engramd::store::Store;
use engramd_core::rows::{BatchLimits, LeaseOutcome};
use go_support::Go;
use serde_json::json;
use std::path::Path;
use store_support::{Lab, at, lease, observation, prompt, session, up};

const AT: &str = "2026-11-22 14:10:00";

fn beside_go(dir: &Path) -> (Lab, Go) {
    let path = dir.join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
    (lab, Go::open(&path))
}

#[test]
fn what_a_row_of_the_go_program_lacks_is_filled_from_key_and_tables() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, go) = beside_go(dir.path());
    go.save("alpha", "s1", "o1", "kept text", AT);
    go.0.execute("UPDATE sync_mutations SET payload = '{\"title\":\"  \"}' WHERE entity_key = 'o1'", []).unwrap();
    go.0.execute("UPDATE observations SET deleted_at = ?1 WHERE sync_id = 'o1'", [AT]).unwrap();
    go.journal("session", "no-directory", "upsert", &json!({"id": "no-directory"}), "alpha", AT);
    go.journal("prompt", "p1", "delete", &json!({"deleted": true, "deleted_at": AT}), "alpha", AT);
    let rows = lab.batch(10).rows;
    assert_eq!(rows.len(), 3);
    let texts = ["sync_id", "session_id", "type", "title", "content", "scope"].map(|field| &rows[0].payload[field]);
    assert_eq!(texts, ["o1", "s1", "decision", "kept text", "about kept text", "project"], "a soft delete keeps them");
    assert_eq!(rows[1].payload["directory"], "(recovered-missing-session)");
    assert_eq!(rows[2].payload["sync_id"], "p1");
}

#[test]
fn iso_1_what_cannot_be_filled_is_held_with_the_reason_and_its_neighbours_go() {
    let dir = tempfile::tempdir().unwrap();
    let (mut lab, go) = beside_go(dir.path());
    let other = observation("another-key", "s1", "t", 1);
    for (entity, key, op, payload) in [
        ("observation", "gone", "upsert", json!({"session_id": "s1"})),
        ("observation", "o1", "upsert", other),
        ("relation", "r1", "delete", json!({"sync_id": "r1"})),
        ("relation", "r2", "upsert", json!({"sync_id": "r2", "source_id": "a"})),
        ("prompt", "p1", "upsert", json!("no object")),
        ("prompt", "p2", "merge", prompt("p2", "s1", "why", 1)),
        ("prompt", "p3", "upsert", prompt("p3", "s1", "why", 1)),
    ] {
        go.journal(entity, key, op, &payload, "alpha", AT);
    }
    let sent: Vec<_> = lab.batch(10).rows.iter().map(|row| row.entity_key.clone()).collect();
    assert_eq!(sent, ["p3"]);
    let held = lab.store.held().unwrap();
    assert_eq!(held.len(), 6);
    for (row, words) in held.iter().zip(["type", "another-key", "relation", "target_id", "JSON", "merge"]) {
        assert!(row.evidence.contains(words), "{}: {}", row.entity_key, row.evidence);
    }
    lab.check_books();
}

#[test]
fn every_row_of_stores_of_every_age_can_be_sent() {
    for name in ["v2026-02", "v2026-04", "v2026-07-pending"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engram.db");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/store").join(format!("{name}.db"));
        std::fs::write(&path, std::fs::read(from).unwrap()).unwrap();
        let mut store = Store::open(&path, at(0)).unwrap();
        let fence = lease(&mut store, "engramd-test", 0);
        for project in store.projects().unwrap() {
            store.enroll(&project, at(0)).unwrap();
            while store.backfill_slice(&project, at(0), 100).unwrap() {}
            let limits = BatchLimits { rows_max: 1_000, body_bytes_max: 1 << 30 };
            let sent = store.pending_batch(&fence, &project, limits, at(1_000)).unwrap().rows.len() as u64;
            let books = store.ack2(&project).unwrap();
            assert_eq!((sent, books.held), (books.written, 0), "{name} {project}");
        }
    }
}

#[test]
fn own_2_a_lease_of_the_peers_autosync_is_waited_for_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&dir.path().join("engram.db"), at(0)).unwrap();
    let go = Go::open(&dir.path().join("engram.db"));
    let now_ms = at(0).unix_s() * 1_000;
    let until = |text: &str| {
        let sql = "UPDATE sync_state SET lease_owner = 'autosync-1795356000000000000', lease_until = ?1
            WHERE target_key = 'cloud'";
        assert_eq!(go.0.execute(sql, [text]).unwrap(), 1);
    };
    until(&at(60).rfc3339());
    let held = store.acquire_lease("engramd-x", now_ms, 60_000).unwrap();
    assert!(matches!(held, LeaseOutcome::HeldElsewhere { owner, until_ms }
        if owner.starts_with("autosync-") && until_ms == now_ms + 60_000));
    assert!(matches!(store.acquire_lease("engramd-x", now_ms + 60_000, 60_000), Ok(LeaseOutcome::Granted { .. })));
    until("no time at all");
    assert!(matches!(store.acquire_lease("engramd-x", now_ms, 60_000), Ok(LeaseOutcome::Granted { .. })));
}
