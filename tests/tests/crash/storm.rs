//! Two devices that write, a server between them, and kills: at random moments of the real programs, and at named
//! failpoints of children. After each kill the files are examined as they lie; in the end everything answered is
//! everywhere, once.

use crate::course::{ENROLMENT, PROJECT, SIDE, shown, write};
use crate::ledger::Ledger;
use crate::plain::Plain;
use crate::{Dice, books, child};
use engram_proto::id::ProjectName;
use engram_tests::processes::{Device, Process, until};
use engramd::store::Store;
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The durable steps of a device, by file; the number comes with each kill. The log is deleted when a daemon ends.
pub(crate) const DEVICE_POINTS: &[&str] = &[
    "engram.db-wal write",
    "engram.db-wal sync",
    "engram.db write",
    "engram.db sync",
    "engram.db-wal delete",
    ".cloud.json.new sync",
    "cloud.json rename",
];

/// A row of the server's journal: its number, its project, and whose it is.
pub(crate) type CloudRow = (i64, String, String, String);

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kills: u64,
    /// Rows that waited for what they belong to when a device was killed.
    pub(crate) deferred: i64,
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
    pub(crate) fn start(device: Device, url: &str, seed: u64) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::new(&device.dir.with_extension("ledger"))));
        let stop = Arc::new(AtomicBool::new(false));
        let (dir, book, end) = (device.dir.clone(), Arc::clone(&ledger), Arc::clone(&stop));
        let url = url.to_owned();
        let thread = std::thread::spawn(move || write(&dir, &url, &book, &end, seed));
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
            self.device.daemon.kill();
            let mut child = Process::new(child::daemon_with(&self.device.dir, &named(point, dice)));
            let met = if point.ends_with("delete") {
                until("the child answers", || child.has_ended() || self.device.ctl(&["status"]).code != 4);
                // One that ends in order has a code.
                child.has_ended() || child.terminate().is_none()
            } else {
                dies(&mut child)
            };
            if met {
                *tally.met.entry(point.to_owned()).or_default() += 1;
            }
            child.kill();
        }
        tally.kills += 1;
        tally.deferred += examine(&self.device.dir, &rows(), &format!("kill {}", tally.kills));
        self.device.boot();
    }

    /// Tells whether the second project takes part.
    fn enrolment(&self) -> Option<String> {
        let conn = Connection::open(self.device.dir.join("engram.db")).expect("the store");
        let sql = "SELECT EXISTS (SELECT 1 FROM sync_enrolled_projects WHERE project = ?1)";
        conn.query_row(sql, [SIDE], |row| row.get(0)).map(|is: bool| is.then(|| SIDE.to_owned())).expect("a row")
    }
}

/// Names a failpoint: one of its first few steps, before it or after it. What comes once is the first.
pub(crate) fn named(point: &str, dice: &mut Dice) -> String {
    let is_of_sqlite = point.contains(".db") && !point.ends_with("delete") && !point.ends_with("rename");
    let nth = if is_of_sqlite { 1 + dice.below(4) * dice.below(10) } else { 1 };
    format!("{point} {nth} {}", if dice.below(2) == 0 { "before" } else { "after" })
}

/// Lets a random moment pass: what is under way is another step each time.
pub(crate) fn moment(dice: &mut Dice) {
    moment_within(60_000, dice);
}

/// Lets a random moment pass, shorter than so many microseconds.
pub(crate) fn moment_within(us: u64, dice: &mut Dice) {
    std::thread::sleep(Duration::from_micros(dice.below(us)));
}

/// Waits a while for a child to meet its failpoint; not every course comes by.
pub(crate) fn dies(child: &mut Process) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        child.has_ended()
    })
}

/// Looks at a copy of what a killed daemon left: sound, the books in order, no cursor ahead of its rows (CUR-1), the
/// server's address whole. Returns how many rows wait for what they belong to.
pub(crate) fn examine(dir: &Path, cloud: &[CloudRow], context: &str) -> i64 {
    let text = std::fs::read(dir.join("cloud.json")).expect("the server's address");
    let address: Value = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(address["server_url"].is_string() && address["token"].is_string(), "{context}: cloud.json lacks something");
    let copy = books::copied(dir, "engram.db");
    let path = copy.path().join("engram.db");
    let conn = Connection::open(&path).expect("it opens");
    assert_eq!(books::faults(&conn), Vec::<String>::new(), "{context}");
    for project in [PROJECT, SIDE] {
        let of_project: Vec<_> = cloud.iter().filter(|(_, of, ..)| of == project).collect();
        cursor_is_not_ahead(&conn, project, &of_project, context);
    }
    let deferred = "SELECT count(*) FROM engramd_held WHERE kind = 'deferred'";
    let deferred = conn.query_row(deferred, [], |row| row.get(0)).expect("a number");
    drop(conn);
    let at = engram_proto::time::RowTime::parse("2026-11-22 14:00:00").expect("a time");
    let mut store = Store::open(&path, at).unwrap_or_else(|error| panic!("{context}: {error}"));
    for project in [PROJECT, SIDE] {
        books::check(&mut store, &ProjectName::parse(project).expect("a name"), context);
    }
    deferred
}

fn cursor_is_not_ahead(conn: &Connection, project: &str, cloud: &[&CloudRow], context: &str) {
    let sql = "SELECT coalesce(max(seq), 0) FROM engramd_cursor WHERE project = ?1";
    let cursor: i64 = conn.query_row(sql, [project], |row| row.get(0)).expect("a number");
    let known = "SELECT EXISTS (SELECT 1 FROM engramd_version WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)
        OR EXISTS (SELECT 1 FROM sync_mutations WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)
        OR EXISTS (SELECT 1 FROM engramd_held WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)";
    let mut known = conn.prepare(known).expect("a statement");
    for (seq, _, entity, key) in cloud.iter().filter(|(seq, ..)| *seq <= cursor) {
        let known: bool = known.query_row([project, entity, key], |row| row.get(0)).expect("a row");
        assert!(known, "{context}: {project}: the cursor is {cursor}, and {entity} {key} at {seq} is not here");
    }
    let told = cloud.last().map_or(0, |(seq, ..)| *seq);
    assert!(cursor <= told, "{context}: {project}: the cursor is {cursor}, and the server has only come to {told}");
}

/// Waits until all is sent and received, then compares every device with what was answered on any of them, and to the
/// one who pushed without a device.
pub(crate) fn settle(writers: &mut [Writer; 2], plain: &mut Plain, rows: &dyn Fn() -> Vec<CloudRow>) {
    plain.finish();
    for writer in writers.iter_mut() {
        writer.rest();
        let possible = writer.ledger.lock().expect("no panic").close(ENROLMENT);
        let enrolment = writer.enrolment();
        assert!(possible.contains(&enrolment), "{SIDE}: may be {possible:?}, is {enrolment:?}");
        until("the second project takes part", || writer.device.ctl(&["enroll", SIDE]).code == 0);
        until("it drains", || writer.device.ctl(&["sync"]).code == 0);
    }
    let [a, b] = writers;
    until("both show the same", || {
        [&a, &b].iter().all(|writer| writer.device.ctl(&["sync"]).code == 0) && shown(&a.device) == shown(&b.device)
    });
    let mut there = shown(&a.device);
    let mut faults = plain.ledger.faults(&mut there);
    for writer in [&a, &b] {
        faults.extend(writer.ledger.lock().expect("no panic").faults(&mut there));
    }
    faults.extend(there.keys().map(|name| format!("{name}: nobody wrote it")));
    assert_eq!(faults, Vec::<String>::new(), "0 lost, 0 doubled");
    let dumps = [a, b].map(|writer| {
        assert_eq!(writer.device.daemon.terminate(), Some(0));
        assert_eq!(examine(&writer.device.dir, &rows(), "in the end"), 0, "nothing waits");
        let at = engram_proto::time::RowTime::parse("2026-11-22 14:00:00").expect("a time");
        let store = Store::open(&writer.device.dir.join("engram.db"), at).expect("the store");
        [PROJECT, SIDE].map(|name| store.canonical_dump(&ProjectName::parse(name).expect("a name")).expect("a dump"))
    });
    for (ours, theirs) in dumps[0].iter().zip(&dumps[1]) {
        assert_eq!(books::difference(ours, theirs), "", "both devices hold the same");
    }
}
