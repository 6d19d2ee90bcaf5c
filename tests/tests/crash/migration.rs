//! A store of an older age is brought forward: whatever stops it, the memories are there, and the next start ends it.

use crate::{Dice, books, rounds};
use engram_proto::time::RowTime;
use engram_tests::disk::{Disk, Fate, Plan};
use engramd::store::Store;
use rusqlite::Connection;
use std::path::Path;

fn at() -> RowTime {
    RowTime::parse("2026-11-22 14:00:00").expect("a time")
}

fn fixture(dir: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/store/v2026-02.db");
    std::fs::write(dir.join("engram.db"), std::fs::read(from).expect("the fixture")).expect("copied");
}

/// What people wrote, in the columns that every age has.
fn memories(conn: &Connection) -> Vec<String> {
    let sql = "SELECT id || '|' || session_id || '|' || type || '|' || title || '|' || content FROM observations
        UNION ALL SELECT id || '|' || lower(project) || '|' || directory || '|' || started_at FROM sessions
        UNION ALL SELECT id || '|' || session_id || '|' || content FROM user_prompts";
    let mut statement = conn.prepare(sql).expect("a statement");
    statement.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a row")).collect()
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
    fixture(&dir);
    let written = memories(&Connection::open(dir.join("engram.db")).expect("a file"));
    assert!(!written.is_empty());
    let (mut stops, stride) = (0, (29 / rounds()).max(1));
    for fate in [Fate::Stops, Fate::Fails] {
        let mut nth = 1 + Dice::new(5).below(stride);
        loop {
            books::clear(&dir);
            fixture(&dir);
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
