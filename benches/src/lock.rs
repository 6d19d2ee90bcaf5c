//! OWN-3: how long another process waits for the store while a history is applied.

use crate::report::{Line, Report};
use crate::stopwatch::{Stopwatch, per_second, percentile};
use engram_proto::http::pull::{PullReply, PulledMutation};
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engramd::store::Store;
use engramd_core::rows::LeaseOutcome;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PAGES: u64 = 40;
const PAGE_ROWS: u64 = 1_000;

/// Applies pages while another connection saves again and again, and measures how long its lock takes.
pub(crate) fn bench(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("engram.db");
    let now = RowTime::parse("2026-11-22 14:00:00").expect("a time");
    let mut store = Store::open(&path, now).expect("the store opens");
    store.set_stopwatch(engramd::clock::mono_ms);
    let alpha = ProjectName::parse("alpha").expect("a name");
    store.enroll(&alpha, now).expect("enrolled");
    let LeaseOutcome::Granted { fence, .. } = store.acquire_lease("engramd-bench", 0, 60_000).expect("a lease") else {
        panic!("the lease is held")
    };
    let done = AtomicBool::new(false);
    let (mut waits, took) = std::thread::scope(|threads| {
        let other = threads.spawn(|| save_until(&path, &done));
        let watch = Stopwatch::start();
        for page in 0..PAGES {
            let reply = page_of(page, &alpha);
            store.apply_page(&fence, "cloud", &BTreeMap::new(), &reply, now).expect("applied");
        }
        let took = watch.elapsed();
        done.store(true, Ordering::SeqCst);
        (other.join().expect("the other process"), took)
    });
    let (p50, p99) = (percentile(&mut waits, 0.5), percentile(&mut waits, 0.99));
    let longest = waits.last().copied().unwrap_or_default();
    let rate = per_second(PAGES * PAGE_ROWS, took);
    let measured =
        format!("p50 {p50:.1?}, p99 {p99:.1?}, longest {longest:.1?} of {} saves; {rate:.0} rows/s", waits.len());
    report.add(Line::new("OWN-3", "another process's wait while pages are applied", measured, "p99 50 ms"));
}

/// Saves as a Go process does; returns how long each lock took.
fn save_until(path: &Path, done: &AtomicBool) -> Vec<Duration> {
    let mut conn = Connection::open(path).expect("the store opens");
    conn.busy_timeout(Duration::from_secs(30)).expect("a time-out");
    let insert = "INSERT OR REPLACE INTO sessions (id, project, directory, started_at)
                  VALUES ('other', 'other', '/d', '2026-11-22 14:00:00')";
    let mut waits = Vec::new();
    while !done.load(Ordering::SeqCst) {
        let watch = Stopwatch::start();
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).expect("the lock");
        waits.push(watch.elapsed());
        tx.execute(insert, []).expect("a row");
        tx.commit().expect("saved");
        std::thread::sleep(Duration::from_millis(5));
    }
    waits
}

fn page_of(page: u64, project: &ProjectName) -> PullReply {
    let first = page * PAGE_ROWS + 1;
    let row = |seq: u64| PulledMutation {
        seq,
        project: project.to_string(),
        entity: if seq == 1 { "session" } else { "observation" }.to_owned(),
        entity_key: if seq == 1 { "s".to_owned() } else { format!("obs-{seq}") },
        op: "upsert".to_owned(),
        payload: if seq == 1 {
            json!({"id": "s", "directory": "/d", "started_at": "2026-11-22 14:00:00"})
        } else {
            json!({"sync_id": format!("obs-{seq}"), "session_id": "s", "type": "decision", "title": format!("title {seq}"),
                "content": format!("{seq}: local SQLite stays the source of truth. ").repeat(8), "scope": "project",
                "revision_count": 1, "duplicate_count": 1, "created_at": "2026-11-22 14:00:00",
                "updated_at": "2026-11-22 14:00:00"})
        },
        occurred_at: String::new(),
    };
    let mutations: Vec<_> = (first..first + PAGE_ROWS).map(row).collect();
    PullReply { mutations, cursors: [(project.clone(), first + PAGE_ROWS - 1)].into(), ..PullReply::default() }
}
