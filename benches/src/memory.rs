//! The daemon's memory with a backlog: rows that wait to be sent, and rows that wait for a parent (COST-1).

use crate::report::{Line, Report};
use crate::stopwatch::Stopwatch;
use engram_proto::http::pull::{PullReply, PulledMutation};
use engram_proto::id::ProjectName;
use engram_proto::mutation::{Entity, Op};
use engram_proto::time::RowTime;
use engram_tests::processes::{Cloud, Device};
use engramd::store::Store;
use engramd::store::journal::{self, LocalWrite};
use engramd_core::rows::LeaseOutcome;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const SLICE_ROWS: u64 = 1_000;
/// Children of one missing session.
const CHILDREN: u64 = 10_000;
/// So long the daemon is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Fills two stores and looks at the daemon that works on each.
pub(crate) async fn bench(report: &mut Report, rows: u64) {
    for (what, fill) in [("pending", fill_pending as fn(&Path, u64)), ("deferred", fill_deferred)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (home, server) = (dir.path().join("engram"), dir.path().join("cloud"));
        std::fs::create_dir(&home).expect("a directory");
        fill(&home, rows);
        let cloud = Cloud::start(&server);
        let device = Device::enrolled(&home, &cloud, "alpha");
        let watch = Stopwatch::start();
        let left = loop {
            let report = device.report();
            let left = report["totals"][what].as_u64().unwrap_or(0);
            if left == 0 || watch.elapsed() > LOOK {
                break left;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let mb = resident_peak_kb(device.daemon.pid()) / 1024;
        let measured = format!("{mb} MB at most in {:.0?}; {left} of them left", watch.elapsed());
        report.add(Line::new("memory", format!("the daemon with {rows} rows {what}"), measured, "64 MB"));
    }
}

/// Reads the largest memory a process had, in KB.
pub(crate) fn resident_peak_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    peak.unwrap_or(0)
}

fn open(home: &Path) -> (Store, ProjectName, RowTime) {
    let now = RowTime::parse("2026-11-22 14:00:00").expect("a time");
    let mut store = Store::open(&home.join("engram.db"), now).expect("the store opens");
    let alpha = ProjectName::parse("alpha").expect("a name");
    store.enroll(&alpha, now).expect("enrolled");
    (store, alpha, now)
}

fn fill_pending(home: &Path, rows: u64) {
    let (mut store, alpha, now) = open(home);
    for first in (0..rows).step_by(usize::try_from(SLICE_ROWS).unwrap_or(1)) {
        let filled = store.write(|tx| {
            for at in first..rows.min(first + SLICE_ROWS) {
                let Value::Object(payload) = memory(at, "s") else { continue };
                let (entity, op, key) = (Entity::Observation, Op::Upsert, format!("obs-{at}"));
                let write =
                    LocalWrite { project: &alpha, entity, key: &key, op, payload: &payload, base: None, at: now };
                journal::append(tx, &write)?;
            }
            Ok(())
        });
        filled.expect("filled");
    }
}

fn fill_deferred(home: &Path, rows: u64) {
    let (mut store, alpha, now) = open(home);
    let LeaseOutcome::Granted { fence, .. } = store.acquire_lease("bench", 0, 60_000).expect("a lease") else {
        panic!("the lease is held")
    };
    for first in (0..rows).step_by(usize::try_from(SLICE_ROWS).unwrap_or(1)) {
        let row = |at: u64| PulledMutation {
            seq: at + 1,
            project: alpha.to_string(),
            entity: Entity::Observation.to_string(),
            entity_key: format!("obs-{at}"),
            op: Op::Upsert.to_string(),
            payload: memory(at, &format!("s-{}", at / CHILDREN)),
            occurred_at: String::new(),
        };
        let mutations: Vec<_> = (first..rows.min(first + SLICE_ROWS)).map(row).collect();
        let cursors = [(alpha.clone(), mutations.len() as u64 + first)].into();
        let page = PullReply { mutations, cursors, ..PullReply::default() };
        store.apply_page(&fence, "elsewhere", &BTreeMap::new(), &page, now).expect("applied");
    }
    store.release_lease(&fence).expect("released");
}

fn memory(at: u64, session: &str) -> Value {
    json!({"sync_id": format!("obs-{at}"), "session_id": session, "type": "decision", "title": format!("title {at}"),
        "content": format!("{at}: local SQLite stays the source of truth. ").repeat(4), "scope": "project",
        "revision_count": 1, "duplicate_count": 1, "created_at": "2026-11-22 14:00:00",
        "updated_at": "2026-11-22 14:00:00"})
}
