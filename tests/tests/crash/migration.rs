//! A store of an older age is brought forward: whatever stops it, the memories are there, and the next start ends it.

use crate::storm::{dies, moment_within, named};
use crate::{Dice, books, child, ledger, rounds};
use engram_proto::time::RowTime;
use engram_tests::disk::{Disk, Fate, Plan};
use engram_tests::processes::{Device, Process, daemon};
use engramd::store::Store;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The durable steps of bringing a store forward, by file: the copy from before, its name, and the one transaction.
const POINTS: &[&str] =
    &[".part write", ".part sync", ".db rename", "engram.db-wal write", "engram.db-wal sync", "engram.db write"];
/// Memories that make it take a while.
const MEMORIES: u64 = 5_000;
/// How long the first start lasts at most; each later one may last half as long again, until one comes to the end.
const FIRST_US: u64 = 20_000;

fn at() -> RowTime {
    RowTime::parse("2026-11-22 14:00:00").expect("a time")
}

fn fixture(dir: &Path, age: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/store/{age}.db"));
    std::fs::write(dir.join("engram.db"), std::fs::read(from).expect("the fixture")).expect("copied");
}

/// What people wrote, in the columns that every age has.
fn memories(conn: &Connection) -> Vec<String> {
    let sql = "SELECT id || '|' || session_id || '|' || type || '|' || title || '|' || content FROM observations
        UNION ALL SELECT id || '|' || lower(project) || '|' || directory || '|' || started_at FROM sessions
        UNION ALL SELECT id || '|' || session_id || '|' || content FROM user_prompts";
    let mut statement = conn.prepare(sql).expect("a statement");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    let mut memories: Vec<String> = rows.map(|row| row.expect("a row")).collect();
    memories.sort();
    memories
}

fn opened(dir: &Path) -> Result<Store, String> {
    Store::open(&dir.join("engram.db"), at()).map_err(|error| error.to_string())
}

/// DUR-1: power lost, or the disk failing once, at any step of bringing the February file forward.
#[test]
fn dur_1_a_store_is_brought_forward_whole_whatever_stops_it() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("device");
    std::fs::create_dir(&dir).expect("made");
    fixture(&dir, "v2026-02");
    let written = memories(&Connection::open(dir.join("engram.db")).expect("a file"));
    assert!(!written.is_empty());
    let (mut stops, stride) = (0, (29 / rounds()).max(1));
    for fate in [Fate::Stops, Fate::Fails] {
        let mut nth = 1 + Dice::new(5).below(stride);
        loop {
            books::clear(&dir);
            fixture(&dir, "v2026-02");
            let disk = Disk::watch(&dir);
            disk.plan(Plan::nth(nth, fate));
            let first = opened(&dir);
            if !disk.met() {
                break;
            }
            stops += 1;
            let context = format!("{fate:?} at step {nth}");
            let succeeded = first.is_ok();
            drop(first);
            if fate == Fate::Stops {
                let mut dice = Dice::new(nth);
                disk.lose_power(&mut || dice.draw());
            }
            drop(disk);
            let conn = Connection::open(dir.join("engram.db")).expect("a file");
            assert_eq!(books::difference(&written.join("\n"), &memories(&conn).join("\n")), "", "{context}");
            let there = |sql| conn.prepare(sql).is_ok();
            let (first, last) = ("SELECT sync_id FROM observations", "SELECT takes_time FROM engramd_journal");
            assert_eq!(there(first), there(last), "{context}: all of it or nothing");
            assert!(!succeeded || there(last), "{context}: what was opened is brought forward");
            drop(conn);
            let store = opened(&dir).unwrap_or_else(|error| panic!("{context}: {error}"));
            let (now, faults) = store.read(|conn| Ok((memories(conn), books::faults(conn)))).expect("a read");
            let changed = books::difference(&written.join("\n"), &now.join("\n"));
            assert_eq!((changed.as_str(), faults), ("", Vec::new()), "{context}");
            nth += stride;
        }
    }
    assert!(stops > 10, "{stops}");
}

/// Tells whether all of a store was brought forward, or nothing: the first that is done, and the last.
fn is_forward(conn: &Connection, context: &str) -> bool {
    let there = |sql| conn.prepare(sql).is_ok();
    let (first, last) = ("SELECT sync_id FROM observations", "SELECT takes_time FROM engramd_journal");
    // The younger of the two ages has the column already.
    assert!(there(first) || !there(last), "{context}: all of it or nothing");
    there(last)
}

/// What lies in the directory of copies, by how it ends.
fn copies(dir: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("backups")).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == end)).collect()
}

/// DUR-1: a daemon that has a large store of an older age is killed at random moments of its start, and at named
/// failpoints, again and again, until one comes up: nothing that was in it is lost, changed or there twice.
#[test]
fn dur_1_kills_while_a_store_is_brought_forward_lose_nothing() {
    let (mut dice, mut kills, mut midway, mut met, mut kept) = (Dice::new(12), 0, 0, 0, 0);
    for age in ["v2026-02", "v2026-04"].iter().cycle().take(usize::try_from(2 * rounds()).expect("few")) {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("device");
        std::fs::create_dir(&dir).expect("made");
        fixture(&dir, age);
        let conn = Connection::open(dir.join("engram.db")).expect("a file");
        let many = format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MEMORIES})
             INSERT INTO observations (session_id, type, title, content, project)
             SELECT s.id, 'decision', 'note ' || i, 'about ' || i, s.project
             FROM n, (SELECT id, project FROM sessions ORDER BY id LIMIT 1) AS s"
        );
        conn.execute_batch(&many).expect("written");
        let written = memories(&conn).join("\n");
        drop(conn);
        let mut longest_us = FIRST_US;
        for start in 1.. {
            let context = format!("{age}, start {start}");
            let mut process = if dice.below(3) > 0 {
                let mut program = daemon(&dir);
                Process::new(program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"))
            } else {
                let point = POINTS[usize::try_from(dice.below(POINTS.len() as u64)).expect("few")];
                let mut child = Process::new(child::daemon_with(&dir, &named(point, &mut dice)));
                met += u64::from(dies(&mut child));
                child
            };
            moment_within(longest_us, &mut dice);
            process.kill();
            kills += 1;
            let copy = books::copied(&dir, "engram.db");
            let conn = Connection::open(copy.path().join("engram.db")).expect("it opens");
            assert_eq!(books::difference(&written, &memories(&conn).join("\n")), "", "{context}");
            assert_eq!(books::faults(&conn), Vec::<String>::new(), "{context}");
            if is_forward(&conn, &context) {
                break;
            }
            midway += u64::from(!copies(&dir, "part").is_empty() || !copies(&dir, "db").is_empty());
            longest_us += longest_us / 2;
        }
        let mut device = Device::start(&dir);
        let list = device.json(&["list", "--limit", "100000"]);
        let shown = list["observations"].as_array().map_or(0, Vec::len) as u64;
        assert!(shown >= MEMORIES, "{age}: {shown} are shown");
        assert_eq!(device.daemon.terminate(), Some(0));
        let store = opened(&dir).expect("it opens");
        let (now, faults) = store.read(|conn| Ok((memories(conn), books::faults(conn)))).expect("a read");
        assert_eq!((books::difference(&written, &now.join("\n")).as_str(), faults), ("", Vec::new()), "{age}");
        assert_eq!(now.len(), written.lines().count(), "{age}: nothing is there twice");
        assert_eq!(copies(&dir, "part"), Vec::<PathBuf>::new(), "{age}: half a copy takes no room");
        for copy in copies(&dir, "db") {
            let conn = Connection::open(&copy).expect("it opens");
            let changed = books::difference(&written, &memories(&conn).join("\n"));
            let context = format!("{age}: {} is whole", copy.display());
            assert_eq!((changed.as_str(), books::faults(&conn)), ("", Vec::new()), "{context}");
        }
        kept += now.len() as u64;
    }
    eprintln!("migration: {kills} kills ({met} at failpoints, {midway} with a copy begun), {kept} rows kept");
    assert!(midway > 0, "no kill came in the middle");
    ledger::add_up("migration", kills, kept);
}
