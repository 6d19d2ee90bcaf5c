//! Two devices that write, a server between them, and kills: at random moments of the real programs, and at named
//! failpoints of children. After each kill the files are examined as they lie; in the end everything answered is
//! everywhere, once.

use crate::ledger::Ledger;
use crate::{Dice, books, child};
use engram_proto::id::ProjectName;
use engram_tests::processes::{Answer, Device, Process, until};
use engramd::store::Store;
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) const PROJECT: &str = "demo";

/// The durable steps of a device, by file; the number comes with each kill.
pub(crate) const DEVICE_POINTS: &[&str] =
    &["engram.db-wal write", "engram.db-wal sync", "engram.db write", "engram.db sync", "engram.db-wal truncate"];

/// A row of the server's journal: its number, and whose it is.
pub(crate) type CloudRow = (i64, String, String);

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kills: u64,
    /// How often each failpoint was met.
    pub(crate) met: BTreeMap<String, u64>,
}

/// A device, and the thread that writes on it.
pub(crate) struct Writer {
    pub(crate) device: Device,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(device: Device, seed: u64) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::new(&device.dir.with_extension("ledger"))));
        let stop = Arc::new(AtomicBool::new(false));
        let (dir, book, end) = (device.dir.clone(), Arc::clone(&ledger), Arc::clone(&stop));
        let thread = std::thread::spawn(move || write(&dir, &book, &end, seed));
        Self { device, ledger, stop, thread: Some(thread) }
    }

    pub(crate) fn rest(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the writer did not panic");
        }
    }

    /// Kills the daemon at a random moment, or has a child of its own die at a failpoint; then examines the files.
    pub(crate) fn kill(&mut self, dice: &mut Dice, tally: &mut Tally, rows: &dyn Fn() -> Vec<CloudRow>) {
        if dice.below(2) == 0 {
            moment(dice);
            self.device.daemon.kill();
        } else {
            let point = DEVICE_POINTS[usize::try_from(dice.below(DEVICE_POINTS.len() as u64)).expect("few")];
            let point = named(point, dice);
            self.device.daemon.kill();
            let mut child = Process::new(child::daemon_with(&self.device.dir, &point));
            if dies(&mut child) {
                *tally.met.entry(point).or_default() += 1;
            }
            child.kill();
        }
        tally.kills += 1;
        examine(&self.device.dir, &rows(), &format!("kill {}", tally.kills));
        self.device.boot();
    }

    pub(crate) fn shown(&self) -> Vec<(String, String)> {
        let list = self.device.json(&["list", "--project", PROJECT, "--limit", "100000"]);
        let all = list["observations"].as_array().expect("a list").iter();
        let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
        let mut shown: Vec<_> = all.map(|one| (text(one, "title"), text(one, "content"))).collect();
        shown.sort();
        shown
    }
}

/// Names a failpoint: one of its first few steps, before it or after it.
pub(crate) fn named(point: &str, dice: &mut Dice) -> String {
    let nth = 1 + dice.below(4) * dice.below(10);
    format!("{point} {nth} {}", if dice.below(2) == 0 { "before" } else { "after" })
}

/// Lets a random moment pass: what is under way is another step each time.
pub(crate) fn moment(dice: &mut Dice) {
    std::thread::sleep(Duration::from_micros(dice.below(60_000)));
}

/// Waits a while for a child to meet its failpoint; not every course comes by.
pub(crate) fn dies(child: &mut Process) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        child.has_ended()
    })
}

fn write(dir: &Path, ledger: &Mutex<Ledger>, end: &AtomicBool, seed: u64) {
    let mut dice = Dice::new(seed);
    let ctl = |args: &[&str]| engram_tests::processes::ctl(dir, args, "");
    let id_in = |answer: &Answer| answer.json()["sync_id"].as_str().expect("an id").to_owned();
    let mut number = 0;
    while !end.load(Ordering::Relaxed) {
        number += 1;
        let known = ledger.lock().expect("no panic").known();
        let pick = known.get(usize::try_from(dice.below(known.len().max(1) as u64)).expect("few"));
        match (dice.below(4), pick) {
            (0, Some((title, id))) => {
                let content = format!("edit {seed} {number}");
                let answer = ctl(&["update", id, &content, "--json"]);
                let told = (answer.code == 0).then_some(id.as_str());
                ledger.lock().expect("no panic").book(title, Some(content), told);
            }
            (1, Some((title, id))) => {
                let answer = ctl(&["delete", id, "--json"]);
                let told = (answer.code == 0).then_some(id.as_str());
                ledger.lock().expect("no panic").book(title, None, told);
            }
            _ => {
                let (title, content) = (format!("memory {seed} {number}"), format!("words {seed} {number}"));
                let answer = ctl(&["save", "--project", PROJECT, "--title", &title, &content, "--json"]);
                let told = (answer.code == 0).then(|| id_in(&answer));
                ledger.lock().expect("no panic").book(&title, Some(content), told.as_deref());
            }
        }
    }
}

/// Looks at a copy of what a killed daemon left: sound, the books in order, no cursor ahead of its rows (CUR-1).
pub(crate) fn examine(dir: &Path, cloud: &[CloudRow], context: &str) {
    let copy = tempfile::tempdir().expect("a directory");
    for name in ["engram.db", "engram.db-wal"] {
        if dir.join(name).exists() {
            std::fs::copy(dir.join(name), copy.path().join(name)).expect("copied");
        }
    }
    let path = copy.path().join("engram.db");
    let conn = Connection::open(&path).expect("it opens");
    assert_eq!(books::faults(&conn), Vec::<String>::new(), "{context}");
    let sql = "SELECT coalesce(max(seq), 0) FROM engramd_cursor WHERE project = ?1";
    let cursor: i64 = conn.query_row(sql, [PROJECT], |row| row.get(0)).expect("a number");
    let known = "SELECT EXISTS (SELECT 1 FROM engramd_version WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)
        OR EXISTS (SELECT 1 FROM sync_mutations WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)
        OR EXISTS (SELECT 1 FROM engramd_held WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)";
    let mut known = conn.prepare(known).expect("a statement");
    for (seq, entity, key) in cloud.iter().filter(|(seq, ..)| *seq <= cursor) {
        let known: bool = known.query_row([PROJECT, entity, key], |row| row.get(0)).expect("a row");
        assert!(known, "{context}: the cursor is {cursor}, and {entity} {key} at {seq} is not here");
    }
    let told = cloud.last().map_or(0, |(seq, ..)| *seq);
    assert!(cursor <= told, "{context}: the cursor is {cursor}, and the server has only come to {told}");
    drop(known);
    drop(conn);
    let at = engram_proto::time::RowTime::parse("2026-11-22 14:00:00").expect("a time");
    let mut store = Store::open(&path, at).unwrap_or_else(|error| panic!("{context}: {error}"));
    books::check(&mut store, &ProjectName::parse(PROJECT).expect("a name"), context);
}

/// Waits until all is sent and received, then compares every device with what was answered on any of them.
pub(crate) fn settle(writers: &mut [Writer; 2]) {
    for writer in writers.iter_mut() {
        writer.rest();
        until("it drains", || writer.device.ctl(&["sync"]).code == 0);
    }
    let [a, b] = writers;
    until("both show the same", || a.device.ctl(&["sync"]).code == 0 && a.shown() == b.shown());
    let shown = a.shown();
    let mine = |seed: &str| -> Vec<_> {
        let prefix = format!("memory {seed} ");
        shown.iter().filter(|(title, _)| title.starts_with(&prefix)).cloned().collect()
    };
    let (of_a, of_b) = (mine("1"), mine("2"));
    assert_eq!(of_a.len() + of_b.len(), shown.len(), "nothing else is there");
    let ledger = |writer: &Writer, shown: &[_]| writer.ledger.lock().expect("no panic").faults(shown);
    assert_eq!((ledger(a, &of_a), ledger(b, &of_b)), (Vec::new(), Vec::new()), "0 lost, 0 doubled");
    for writer in writers {
        assert_eq!(writer.device.daemon.terminate(), Some(0));
        examine(&writer.device.dir, &[(i64::MAX, String::new(), String::new())], "in the end");
    }
}
