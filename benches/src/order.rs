//! R1: rows lost, many pushers against tailing readers (CUR-2), on both stores, and on a writer without our lock.

use crate::report::{Counted, Line, Report};
use crate::stopwatch::{Stopwatch, per_second, percentile};
use crate::tally::{BATCH_ROWS, SILENCE, Tally};
use crate::unsafe_writer;
use engram_cloud::clock::Clock;
use engram_cloud::config::DatabaseUrl;
use engram_cloud::journal::embedded::Embedded;
use engram_cloud::journal::postgres::Postgres;
use engram_cloud::journal::{Batch, Entry, Fate, Journal, PageAsk, Pushed};
use engram_cloud::keep::DataDir;
use engram_proto::http::push::PushEntry;
use engram_proto::id::ProjectName;
use engram_tests::postgres::Database;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PROJECTS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

/// What a run of one store brought.
struct Run {
    told: Tally,
    seen: Vec<Tally>,
    latencies: Vec<Duration>,
    took: Duration,
}

impl Run {
    fn rows_per_s(&self) -> f64 {
        per_second(self.told.rows, self.took)
    }
}

/// Runs `rows` rows, half of them on each store.
pub(crate) async fn bench(report: &mut Report, rows: u64, pushers: u64, readers: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let keep = DataDir::claim(&dir.path().join("cloud")).expect("the directory is free");
    let journal = Embedded::open(keep, Clock::system()).expect("the store opens");
    let run = tail_pushers(journal.clone(), rows / 2, pushers, readers).await;
    journal.close().await;
    tell(report, "embedded", run);
    let Some(database) = Database::new() else { return };
    let url = DatabaseUrl::parse(&database.url()).expect("an address");
    let journal = Postgres::open(url.options(), Clock::system()).await.expect("the store opens");
    let run = tail_pushers(journal.clone(), rows / 2, pushers, readers).await;
    journal.close().await;
    let rows_per_s = run.rows_per_s();
    tell(report, "Postgres", run);
    let unsafe_run = unsafe_writer::run(&database.url(), rows / 20, pushers, readers).await;
    let of = format!(
        "{:.2} of a bare BIGSERIAL writer, which lost {} of {} rows",
        rows_per_s / unsafe_run.rows_per_s,
        unsafe_run.lost,
        unsafe_run.rows
    );
    report.add(Line::new("R1", "Postgres against a writer without a lock", of, "–"));
}

fn tell(report: &mut Report, store: &str, mut run: Run) {
    let most = run.seen.iter().map(|seen| run.told.rows.saturating_sub(seen.rows)).max().unwrap_or(0);
    let doubled = run.seen.iter().map(|seen| seen.rows.saturating_sub(run.told.rows)).max().unwrap_or(0);
    // The same count of other rows is a loss, too.
    let other = run.seen.iter().any(|seen| seen.rows == run.told.rows && seen.sum != run.told.sum);
    let lost = most + u64::from(other);
    let (p50, p99) = (percentile(&mut run.latencies, 0.5), percentile(&mut run.latencies, 0.99));
    let what = format!("{} rows, {} readers, {store}", run.told.rows, run.seen.len());
    let measured = format!(
        "{lost} lost, {doubled} doubled; {:.0} rows/s; push of {BATCH_ROWS}: p50 {p50:.0?}, p99 {p99:.0?}",
        run.rows_per_s()
    );
    report.add(Line::new("R1", what, measured, "0 of 10 M"));
    report.count(Counted { what: format!("R1 {store}"), count: run.told.rows, lost, doubled });
}

async fn tail_pushers<J: Journal>(journal: J, rows: u64, pushers: u64, readers: usize) -> Run {
    let batches = (rows / pushers / BATCH_ROWS).max(1);
    let expected = batches * pushers * BATCH_ROWS;
    let watch = Stopwatch::start();
    let pushed = Arc::new(AtomicBool::new(false));
    let tailing = |_| tokio::spawn(tail(journal.clone(), expected, Arc::clone(&pushed)));
    let readers: Vec<_> = (0..readers).map(tailing).collect();
    let pushers: Vec<_> = (0..pushers).map(|at| tokio::spawn(push_all(journal.clone(), at, batches))).collect();
    let (mut told, mut latencies) = (Tally::default(), Vec::new());
    for pusher in pushers {
        let (tally, took) = pusher.await.expect("a pusher");
        told.join(tally);
        latencies.extend(took);
    }
    let took = watch.elapsed();
    pushed.store(true, Ordering::SeqCst);
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.await.expect("a reader"));
    }
    Run { told, seen, latencies, took }
}

async fn push_all<J: Journal>(journal: J, pusher: u64, batches: u64) -> (Tally, Vec<Duration>) {
    let (mut told, mut took) = (Tally::default(), Vec::new());
    for batch in 0..batches {
        let project = PROJECTS[usize::try_from((pusher + batch) % 4).unwrap_or(0)];
        let entries = (0..BATCH_ROWS).map(|row| memory(project, &format!("{pusher}-{batch}-{row}")));
        let batch = Batch::new("bench", entries.map(|entry| Entry::read(name(project), entry)).collect());
        let watch = Stopwatch::start();
        let pushed = journal.push(batch).await.expect("the store takes it");
        took.push(watch.elapsed());
        let Pushed::Done(fates) = pushed else { panic!("{pushed:?}") };
        for fate in fates {
            let Fate::Accepted(row) = fate else { panic!("{fate:?}") };
            told.add(row.seq);
        }
    }
    (told, took)
}

async fn tail<J: Journal>(journal: J, expected: u64, pushed: Arc<AtomicBool>) -> Tally {
    let mut cursors: BTreeMap<ProjectName, u64> = PROJECTS.iter().map(|project| (name(project), 0)).collect();
    let mut seen = Tally::default();
    while seen.rows < expected {
        let listener = journal.listen(cursors.keys().cloned().collect());
        let ask = PageAsk { cursors: cursors.clone(), rows_max: 1_000, bytes_max: 4 << 20, witness: None };
        let page = journal.page(ask).await.expect("a page").expect("no witness to miss");
        page.rows.iter().for_each(|row| seen.add(row.seq));
        cursors.extend(if page.has_more { page.cursors } else { page.heads });
        if !page.rows.is_empty() {
            continue;
        }
        // While pushes are under way, silence is a slow machine's.
        let was_pushed = pushed.load(Ordering::SeqCst);
        if tokio::time::timeout(SILENCE, listener.rung()).await.is_err() && was_pushed {
            break;
        }
    }
    seen
}

fn name(text: &str) -> ProjectName {
    ProjectName::parse(text).expect("a name")
}

fn memory(project: &str, id: &str) -> PushEntry {
    let payload = json!({
        "sync_id": id, "session_id": "s", "type": "decision", "title": format!("title of {id}"),
        "content": "Local SQLite stays the source of truth, whatever the cloud says of it. ".repeat(4),
        "scope": "project", "revision_count": 1, "duplicate_count": 1,
        "created_at": "2026-11-22 14:00:00", "updated_at": "2026-11-22 14:00:00",
    });
    PushEntry {
        project: project.to_owned(),
        entity: "observation".to_owned(),
        entity_key: id.to_owned(),
        op: "upsert".to_owned(),
        payload,
        mutation_id: Some(format!("bench:{id}")),
        base: None,
    }
}
