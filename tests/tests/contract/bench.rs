//! How a case opens a store, and the words it speaks to one.

use engram_cloud::auth::Grant;
use engram_cloud::clock::Clock;
use engram_cloud::config::DatabaseUrl;
use engram_cloud::journal::embedded::Embedded;
use engram_cloud::journal::postgres::Postgres;
use engram_cloud::journal::{Batch, Entry, Fate, GrantAsk, Journal, Page, PageAsk, Pushed, Told};
use engram_cloud::keep::DataDir;
use engram_proto::http::pull::PulledMutation;
use engram_proto::http::push::PushEntry;
use engram_proto::id::ProjectName;
use engram_tests::model::{Disk, ModelJournal, SharedDisk};
use engram_tests::postgres::Database;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;
use tempfile::TempDir;

/// No case takes longer than this; one that does hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A data set that can be opened, closed and opened again.
pub(crate) trait Bench: Send + Sync + 'static {
    type Journal: Journal;

    fn open(&self, clock: Clock) -> impl Future<Output = Self::Journal> + Send;
}

pub(crate) struct EmbeddedBench(TempDir);

impl EmbeddedBench {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Bench for EmbeddedBench {
    type Journal = Embedded;

    async fn open(&self, clock: Clock) -> Embedded {
        let dir = DataDir::claim(&self.0.path().join("cloud")).expect("the directory is free");
        Embedded::open(dir, clock).expect("the store opens")
    }
}

pub(crate) struct PostgresBench(pub(crate) Database);

impl PostgresBench {
    pub(crate) fn new() -> Option<Self> {
        Database::new().map(Self)
    }
}

impl Bench for PostgresBench {
    type Journal = Postgres;

    async fn open(&self, clock: Clock) -> Postgres {
        let url = DatabaseUrl::parse(&self.0.url()).expect("an address");
        Postgres::open(url.options(), clock).await.expect("the store opens")
    }
}

pub(crate) struct ModelBench(SharedDisk);

impl ModelBench {
    pub(crate) fn new() -> Self {
        Self(SharedDisk::new(Disk::new("the model").into()))
    }
}

impl Bench for ModelBench {
    type Journal = ModelJournal;

    async fn open(&self, clock: Clock) -> ModelJournal {
        ModelJournal::open(SharedDisk::clone(&self.0), clock)
    }
}

pub(crate) fn name(text: &str) -> ProjectName {
    ProjectName::parse(text).expect("a name")
}

pub(crate) fn entry(project: &str, entity: &str, key: &str, op: &str, payload: Value) -> PushEntry {
    let (project, entity, entity_key, op) = (project.into(), entity.into(), key.into(), op.into());
    PushEntry { project, entity, entity_key, op, payload, mutation_id: None, base: None }
}

pub(crate) fn with_id(id: impl Into<String>, entry: PushEntry) -> PushEntry {
    PushEntry { mutation_id: Some(id.into()), ..entry }
}

pub(crate) fn session(project: &str, id: &str) -> PushEntry {
    entry(project, "session", id, "upsert", json!({"id": id, "directory": "/src", "started_at": "2026-11-22 10:00:00"}))
}

/// A memory as of a minute of one hour; the revision follows it.
pub(crate) fn memory(project: &str, id: &str, title: &str, minute: u32) -> PushEntry {
    let at = format!("2026-11-22 14:{minute:02}:00");
    let payload = json!({
        "sync_id": id, "session_id": "s", "type": "decision", "title": title, "content": "content of it",
        "scope": "project", "revision_count": minute + 1, "duplicate_count": 1,
        "created_at": "2026-11-22 14:00:00", "updated_at": at,
    });
    entry(project, "observation", id, "upsert", payload)
}

pub(crate) fn prompt(project: &str, id: &str, created_at: &str) -> PushEntry {
    let payload = json!({"sync_id": id, "session_id": "s", "content": "why?", "created_at": created_at});
    entry(project, "prompt", id, "upsert", payload)
}

/// Pushes each entry for the project it names.
pub(crate) async fn push<J: Journal>(journal: &J, entries: Vec<PushEntry>) -> Pushed {
    let entries = entries.into_iter().map(|entry| Entry::read(name(&entry.project), entry)).collect();
    journal.push(Batch::new("somebody", entries)).await.expect("the store takes it")
}

/// Pushes, and expects an outcome per entry.
pub(crate) async fn fates<J: Journal>(journal: &J, entries: Vec<PushEntry>) -> Vec<Fate> {
    match push(journal, entries).await {
        Pushed::Done(fates) => fates,
        other => panic!("refused: {other:?}"),
    }
}

/// Pushes one entry, and expects it to be appended.
pub(crate) async fn accepted<J: Journal>(journal: &J, entry: PushEntry) -> Told {
    match fates(journal, vec![entry]).await.as_slice() {
        [Fate::Accepted(told)] => *told,
        other => panic!("not accepted: {other:?}"),
    }
}

pub(crate) fn ask(cursors: &[(&str, u64)], rows_max: usize) -> PageAsk {
    let cursors = cursors.iter().map(|&(project, cursor)| (name(project), cursor)).collect();
    PageAsk { cursors, rows_max, bytes_max: 4 << 20, witness: None }
}

pub(crate) async fn page<J: Journal>(journal: &J, cursors: &[(&str, u64)], rows_max: usize) -> Page {
    journal.page(ask(cursors, rows_max)).await.expect("the store answers").expect("a page")
}

/// Reads everything of some projects, page by page, as a device does.
pub(crate) async fn read_all<J: Journal>(journal: &J, projects: &[&str]) -> Vec<PulledMutation> {
    let mut cursors: BTreeMap<ProjectName, u64> = projects.iter().map(|project| (name(project), 0)).collect();
    let mut rows = Vec::new();
    loop {
        let ask = PageAsk { cursors: cursors.clone(), rows_max: 7, bytes_max: 4 << 20, witness: None };
        let page = journal.page(ask).await.expect("the store answers").expect("a page");
        assert!(!page.has_more || !page.rows.is_empty(), "more without progress");
        rows.extend(page.rows);
        cursors.extend(page.cursors);
        if !page.has_more {
            assert_eq!(page.heads, cursors);
            return rows;
        }
    }
}

/// Reads everything of a grant, page by page, as a Go client does.
pub(crate) async fn read_grant<J: Journal>(journal: &J, grant: Grant) -> Vec<PulledMutation> {
    let mut rows: Vec<PulledMutation> = Vec::new();
    let mut since_seq = 0;
    loop {
        let ask = GrantAsk { grant: grant.clone(), since_seq, rows_max: 3, bytes_max: 4 << 20 };
        let page = journal.grant_page(ask).await.expect("the store answers");
        assert!(page.rows.len() <= 3);
        assert!(!page.has_more || page.read_to > since_seq, "more without progress");
        since_seq = page.read_to;
        rows.extend(page.rows);
        if !page.has_more {
            return rows;
        }
    }
}

pub(crate) fn grant(projects: &[&str]) -> Grant {
    Grant::Only(projects.iter().map(|project| name(project)).collect::<BTreeSet<_>>())
}

/// Finds the last row of an entity: its current version, as every puller sees it.
pub(crate) fn last<'a>(rows: &'a [PulledMutation], key: &str) -> &'a PulledMutation {
    rows.iter().rfind(|row| row.entity_key == key).unwrap_or_else(|| panic!("no row of {key}"))
}

/// Fails instead of hanging.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}
