//! OWN-3: what other processes feel of the daemon's writes while it pulls a history: a real daemon, a real server.

use crate::history;
use crate::report::{Line, Report};
use crate::stopwatch::{Stopwatch, per_second, percentile};
use engram_tests::go::saver::{Saver, thinks};
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Processes of the Go program.
const SAVERS: u64 = 4;

/// How often another process writes that waits as SQLite lets it.
const EVERY: Duration = Duration::from_millis(20);

/// A write that changes nothing that counts.
const WRITE: &str = "INSERT OR REPLACE INTO sessions (id, project, directory, started_at)
                     VALUES ('other', 'other', '/d', '2026-11-22 14:00:00')";

/// Pulls a history of so many rows again and again, each time with somebody else beside the daemon.
pub(crate) async fn bench(report: &mut Report, rows: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cloud = history::serve(&dir.path().join("cloud"), rows).await;
    let alone = history::pull(&dir.path().join("alone"), &cloud, |_, _| ());
    let probed = history::pull(&dir.path().join("probed"), &cloud, probe);
    let waited = history::pull(&dir.path().join("waited"), &cloud, wait);
    let saved = history::pull(&dir.path().join("saved"), &cloud, save);
    let rate = |took: Duration| per_second(rows, took);

    let what = format!("one lock of the daemon's, of {}, seen by a prober", probed.beside.len());
    report.add(Line::new("OWN-3", what, spread(probed.beside), "p99 50 ms"));
    let what = format!("the wait of another writer with SQLite's busy handler, {} writes", waited.beside.len());
    report.add(Line::new("OWN-3", what, spread(waited.beside), "–"));
    let Saves { saves, refused, failed } = saved.beside;
    let measured = format!("{failed} failed, {refused} attempts refused");
    report.add(Line::new(
        "OWN-3",
        format!("{saves} saves of {SAVERS} Go processes that read first"),
        measured,
        "0 failed",
    ));
    let lone = without_daemon(dir.path(), saves);
    let measured = format!("{} failed, {} attempts refused", lone.failed, lone.refused);
    report.add(Line::new("OWN-3", format!("{} such saves without a daemon", lone.saves), measured, "–"));
    let measured = format!(
        "{:.0} rows/s alone; {:.0} beside a prober, {:.0} beside a writer, {:.0} beside Go processes",
        rate(alone.took),
        rate(probed.took),
        rate(waited.took),
        rate(saved.took)
    );
    report.add(Line::new("OWN-3", format!("pulling {rows} rows over HTTP"), measured, "–"));
}

fn spread(mut times: Vec<Duration>) -> String {
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    let longest = times.last().copied().unwrap_or_default();
    format!("p50 {p50:.1?}, p99 {p99:.1?}, longest {longest:.1?}")
}

/// Asks for the lock every millisecond, and never waits for it; returns from when to when it was taken, each time from
/// the last moment at which it was free. Writes now and then, for it is others who write that the daemon leaves room.
fn probe(path: &Path, done: &AtomicBool) -> Vec<Duration> {
    let conn = Connection::open(path).expect("the store opens");
    conn.busy_timeout(Duration::ZERO).expect("a time-out");
    let (mut free, mut taken, mut turns, mut locks) = (Stopwatch::start(), false, 0_u64, Vec::new());
    while !done.load(Ordering::SeqCst) {
        if conn.execute_batch("BEGIN IMMEDIATE").is_ok() {
            if std::mem::take(&mut taken) {
                locks.push(free.elapsed());
            }
            turns += 1;
            if turns.is_multiple_of(100) {
                conn.execute(WRITE, []).expect("a row");
            }
            conn.execute_batch("COMMIT").expect("committed");
            free = Stopwatch::start();
        } else {
            taken = true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    locks
}

/// Writes again and again; returns how long each lock took.
fn wait(path: &Path, done: &AtomicBool) -> Vec<Duration> {
    let mut conn = Connection::open(path).expect("the store opens");
    conn.execute_batch("PRAGMA busy_timeout = 30000; PRAGMA synchronous = NORMAL").expect("settings");
    let mut waits = Vec::new();
    while !done.load(Ordering::SeqCst) {
        let watch = Stopwatch::start();
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).expect("the lock");
        waits.push(watch.elapsed());
        tx.execute(WRITE, []).expect("a row");
        tx.commit().expect("written");
        std::thread::sleep(EVERY);
    }
    waits
}

/// What became of saves.
#[derive(Clone, Copy)]
struct Saves {
    saves: u64,
    refused: u64,
    failed: u64,
}

/// Saves as Go processes do until it is told to end.
fn save(path: &Path, done: &AtomicBool) -> Saves {
    save_while(path, |_| !done.load(Ordering::SeqCst))
}

/// Does the same so many times in a store with the same rows that has no daemon.
fn without_daemon(dir: &Path, saves: u64) -> Saves {
    save_while(&dir.join("saved/engram.db"), |done| done < saves)
}

fn save_while(path: &Path, go_on: impl Fn(u64) -> bool + Sync) -> Saves {
    let session =
        "INSERT OR IGNORE INTO sessions (id, project, directory, started_at) VALUES ('s-go', 'other', '/d', '')";
    let conn = Connection::open(path).expect("the store opens");
    conn.busy_timeout(Duration::from_secs(5)).expect("a time-out");
    conn.execute(session, []).expect("a session");
    drop(conn);
    static KEYS: AtomicU64 = AtomicU64::new(0);
    let begun = AtomicU64::new(0);
    let one = || {
        let (mut saver, mut failed) = (Saver::open(path), 0);
        while go_on(begun.fetch_add(1, Ordering::SeqCst)) {
            let key = format!("go-{}", KEYS.fetch_add(1, Ordering::SeqCst));
            failed += u64::from(saver.save("other", "s-go", &key).is_some());
            std::thread::sleep(thinks());
        }
        (saver.refused.values().sum::<u64>(), failed)
    };
    let ended: Vec<(u64, u64)> = std::thread::scope(|threads| {
        let savers: Vec<_> = (0..SAVERS).map(|_| threads.spawn(one)).collect();
        savers.into_iter().map(|saver| saver.join().expect("no panic")).collect()
    });
    let saves = begun.load(Ordering::SeqCst).saturating_sub(SAVERS);
    let (refused, failed) = ended.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Saves { saves, refused, failed }
}
