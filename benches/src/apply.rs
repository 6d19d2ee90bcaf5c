//! T1, T7, L7: applying pulled rows, against the way of the Go program, and what a search feels of it.

use crate::history::{self, PROJECT, go_store, now};
use crate::report::{Line, Report};
use crate::stopwatch::{Stopwatch, per_second, percentile};
use engram_proto::http::pull::{PullReply, PulledMutation};
use engram_proto::id::ProjectName;
use engram_proto::ipc::request::SearchRequest;
use engram_tests::go::Wire;
use engramd::memory;
use engramd::store::{Store, open_reader};
use engramd_core::rows::{Fence, LeaseOutcome};
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often both sides are measured, one after the other; the middle one counts.
const ROUNDS: usize = 5;
/// Rows that we apply in a round, and rows that the Go program's way applies.
const OURS: u64 = 10_000;
const THEIRS: u64 = 2_000;
const PAGE_ROWS: usize = 1_000;
/// Searches of L7 while nothing happens.
const SEARCHES: usize = 300;

/// Measures.
pub(crate) async fn bench(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let pages = pages(OURS);
    let served = Served(history::rows(THEIRS));
    let (mut ours, mut theirs, mut commits) = (Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        let mut desk = Desk::new(&dir.path().join(format!("ours-{round}.db")));
        let (before, watch) = (desk.store.commits(), Stopwatch::start());
        pages.iter().for_each(|page| desk.apply(page));
        ours.push(watch.elapsed());
        commits = desk.store.commits() - before;
        let (_, mut go) = go_store(dir.path(), &format!("go-{round}.db"));
        let watch = Stopwatch::start();
        go.pull(&served).await.expect("applied");
        theirs.push(watch.elapsed());
    }
    let (ours, theirs) =
        (per_second(OURS, percentile(&mut ours, 0.5)), per_second(THEIRS, percentile(&mut theirs, 0.5)));
    let measured = format!("{ours:.0} rows/s, {:.1} times the Go program's way ({theirs:.0} rows/s)", ours / theirs);
    report.add(Line::new("T1", "applying pulled rows, nobody beside us", measured, "7 times"));
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let per_hundred = commits as f64 * 100.0 / OURS as f64;
    report.add(Line::new("T7", "commits per 100 applied rows", format!("{per_hundred:.2}"), "1"));
    searches(report, dir.path(), &pages);
}

/// L7: the same search on the reading connection, with and without pages being applied.
fn searches(report: &mut Report, dir: &Path, pages: &[String]) {
    let path = dir.join("searched.db");
    let mut desk = Desk::new(&path);
    pages.iter().for_each(|page| desk.apply(page));
    let reader = open_reader(&path).expect("a reader");
    let mut idle: Vec<_> = (0..SEARCHES).map(|_| search(&reader)).collect();
    let done = AtomicBool::new(false);
    let mut busy = Vec::new();
    std::thread::scope(|threads| {
        let applying = threads.spawn(|| {
            // The same rows, edited again and again, so that the search has as much to do as before.
            for edit in 1..=3 {
                let edited = edited(OURS, edit);
                edited.iter().for_each(|page| desk.apply(page));
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            busy.push(search(&reader));
        }
        applying.join().expect("no panic");
    });
    let (idle, busy) = (percentile(&mut idle, 0.99), percentile(&mut busy, 0.99));
    let measured = format!("p99 {busy:.1?} against {idle:.1?} idle: {:.2}x", busy.as_secs_f64() / idle.as_secs_f64());
    report.add(Line::new("L7", "search while rows are applied", measured, "1.2x"));
}

fn search(reader: &Connection) -> Duration {
    let request = SearchRequest { query: "local truth".to_owned(), project: None, kind: None, scope: None, limit: 10 };
    let watch = Stopwatch::start();
    let found = memory::search(reader, &request).expect("an answer");
    assert!(!found.is_empty(), "every memory has these words");
    watch.elapsed()
}

/// Pages as they come over the wire.
fn pages(count: u64) -> Vec<String> {
    history::rows(count).chunks(PAGE_ROWS).map(page).collect()
}

/// The same rows with an edit of each memory.
fn edited(count: u64, edit: u64) -> Vec<String> {
    let mut rows = history::rows(count).split_off(1);
    for row in &mut rows {
        row.seq += edit * count;
        row.payload["revision_count"] = (edit + 1).into();
        row.payload["updated_at"] = now().plus_s(edit.cast_signed()).to_string().into();
    }
    rows.chunks(PAGE_ROWS).map(page).collect()
}

fn page(rows: &[PulledMutation]) -> String {
    let last = rows.last().map_or(0, |row| row.seq);
    let project = ProjectName::parse(PROJECT).expect("a name");
    let reply = PullReply { mutations: rows.to_vec(), cursors: [(project, last)].into(), ..PullReply::default() };
    serde_json::to_string(&reply).expect("JSON")
}

/// A store with a lease.
struct Desk {
    store: Store,
    fence: Fence,
}

impl Desk {
    fn new(path: &Path) -> Self {
        let mut store = Store::open(path, now()).expect("the store opens");
        store.set_stopwatch(engramd::clock::mono_ms);
        store.enroll(&ProjectName::parse(PROJECT).expect("a name"), now()).expect("enrolled");
        match store.acquire_lease("engramd-bench", 0, 60_000).expect("a lease") {
            LeaseOutcome::Granted { fence, .. } => Self { store, fence },
            held => panic!("{held:?}"),
        }
    }

    fn apply(&mut self, page: &str) {
        let page: PullReply = serde_json::from_str(page).expect("a page");
        self.store.apply_page(&self.fence, "cloud", &BTreeMap::new(), &page, now()).expect("applied");
    }
}

/// A server that is asked for pages in memory.
struct Served(Vec<PulledMutation>);

impl Wire for Served {
    async fn push(&self, _: String) -> (u16, String) {
        (500, String::new())
    }

    async fn page(&self, since_seq: u64, limit: usize) -> (u16, String) {
        let rest = self.0.partition_point(|row| row.seq <= since_seq);
        let end = self.0.len().min(rest + limit);
        let body = json!({"mutations": self.0[rest..end], "has_more": end < self.0.len(), "latest_seq": end});
        (200, body.to_string())
    }
}
