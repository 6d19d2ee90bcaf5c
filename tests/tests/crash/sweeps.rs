//! Every durable step of a device's store, one after another: stopped there, failed there, full from there on.
#![expect(clippy::needless_range_loop, reason = "an operation is named by its place")]

use crate::script::{Device, Failed, OPS, PULLED, alpha};
use crate::{Dice, books, one_step, rounds};
use engram_tests::disk::{Disk, Fate, Plan, Step};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What a course without faults looks like after each operation, and how many durable steps it takes.
struct Course {
    after: Vec<String>,
    canonical: String,
}

fn place() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("device");
    std::fs::create_dir(&dir).expect("made");
    (temp, dir)
}

fn device(dir: &Path, step_s: i64) -> Device {
    let mut device = Device::new(dir);
    device.step_s = step_s;
    device
}

fn course(step_s: i64) -> Course {
    let (_temp, dir) = place();
    let mut device = device(&dir, step_s);
    let mut after = Vec::new();
    for op in 0..OPS.len() {
        device.run(op).unwrap_or_else(|error| panic!("{}: {error}", OPS[op]));
        books::check(device.store(), &alpha(), OPS[op]);
        after.push(books::dump(device.store()));
    }
    Course { after, canonical: canonical(&mut device) }
}

fn canonical(device: &mut Device) -> String {
    let store = device.store();
    let id = store.device_id().to_owned();
    store.canonical_dump(&alpha()).expect("a dump").replace(&id[..8], "DEV")
}

/// Does what is left of the course.
fn go_on(device: &mut Device, from: usize, context: &str) {
    if device.store.is_none() {
        device.open().unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    // A process that starts anew takes the lease anew, and its clock is where it is.
    let released = OPS.iter().position(|op| *op == "release").expect("there");
    if (3..=released).contains(&from) {
        device.lease(1_000).unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    for op in from..OPS.len() {
        device.run(op).unwrap_or_else(|error| panic!("{context}, then {}: {error}", OPS[op]));
    }
    books::check(device.store(), &alpha(), context);
}

/// The course until the fate has come: the operation that did not end well.
fn until_failure(device: &mut Device, disk: &Disk) -> Option<(usize, Failed)> {
    for op in 0..OPS.len() {
        if let Err(error) = device.run(op) {
            return Some((op, error));
        }
        if disk.met() {
            // It was met and borne, as a checkpoint may be.
            return None;
        }
    }
    None
}

/// Goes on with every n-th step until the course has no such step; continuous integration looks at a part of them.
fn every_step(part: u64, seed: u64, mut meet: impl FnMut(u64) -> bool) -> u64 {
    if let Some(nth) = one_step() {
        meet(nth);
        return u64::MAX;
    }
    let stride = (part / rounds()).max(1);
    let mut nth = 1 + Dice::new(seed).below(stride);
    let mut met = 0;
    while meet(nth) {
        met += 1;
        nth += stride;
    }
    met
}

fn stop_everywhere(step_s: i64, part: u64, seed: u64) -> u64 {
    let course = course(step_s);
    let (_temp, dir) = place();
    every_step(part, seed, |nth| {
        books::clear(&dir);
        let disk = Disk::watch(&dir);
        let mut device = device(&dir, step_s);
        disk.plan(Plan::nth(nth, Fate::Stops));
        let mut done = 0;
        while done < OPS.len() && !disk.met() {
            if device.run(done).is_err() {
                break;
            }
            done += 1;
        }
        if !disk.met() {
            return false;
        }
        // What was answered before the step that was the last is done; the operation in its way may be.
        device.store = None;
        let mut dice = Dice::new(nth);
        let power = if dice.below(3) == 0 { "process" } else { "power" };
        let mut answered = done;
        if power == "power" {
            disk.lose_power(&mut || dice.draw());
            // What was pulled may be pulled again (local-store.md), until something else was written after it.
            let wrote_nothing = |op: usize| op > 0 && course.after[op] == course.after[op - 1];
            while answered > 0 && (PULLED.contains(&OPS[answered - 1]) || wrote_nothing(answered - 1)) {
                answered -= 1;
            }
        }
        drop(disk);
        let context = format!("{power} lost at step {nth}, in {}", OPS[done.min(OPS.len() - 1)]);
        device.open().unwrap_or_else(|error| panic!("{context}: {error}"));
        books::check(device.store(), &alpha(), &context);
        let now = books::dump(device.store());
        let before = |done: usize| done.checked_sub(1).map_or("", |op| course.after[op].as_str());
        let ends = answered..=(done + 1).min(OPS.len());
        let from = ends.clone().find(|&done| now == before(done)).or((done == 0).then_some(0));
        let from = from.unwrap_or_else(|| {
            let differences = ends.map(|done| books::difference(before(done), &now));
            panic!("{context}: neither before nor after\n{}", differences.collect::<Vec<_>>().join("\nnor\n"))
        });
        go_on(&mut device, from, &context);
        assert_eq!(canonical(&mut device), course.canonical, "{context}");
        true
    })
}

/// DUR-1, CUR-1, ACK-2: a power cut at any durable step leaves what was answered, and of what was under way all or
/// nothing; the course then ends as without it.
#[test]
fn dur_1_cur_1_a_power_cut_at_any_step_loses_nothing_answered() {
    let met = stop_everywhere(1, 29, 1);
    assert!(met > 10, "{met} steps");
}

/// The same while the clock goes back an hour with every operation: what is durable does not hang on it.
#[test]
fn dur_1_a_clock_set_back_changes_nothing_of_it() {
    let met = stop_everywhere(-3_600, 53, 2);
    assert!(met > 10, "{met} steps");
}

/// DUR-1: an operation that failed for the disk left nothing behind, the next ones work, and done again it is done once.
#[test]
fn dur_1_an_error_of_the_disk_at_any_step_leaves_nothing_behind() {
    let course = course(1);
    let (_temp, dir) = place();
    let all = [Step::Read, Step::Write, Step::Sync, Step::Truncate, Step::Delete];
    let met = every_step(53, 3, |nth| {
        books::clear(&dir);
        let disk = Disk::watch(&dir);
        let mut device = device(&dir, 1);
        disk.plan(Plan { steps: all.to_vec(), ..Plan::nth(nth, Fate::Fails) });
        let failure = until_failure(&mut device, &disk);
        if let Some((op, error)) = &failure {
            let context = format!("step {nth} failed ({}), {}: {error}", disk.what(), OPS[*op]);
            if device.store.is_some() {
                let before = op.checked_sub(1).map_or("", |op| &course.after[op]);
                assert_eq!(books::difference(before, &books::dump(device.store())), "", "{context}");
            }
            if device.store.is_some() {
                books::check(device.store(), &alpha(), &context);
            }
            for op in *op..OPS.len() {
                device.run(op).unwrap_or_else(|error| panic!("{context}, then {}: {error}", OPS[op]));
                books::check(device.store(), &alpha(), &format!("{context}, after {}", OPS[op]));
            }
            device.open().expect("it opens again");
            books::check(device.store(), &alpha(), &format!("{context}, opened again"));
            let last = &course.after[OPS.len() - 1];
            assert_eq!(books::difference(last, &books::dump(device.store())), "", "{context}");
        }
        disk.met()
    });
    assert!(met > 10, "{met} steps");
}

/// DUR-1: a disk that is full from any step on refuses, keeps what was answered, and goes on with room.
#[test]
fn dur_1_a_disk_full_from_any_step_on_loses_nothing() {
    let course = course(1);
    let (_temp, dir) = place();
    let met = every_step(31, 4, |nth| {
        books::clear(&dir);
        let disk = Disk::watch(&dir);
        let mut device = device(&dir, 1);
        disk.plan(Plan { steps: vec![Step::Write], ..Plan::nth(nth, Fate::Full) });
        let mut refused = 0;
        for op in 0..OPS.len() {
            if let Err(error) = device.run(op) {
                refused += 1;
                let context = format!("full from write {nth} on, {}: {error}", OPS[op]);
                assert!(error.contains("full"), "{context}");
                disk.make_room();
                device.run(op).unwrap_or_else(|error| panic!("{context}, with room: {error}"));
                assert_eq!(books::difference(&course.after[op], &books::dump(device.store())), "", "{context}");
            }
        }
        assert!(refused <= 1 || !disk.met());
        books::check(device.store(), &alpha(), &format!("full from write {nth} on"));
        disk.met()
    });
    assert!(met > 10, "{met} writes");
}

/// DUR-1: a log that grew while somebody read is cut by the first write after it was moved into the file; a process
/// that dies there, a power cut, or a disk that fails to, loses nothing that was answered.
#[test]
fn dur_1_the_log_is_cut_without_a_loss() {
    for (fate, power) in [(Fate::Stops, false), (Fate::Stops, true), (Fate::Fails, false)] {
        let context = format!("{fate:?}, power cut: {power}");
        let (_temp, dir) = place();
        let disk = Disk::watch(&dir);
        let mut device = device(&dir, 1);
        for op in 0..=OPS.iter().position(|op| *op == "session").expect("there") {
            device.run(op).expect("it works");
        }
        let reader = rusqlite::Connection::open(dir.join("engram.db")).expect("the store");
        reader.execute_batch("BEGIN; SELECT count(*) FROM observations;").expect("read");
        let (log, text) = (dir.join("engram.db-wal"), "words ".repeat(8_000));
        let mut saved = 0;
        while log.metadata().expect("the log").len() < 20 << 20 {
            device.save_text(&format!("long {saved}"), &format!("{saved} {text}")).expect("saved");
            saved += 1;
        }
        drop(reader);
        device.store().checkpoint().expect("moved");
        disk.plan(Plan { file: "-wal".to_owned(), steps: vec![Step::Truncate], nth: 1, fate });
        let last = device.save_text("the one after", "short");
        assert!(disk.met(), "{context}: the log was not cut");
        device.store = None;
        if power {
            disk.lose_power(&mut || 0);
        }
        drop(disk);
        device.open().unwrap_or_else(|error| panic!("{context}: {error}"));
        books::check(device.store(), &alpha(), &context);
        let count = "SELECT count(*) FROM observations";
        let there: i64 = device.store().read(|conn| Ok(conn.query_row(count, [], |row| row.get(0))?)).expect("a read");
        let ends = if last.is_ok() { saved + 1..=saved + 1 } else { saved..=saved + 1 };
        assert!(ends.contains(&there), "{context}: {saved} were answered, then {last:?}; {there} are there");
        device.save_text("and on", "short").unwrap_or_else(|error| panic!("{context}: {error}"));
    }
}
