//! Situation 8: It lives peacefully beside the Go processes. 9. Unenrolled means inert.

use crate::queue::{self, Row, memory, session};
use engram_tests::gateway::Gateway;
use engram_tests::processes::{Cloud, Device, TOKEN, until};
use rusqlite::params;

/// Processes that write beside the daemon, saves of each, rows that come in, rows that go out.
const WRITERS: usize = 4;
const SAVES: usize = 100;
const PULLED: usize = 2_000;
const PUSHED: usize = 500;

/// Saves as a Go process does: one transaction with row and journal row, five seconds of patience.
fn save(conn: &mut rusqlite::Connection, key: &str) -> rusqlite::Result<()> {
    let payload = memory("demo", key, "s-go").to_string();
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    tx.execute(
        "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, created_at, updated_at)
         VALUES (?1, 's-go', 'note', 'title of ' || ?1, 'a text of ' || ?1, 'demo', 'project', '2026-11-22 10:00:01',
             '2026-11-22 10:00:01')",
        [key],
    )?;
    tx.execute(
        "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project)
         VALUES ('cloud', 'observation', ?1, 'upsert', ?2, 'local', '2026-11-23 10:00:00', 'demo')",
        params![key, payload],
    )?;
    tx.commit()
}

/// OWN-3: four processes save while the daemon pulls and pushes thousands of rows: no save fails, all arrive.
#[test]
fn scenario_8_own_3_writers_beside_a_busy_daemon_never_fail() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let source = Device::enrolled(&temp.path().join("source"), &cloud, "demo");
    queue::add(&source, &[Row::session("demo", "s")]);
    queue::add(&source, &(0..PULLED).map(|n| Row::memory("demo", &format!("in-{n}"), "s")).collect::<Vec<_>>());
    let stored =
        || queue::cloud(&dir, "SELECT count(*) || '' FROM cloud_mutations")[0].parse::<usize>().expect("a number");
    until("the history is at the server", || stored() == PULLED + 1);

    let a = Device::start(&temp.path().join("a"));
    let go = queue::store(&a);
    let text = session("demo", "s-go").to_string();
    go.execute_batch("INSERT INTO sessions (id, project, directory, started_at) VALUES ('s-go', 'demo', '/d', '2026-11-22 10:00:00')")
        .expect("a session");
    drop(go);
    queue::add(&a, &[Row { payload: text, ..Row::session("demo", "s-go") }]);
    queue::add(&a, &(0..PUSHED).map(|n| Row::memory("demo", &format!("out-{n}"), "s-go")).collect::<Vec<_>>());
    assert_eq!(a.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN).code, 0);
    assert_eq!(a.ctl(&["enroll", "demo"]).code, 0);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let mut conn = queue::store(&a);
            conn.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
            std::thread::spawn(move || -> Vec<rusqlite::Error> {
                (0..SAVES).filter_map(|n| save(&mut conn, &format!("go-{writer}-{n}")).err()).collect()
            })
        })
        .collect();
    let failed: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().expect("no panic")).collect();
    assert!(failed.is_empty(), "saves that failed: {failed:?}");
    until("all is sent", || stored() == PULLED + PUSHED + WRITERS * SAVES + 2);
    let here = |sql: &str| queue::number(&a, sql);
    until("all is received", || here("SELECT count(*) FROM observations WHERE sync_id LIKE 'in-%'") == 2_000);
    assert_eq!(here("SELECT count(*) FROM observations WHERE sync_id LIKE 'go-%'"), 400);
    assert_eq!(here("SELECT count(*) FROM sync_mutations WHERE entity_key LIKE 'go-%' AND source = 'local'"), 400);
    let twice = "SELECT count(*) || '' FROM (SELECT 1 FROM cloud_mutations GROUP BY entity_key HAVING count(*) > 1)";
    assert_eq!(queue::cloud(&dir, twice), ["0"], "nothing was sent twice");
    let log = std::fs::read_to_string(a.log()).expect("a log");
    assert!(!log.contains("database is locked"), "{log}");
}

/// SCOPE-1, LOUD-1: projects that are not enrolled are information; the daemon adds no row for them, and enrolling one
/// later delivers it exactly once.
#[test]
fn scenario_9_scope_1_what_is_not_enrolled_is_inert() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let alone = Device::start(&temp.path().join("alone"));
    let _ = alone.save("demo", "t", "on its own");
    let status = alone.ctl(&["status"]);
    assert_eq!(status.code, 0, "no cloud is no fault: {status:?}");

    let cloud = Cloud::start(&dir);
    let gateway = Gateway::start(&cloud.url);
    let a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    for n in 0..20 {
        let project = format!("private-{n}");
        let session = format!("s-{n}");
        let mut rows = vec![Row::session(&project, &session)];
        rows.extend((0..50).map(|m| Row::memory(&project, &format!("{project}-{m}"), &session)));
        queue::add(&a, &rows);
    }
    let _ = a.save("demo", "t", "shared");
    until("it is sent", || queue::cloud(&dir, "SELECT entity FROM cloud_mutations").len() == 2);
    until("they are counted", || a.report()["totals"]["not_enrolled_pending"] == 20 * 51);
    let status = a.ctl(&["status"]);
    assert_eq!(status.code, 0, "{status:?}");
    until("it is healthy", || a.report()["sync"]["health"] == "healthy" && a.report()["totals"]["pending"] == 0);
    assert!(a.finds_reason("non_enrolled_pending_mutations"));
    let rows = "SELECT count(*) FROM sync_mutations WHERE project LIKE 'private-%'";
    assert_eq!(queue::number(&a, rows), 20 * 51, "nothing of its own was added");
    let projects = a.json(&["projects"]);
    assert_eq!(projects["projects"].as_array().map(Vec::len), Some(21), "all are listed: {projects}");
    assert!(!gateway.inside().seen.iter().any(|seen| format!("{seen:?}").contains("private-")), "not even a name");

    assert_eq!(a.ctl(&["enroll", "private-7"]).code, 0);
    let delivered = "SELECT entity_key FROM cloud_mutations WHERE project = 'private-7'";
    until("the backlog is delivered", || queue::cloud(&dir, delivered).len() >= 51);
    assert_eq!(a.ctl(&["sync"]).code, 0);
    assert_eq!(queue::cloud(&dir, delivered).len(), 51, "exactly once");
}
