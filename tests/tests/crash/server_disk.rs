//! The server's embedded journal on a disk that loses power, fails, or is full at any step.

use crate::{Dice, books, rounds};
use engram_cloud::clock::Clock;
use engram_cloud::config::Config;
use engram_cloud::journal::embedded::{Embedded, FILE_NAME};
use engram_cloud::journal::{Batch, Entry, Fate as Receipt, Journal, PageAsk, Pushed};
use engram_cloud::keep::{DataDir, Kept};
use engram_proto::http::pull::PulledMutation;
use engram_proto::http::push::PushEntry;
use engram_proto::id::ProjectName;
use engram_tests::disk::{Disk, Fate, Plan, Step};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Batches of one course.
const BATCHES: u64 = 12;

fn alpha() -> ProjectName {
    ProjectName::parse("alpha").expect("a name")
}

/// Opens it as the program does, after the secrets that are kept beside it.
fn open(dir: &Path) -> Result<Embedded, String> {
    let claimed = DataDir::claim(&dir.join("cloud")).map_err(|error| error.to_string())?;
    Kept::complete(&Config::local(dir.join("cloud")), &claimed).map_err(|error| error.to_string())?;
    Embedded::open(claimed, Clock::system()).map_err(|error| error.to_string())
}

fn entry(entity: &str, key: &str, payload: Value) -> Entry {
    let mutation_id = Some(format!("device:{key}:{}", payload["revision_count"]));
    let (project, entity, entity_key, op) = ("alpha".into(), entity.into(), key.into(), "upsert".into());
    Entry::read(alpha(), PushEntry { project, entity, entity_key, op, payload, mutation_id, base: None })
}

fn memory(key: &str, revision: u64) -> Entry {
    let payload = json!({"sync_id": key, "session_id": "s", "type": "note", "title": "t", "content": "c", "scope": "project",
        "revision_count": revision, "duplicate_count": 1, "created_at": "2026-11-22 14:00:00",
        "updated_at": format!("2026-11-22 14:{revision:02}:00")});
    entry("observation", key, payload)
}

/// A session, then memories of which one is written again each time.
fn batch(n: u64) -> Batch {
    let session = json!({"id": "s", "directory": "/src", "started_at": "2026-11-22 10:00:00"});
    let mut entries = if n == 0 { vec![entry("session", "s", session)] } else { Vec::new() };
    entries.extend([memory("obs-again", n + 1), memory(&format!("obs-{n}"), 1)]);
    Batch::new("somebody", entries)
}

async fn push(journal: &Embedded, n: u64) -> Result<Vec<u64>, String> {
    match journal.push(batch(n)).await {
        Ok(Pushed::Done(receipts)) => Ok(receipts
            .iter()
            .map(|receipt| match receipt {
                Receipt::Accepted(told) | Receipt::Duplicate(told) => told.seq,
                other => panic!("batch {n}: {other:?}"),
            })
            .collect()),
        Ok(other) => panic!("batch {n}: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

async fn rows(journal: &Embedded) -> Vec<PulledMutation> {
    let ask = PageAsk { cursors: BTreeMap::from([(alpha(), 0)]), rows_max: 1_000, bytes_max: 4 << 20, witness: None };
    journal.page(ask).await.expect("a page").expect("no witness to miss").rows
}

/// Looks at the file itself, as it lies in a copy, once there is a journal in it.
fn check(dir: &Path, context: &str) {
    let copy = books::copied(&dir.join("cloud"), FILE_NAME);
    let conn = Connection::open(copy.path().join(FILE_NAME)).expect("it opens");
    let whole = "SELECT count(*) = 2 FROM sqlite_schema WHERE name IN ('cloud_mutations', 'cloud_audit_control')";
    if conn.query_row(whole, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{context}: {error}")) {
        assert_eq!(books::server_faults(&conn), Vec::<String>::new(), "{context}");
    }
}

/// Plays the course until its end, or until the process dies; a disk that only fails is asked once more, as a device asks
/// again. Tells which rows were answered.
async fn play(dir: &Path, disk: &Disk, fate: Fate) -> Vec<u64> {
    let mut told = Vec::new();
    let mut opened = open(dir);
    if let (Err(error), true) = (&opened, fate != Fate::Stops) {
        let context = format!("{fate:?} at {}: {error}", disk.what());
        assert!(disk.met(), "{context}");
        disk.make_room();
        opened = Ok(open(dir).unwrap_or_else(|again| panic!("{context}, then {again}")));
    }
    let Ok(journal) = opened else { return told };
    for n in 0..BATCHES {
        let mut pushed = push(&journal, n).await;
        if let (Err(error), true) = (&pushed, fate != Fate::Stops) {
            let context = format!("{fate:?} at {}, batch {n}: {error}", disk.what());
            assert!(disk.met() && (fate != Fate::Full || error.contains("full")), "{context}");
            let kept: Vec<_> = rows(&journal).await.iter().map(|row| row.seq).collect();
            assert_eq!(kept, told, "{context}: what was refused left something behind, or took something away");
            disk.make_room();
            pushed = Ok(push(&journal, n).await.unwrap_or_else(|again| panic!("{context}, then {again}")));
        }
        let Ok(seqs) = pushed else { break };
        told.extend(seqs);
    }
    journal.close().await;
    told
}

/// Meets a fate in a course of its own; `false` where the course has no such step.
async fn meet(dir: &Path, plan: Plan) -> bool {
    let Plan { nth, fate, .. } = plan;
    books::clear(dir);
    let disk = Disk::watch(dir);
    disk.plan(plan);
    let told = play(dir, &disk, fate).await;
    if !disk.met() {
        return false;
    }
    let context = format!("{fate:?} at step {nth} ({}), {} rows told", disk.what(), told.len());
    if fate == Fate::Stops {
        let mut dice = Dice::new(nth);
        disk.lose_power(&mut || dice.draw());
    }
    drop(disk);
    check(dir, &context);
    let journal = open(dir).unwrap_or_else(|error| panic!("{context}: {error}"));
    let kept: Vec<_> = rows(&journal).await.iter().map(|row| row.seq).collect();
    // Of the batch under way all may be there; where every batch was answered there is none.
    let under_way = if fate == Fate::Stops { 3 } else { 0 };
    assert!(kept.starts_with(&told) && kept.len() - told.len() <= under_way, "{context}: {told:?}, kept {kept:?}");
    for n in 0..BATCHES {
        push(&journal, n).await.unwrap_or_else(|error| panic!("{context}: batch {n} again: {error}"));
    }
    let all: Vec<_> = rows(&journal).await.iter().map(|row| row.seq).collect();
    assert!(all.starts_with(&kept) && all.len() as u64 == 1 + 2 * BATCHES, "{context}: {kept:?}, now {all:?}");
    journal.close().await;
    check(dir, &context);
    true
}

/// Meets a fate at every so-manieth of some steps, until the course has no such step.
async fn everywhere(fate: Fate, steps: &[Step], part: u64, seed: u64) {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("server");
    std::fs::create_dir(&dir).expect("made");
    let stride = (part / rounds()).max(1);
    let (mut nth, mut met) = (1 + Dice::new(seed).below(stride), 0);
    while meet(&dir, Plan { steps: steps.to_vec(), ..Plan::nth(nth, fate) }).await {
        met += 1;
        nth += stride;
    }
    assert!(met > 10, "{met}");
}

/// DUR-1, IDEM-1: what a batch was told is there after a power cut, of the batch under way all or nothing, and sent again
/// it is there once.
#[tokio::test(flavor = "multi_thread")]
async fn dur_1_the_servers_journal_keeps_what_it_answered_through_a_power_cut() {
    everywhere(Fate::Stops, Step::DURABLE, 13, 6).await;
}

/// DUR-1, IDEM-1: a batch that failed for the disk is refused and left nothing behind, the same journal takes it a moment
/// later, and what was answered before and after is there once.
#[tokio::test(flavor = "multi_thread")]
async fn dur_1_an_error_of_the_servers_disk_at_any_step_loses_nothing_answered() {
    let all = [Step::Read, Step::Write, Step::Sync, Step::Truncate, Step::Delete, Step::Rename];
    everywhere(Fate::Fails, &all, 13, 7).await;
}

/// DUR-1: a server whose disk is full from any write on refuses and says why, keeps what it answered, and goes on with
/// room.
#[tokio::test(flavor = "multi_thread")]
async fn dur_1_a_servers_disk_full_from_any_write_on_loses_nothing_answered() {
    everywhere(Fate::Full, &[Step::Write], 7, 8).await;
}
