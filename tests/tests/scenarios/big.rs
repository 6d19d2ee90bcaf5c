//! Situation 11: The first sync of a big history just works.

use crate::queue::{self, Row, held};
use engram_tests::gateway::Gateway;
use engram_tests::processes::{Cloud, Device, TOKEN, until};
use serde_json::json;

const ROWS: usize = 2_000;
/// What the proxy in between lets through, and what one row has.
const LIMIT_BYTES: usize = 256 << 10;
const HUGE_BYTES: usize = 600 << 10;
const KILLS: usize = 5;

/// ISO-1, DUR-1: a proxy that cuts at 256 KiB is learnt from 413, the one row above it is held by name, and kills in the
/// middle repeat at most what was under way.
#[test]
fn scenario_11_a_big_history_arrives_through_a_narrow_gate() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let gateway = Gateway::start(&cloud.url);
    gateway.inside().body_bytes_max = Some(LIMIT_BYTES);
    let mut a = Device::start(&temp.path().join("a"));
    let text = |n: usize| json!(format!("text {n} {}", "words and more ".repeat(100)));
    let mut rows = vec![Row::session("demo", "s")];
    rows.extend((0..ROWS).map(|n| Row::memory("demo", &format!("m-{n}"), "s").with("content", text(n))));
    rows.insert(ROWS / 2, Row::memory("demo", "huge", "s").with("content", json!("x".repeat(HUGE_BYTES))));
    queue::add(&a, &rows);
    assert_eq!(a.ctl_with(&["cloud", "login", "--server", &gateway.url, "--token-stdin"], TOKEN).code, 0);
    assert_eq!(a.ctl(&["enroll", "demo"]).code, 0);
    let accepted = || gateway.pushes().iter().filter(|push| push.status == 200).count();
    for kill in 1..=KILLS {
        until("more got through", || accepted() >= kill || held(&a).len() == 1);
        a.daemon.kill();
        a.boot();
    }
    let stored = || queue::cloud(&dir, "SELECT entity_key FROM cloud_mutations").len();
    until("all but one are there", || stored() == ROWS + 1);
    until("the one is held by name", || held(&a).iter().any(|(key, _)| key == "huge"));
    assert!(a.finds_reason("payload_too_large"));
    assert_eq!(stored(), ROWS + 1, "each once");
    let pushes = gateway.pushes();
    let through: Vec<_> = pushes.iter().filter(|push| push.status == 200).collect();
    assert!(through.iter().all(|push| push.body.len() <= LIMIT_BYTES));
    let sent: usize = through.iter().map(|push| push.body.matches("\"mutation_id\"").count()).sum();
    let largest = through.iter().map(|push| push.body.matches("\"mutation_id\"").count()).max().unwrap_or(0);
    assert!(sent <= ROWS + 1 + KILLS * largest, "{sent} rows sent, {largest} at once at most");
}
