//! A history to pull: its rows, a server that has it, and what a store of the Go program looks like.

use crate::socket::Socket;
use crate::stopwatch::Stopwatch;
use engram_proto::http::pull::PulledMutation;
use engram_proto::time::RowTime;
use engram_tests::go::{GoClient, Remote, Wire as _};
use engram_tests::processes::{Cloud, Device, TOKEN};
use engramd::store::Store;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The project that is pulled.
pub(crate) const PROJECT: &str = "alpha";

/// So long whoever is beside the daemon is there before it begins.
const BEFORE: Duration = Duration::from_millis(300);

/// Returns a time that is as good as any.
pub(crate) fn now() -> RowTime {
    RowTime::parse("2026-11-22 14:00:00").expect("a time")
}

/// Makes the rows of a history: a session, and memories in it.
pub(crate) fn rows(count: u64) -> Vec<PulledMutation> {
    let row = |seq: u64| {
        let key = if seq == 1 { "s".to_owned() } else { format!("obs-{seq}") };
        PulledMutation {
            seq,
            project: PROJECT.to_owned(),
            entity: if seq == 1 { "session" } else { "observation" }.to_owned(),
            payload: payload(seq, &key),
            entity_key: key,
            op: "upsert".to_owned(),
            occurred_at: String::new(),
        }
    };
    (1..=count).map(row).collect()
}

fn payload(seq: u64, key: &str) -> Value {
    if seq == 1 {
        return json!({"id": key, "directory": "/d", "started_at": "2026-11-22 14:00:00", "project": PROJECT});
    }
    json!({"sync_id": key, "session_id": "s", "type": "decision", "title": format!("title {seq}"), "project": PROJECT,
        "content": format!("{seq}: local SQLite stays the source of truth. ").repeat(8), "scope": "project",
        "revision_count": 1, "duplicate_count": 1, "created_at": "2026-11-22 14:00:00",
        "updated_at": "2026-11-22 14:00:00"})
}

/// Starts a server that has the history.
pub(crate) async fn serve(dir: &Path, count: u64) -> Cloud {
    let cloud = Cloud::start(dir);
    let remote = Remote::new(&cloud.url, TOKEN);
    for part in rows(count).chunks(1_000) {
        let entry = |row: &PulledMutation| {
            json!({"project": row.project, "entity": row.entity, "entity_key": row.entity_key, "op": row.op,
                "payload": row.payload})
        };
        let entries: Vec<Value> = part.iter().map(entry).collect();
        let (status, answer) = remote.push(json!({"entries": entries, "created_by": "bench"}).to_string()).await;
        assert_eq!(status, 200, "{answer}");
    }
    cloud
}

/// What pulling a history with the daemon took, how long a status took meanwhile, and what was seen beside it.
pub(crate) struct Pulled<R> {
    pub(crate) took: Duration,
    pub(crate) statuses: Vec<Duration>,
    pub(crate) beside: R,
}

/// Pulls the history into a new store while something else happens to its file.
pub(crate) fn pull<R: Send>(
    home: &Path,
    cloud: &Cloud,
    beside: impl FnOnce(&Path, &AtomicBool) -> R + Send,
) -> Pulled<R> {
    std::fs::create_dir(home).expect("a directory");
    let device = Device::start(home);
    let login = device.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN);
    assert_eq!(login.code, 0, "{login:?}");
    let (path, done) = (home.join("engram.db"), AtomicBool::new(false));
    std::thread::scope(|threads| {
        let other = threads.spawn(|| beside(&path, &done));
        std::thread::sleep(BEFORE);
        let (mut socket, mut statuses) = (Socket::open(home), Vec::new());
        let watch = Stopwatch::start();
        assert_eq!(device.ctl(&["enroll", PROJECT]).code, 0);
        loop {
            let asked = Stopwatch::start();
            let report = socket.status();
            statuses.push(asked.elapsed());
            if report.projects.iter().any(|project| project.head > 0 && project.cursor >= project.head) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = watch.elapsed();
        done.store(true, Ordering::SeqCst);
        Pulled { took, statuses, beside: other.join().expect("no panic") }
    })
}

/// Makes a store as the Go program would leave it: none of what is ours.
pub(crate) fn go_store(dir: &Path, name: &str) -> (PathBuf, GoClient) {
    let path = dir.join(name);
    let store = Store::open(&path, now()).expect("a store");
    let ours =
        "SELECT 'DROP ' || type || ' ' || name FROM sqlite_master WHERE name LIKE 'engramd_%' AND sql IS NOT NULL
                ORDER BY type";
    let dropped = store.read(|conn| {
        let drops = conn.prepare(ours)?.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        drops.iter().try_for_each(|drop| Ok(conn.execute_batch(drop)?))
    });
    dropped.expect("dropped");
    drop(store);
    let client = GoClient::open(&path, now());
    client.db.execute_batch("PRAGMA synchronous = NORMAL").expect("a setting");
    (path, client)
}
