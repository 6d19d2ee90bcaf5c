//! The server's embedded journal on a disk that loses power at any durable step.

use crate::{Dice, books, rounds};
use engram_cloud::clock::Clock;
use engram_cloud::config::Config;
use engram_cloud::journal::embedded::{Embedded, FILE_NAME};
use engram_cloud::journal::{Batch, Entry, Fate as Receipt, Journal, PageAsk, Pushed};
use engram_cloud::keep::{DataDir, Kept};
use engram_proto::http::pull::PulledMutation;
use engram_proto::http::push::PushEntry;
use engram_proto::id::ProjectName;
use engram_tests::disk::{Disk, Fate, Plan};
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

async fn push(journal: &Embedded, n: u64) -> Option<Vec<u64>> {
    match journal.push(batch(n)).await {
        Ok(Pushed::Done(receipts)) => Some(
            receipts
                .iter()
                .map(|receipt| match receipt {
                    Receipt::Accepted(told) | Receipt::Duplicate(told) => told.seq,
                    other => panic!("batch {n}: {other:?}"),
                })
                .collect(),
        ),
        Ok(other) => panic!("batch {n}: {other:?}"),
        Err(_) => None,
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

/// DUR-1, IDEM-1: what a batch was told is there after a power cut, of the batch under way all or nothing, and sent again
/// it is there once.
#[tokio::test(flavor = "multi_thread")]
async fn dur_1_the_servers_journal_keeps_what_it_answered_through_a_power_cut() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("server");
    std::fs::create_dir(&dir).expect("made");
    let stride = (13 / rounds()).max(1);
    let (mut nth, mut met) = (1 + Dice::new(6).below(stride), 0);
    loop {
        books::clear(&dir);
        let disk = Disk::watch(&dir);
        disk.plan(Plan::nth(nth, Fate::Stops));
        let mut told = Vec::new();
        if let Ok(journal) = open(&dir) {
            for n in 0..BATCHES {
                let Some(seqs) = push(&journal, n).await else { break };
                told.extend(seqs);
            }
            journal.close().await;
        }
        if !disk.met() {
            break;
        }
        met += 1;
        let mut dice = Dice::new(nth);
        disk.lose_power(&mut || dice.draw());
        drop(disk);
        let context = format!("stopped at step {nth}, {} rows told", told.len());
        check(&dir, &context);
        let journal = open(&dir).unwrap_or_else(|error| panic!("{context}: {error}"));
        let kept: Vec<_> = rows(&journal).await.iter().map(|row| row.seq).collect();
        assert!(kept.starts_with(&told) && kept.len() - told.len() <= 3, "{context}: {told:?}, kept {kept:?}");
        for n in 0..BATCHES {
            push(&journal, n).await.unwrap_or_else(|| panic!("{context}: batch {n} again"));
        }
        let all: Vec<_> = rows(&journal).await.iter().map(|row| row.seq).collect();
        assert!(all.starts_with(&kept) && all.len() as u64 == 1 + 2 * BATCHES, "{context}: {kept:?}, now {all:?}");
        journal.close().await;
        check(&dir, &context);
        nth += stride;
    }
    assert!(met > 10, "{met}");
}
