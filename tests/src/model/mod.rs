//! A cloud in memory: the rules of admission over plain maps, instead of a database.
//!
//! It passes the contract suite like the real journals, so what the simulator proves beside it holds beside them.
//! The simulator calls its plain functions; the suite, and the real router, reach it as a [`Journal`].

mod compaction;
mod disk;
mod page;
mod rail;

pub use disk::{Disk, Row};
use engram_cloud::clock::Clock;
use engram_cloud::journal::admit::{Admission, Facts};
use engram_cloud::journal::compaction::{Compacted, Retention};
use engram_cloud::journal::{
    Batch, Control, GrantAsk, GrantRows, Journal, JournalError, Listener, Listeners, Page, PageAsk, Pushed, SessionKey,
    SessionNow,
};
use engram_proto::id::ProjectName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A data set; it outlives the journals that are opened on it.
pub type SharedDisk = Arc<Mutex<Disk>>;

/// A journal over a [`Disk`].
#[derive(Clone)]
pub struct ModelJournal(Arc<Shared>);

struct Shared {
    disk: SharedDisk,
    cloud_id: String,
    clock: Clock,
    listeners: Listeners,
    is_closed: AtomicBool,
    turn: AtomicUsize,
}

impl ModelJournal {
    /// Opens a data set.
    ///
    /// # Panics
    /// Where another user of it panicked.
    #[must_use]
    pub fn open(disk: SharedDisk, clock: Clock) -> Self {
        let cloud_id = disk.lock().expect("nobody panicked").cloud_id.clone();
        let listeners = Listeners::default();
        let shared = Shared { disk, cloud_id, clock, listeners, is_closed: false.into(), turn: 0.into() };
        Self(Arc::new(shared))
    }

    /// Reaches what it holds.
    ///
    /// # Panics
    /// Where another user of it panicked.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.disk.lock().expect("nobody panicked")
    }

    /// Merges a batch into the journal.
    pub fn push_now(&self, batch: &Batch) -> Pushed {
        let batches = std::slice::from_ref(batch);
        let facts = Facts::asked_by(batches);
        let mut disk = self.disk();
        let mut admission = Admission::new(disk.answer(facts, batches), self.now_us());
        let pushed = admission.batch(batch);
        let changes = admission.changes();
        let touched = changes.touched();
        disk.write(changes);
        drop(disk);
        self.wake(&touched);
        pushed
    }

    fn now_us(&self) -> i64 {
        self.0.clock.now_us()
    }

    fn wake(&self, touched: &BTreeSet<ProjectName>) {
        self.0.listeners.wake(touched);
    }

    /// Reads a page of several projects, `None` where the row of the witness is not here; projects that do not fit on one page take turns.
    #[must_use]
    pub fn page_now(&self, ask: &PageAsk) -> Option<Page> {
        page::page(&self.disk(), ask, self.0.turn.fetch_add(1, Ordering::Relaxed))
    }

    fn open_disk(&self) -> Result<MutexGuard<'_, Disk>, JournalError> {
        if self.0.is_closed.load(Ordering::SeqCst) { Err(JournalError::Closed) } else { Ok(self.disk()) }
    }
}

impl Journal for ModelJournal {
    fn cloud_id(&self) -> &str {
        &self.0.cloud_id
    }

    async fn ping(&self) -> Result<(), JournalError> {
        self.open_disk().map(drop)
    }

    async fn push(&self, batch: Batch) -> Result<Pushed, JournalError> {
        self.open_disk().map(drop)?;
        Ok(self.push_now(&batch))
    }

    async fn page(&self, ask: PageAsk) -> Result<Option<Page>, JournalError> {
        Ok(self.page_now(&ask))
    }

    async fn grant_page(&self, ask: GrantAsk) -> Result<GrantRows, JournalError> {
        Ok(page::grant_page(&*self.open_disk()?, &ask))
    }

    async fn sessions(&self, asked: BTreeSet<SessionKey>) -> Result<BTreeMap<SessionKey, SessionNow>, JournalError> {
        Ok(self.open_disk()?.sessions(&asked))
    }

    fn listen(&self, projects: Vec<ProjectName>) -> Listener {
        self.0.listeners.listen(projects)
    }

    async fn controls(&self) -> Result<Vec<Control>, JournalError> {
        Ok(self.open_disk()?.controls.values().cloned().collect())
    }

    async fn set_control(&self, control: Control) -> Result<(), JournalError> {
        self.open_disk()?.controls.insert(control.project.clone(), control);
        Ok(())
    }

    async fn compact(&self, retention: Retention) -> Result<Compacted, JournalError> {
        self.open_disk().map(drop)?;
        Ok(self.compact_now(&retention))
    }

    async fn close(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
    }
}
