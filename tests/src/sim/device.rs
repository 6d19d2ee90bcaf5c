//! One device: a real store in memory and a real machine, and what a daemon does between them.

use super::beside::Beside;
use super::books::{Books, Held, Looked};
use super::clouds::Said;
use super::laws::Law;
use super::loud::Silence;
use super::stock::{self, Fuse, Stocked, Trail};
use super::talk::Talk;
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engramd::driver::{self, Counted, machine_settings};
use engramd::store::{Store, StoreError};
use engramd_core::rows::{Clocks, Counts, Fence};
use engramd_core::{Cloud, Effect, Event, Machine, Now, StoreTrouble};
use std::rc::Rc;

const LEASE_TTL_MS: i64 = 120_000;

/// Rows of history, or of a remirror, queued in one transaction; few, so that a device can die between two.
const SLICE_ROWS: u32 = 3;

/// What the machine hears of work on the store.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The counts, made in the same turn of the store's thread.
    pub(super) counted: Option<Counted>,
    /// The answer.
    pub(super) event: Option<Event>,
    /// How many loads there had been when projects were read; older ones than the last load's are not heard, as in the
    /// driver.
    pub(super) loads: Option<u64>,
    /// Whether the history of a project goes on to be queued.
    pub(super) more: bool,
    /// Whether everything is to be read anew, for all of it is queued now.
    pub(super) reload: bool,
}

/// Work for the store's thread.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// What the machine wants.
    Effect(Box<Effect>),
    /// The next slice of a project's history.
    Backfill(ProjectName),
    /// What other processes wrote.
    LookBeside,
}

/// One device.
pub(super) struct Device {
    /// Its name, for the tape.
    pub(super) name: String,
    /// What survives a crash.
    pub(super) store: Store,
    /// Breaks the store's commits.
    pub(super) fuse: Fuse,
    /// Tells what is written to the store.
    pub(super) trail: Trail,
    /// What does not survive.
    pub(super) machine: Machine,
    /// How far its clock is off, in milliseconds.
    pub(super) skew_ms: i64,
    /// Its life's number, part of its name in the lease; what was meant for an earlier one is not heard.
    pub(super) life: u32,
    /// When the machine wants to be woken.
    pub(super) wake_ms: u64,
    /// When the store's thread has done what it was told.
    pub(super) store_free_ms: u64,
    /// What was found so far.
    pub(super) books: Books,
    /// How long it has waited without a word.
    pub(super) silence: Silence,
    /// What it says to a Go server, where there is one.
    pub(super) talk: Option<Talk>,
    /// How often everything was read anew.
    pub(super) loads: u64,
    /// Whether no daemon runs.
    pub(super) down: bool,
    /// The place of the server that it is configured for.
    pub(super) cloud: usize,
    /// Go processes on its store, where there are any.
    pub(super) beside: Option<Beside>,
    counted_stamp: u64,
    /// What the store said of clouds, and after how many commits.
    pub(super) said: Option<(u64, Rc<Said>)>,
    /// What was counted last, and after how many commits.
    counted: Option<(u64, Counts)>,
}

impl Device {
    /// Makes a device with an empty store.
    ///
    /// # Panics
    /// Where SQLite cannot make a store in memory.
    #[must_use]
    pub(super) fn new(name: &str, skew_ms: i64) -> Self {
        let Stocked { store, fuse, trail } = stock::take(&device_id(name));
        Self {
            name: name.to_owned(),
            store,
            fuse,
            trail,
            machine: machine(),
            skew_ms,
            life: 0,
            wake_ms: 0,
            store_free_ms: 0,
            books: Books::default(),
            silence: Silence::default(),
            talk: None,
            loads: 0,
            down: false,
            cloud: 0,
            beside: None,
            counted_stamp: 0,
            said: None,
            counted: None,
        }
    }

    /// Reads its own clock.
    #[must_use]
    pub(super) fn now(&self, now_ms: u64) -> Now {
        Now { mono_ms: now_ms, wall_ms: wall_ms(now_ms, self.skew_ms) }
    }

    /// Reads its own clock in whole seconds.
    #[must_use]
    pub(super) fn row_time(&self, now_ms: u64) -> RowTime {
        row_time(now_ms, self.skew_ms)
    }

    /// Kills the process: only the store is left.
    pub(super) fn crash(&mut self) {
        self.life += 1;
        self.fuse.mend();
        self.store.recount();
        self.machine = machine();
        self.silence = Silence::default();
        if self.talk.is_some() {
            self.talk = Some(Talk::new());
        }
    }

    /// What a daemon that starts, or reads everything anew, tells its machine, and whose histories are being queued.
    ///
    /// # Panics
    /// Where the store fails, which a store in memory does not.
    pub(super) fn load(&mut self, host: &str) -> (Vec<Event>, Vec<ProjectName>) {
        self.loads += 1;
        self.store.asks(host).expect("which server is asked");
        let projects = driver::read_projects(&mut self.store).expect("projects");
        let queueing = projects.queueing.clone();
        let counts = self.count_all().expect("counts");
        self.counted_stamp = counts.stamp;
        let events =
            vec![Event::Reloaded(Cloud::Configured { host: host.to_owned() }, projects), Event::Counted(counts.counts)];
        (events, queueing)
    }

    /// Counts after a write of its user; `None` where newer counts were heard already.
    ///
    /// # Panics
    /// Where the store fails.
    pub(super) fn count(&mut self) -> Option<Event> {
        let counted = self.count_all().expect("counts");
        self.newer(counted)
    }

    fn count_all(&mut self) -> Result<Counted, StoreError> {
        let counted = driver::count(&mut self.store)?;
        self.counted = Some((self.store.commits(), counted.counts.clone()));
        Ok(counted)
    }

    /// Tells whether something was committed since the last look; what a Go process wrote counts once our daemon looked.
    pub(super) fn is_behind(&self) -> bool {
        self.books.is_behind(&self.store) && !self.has_news()
    }

    /// Returns what the laws look at.
    pub(super) fn looked<'a>(&'a self, held: &'a [Held<'a>]) -> Looked<'a> {
        let moved = self.beside.as_ref().map(Beside::moved);
        Looked { name: &self.name, store: &self.store, held, moved }
    }

    /// Checks what has to hold after every event. While a restored cloud is told again what it lost, it need not hold
    /// what is acknowledged.
    pub(super) fn check(
        &mut self,
        held: &[Held<'_>],
        projects: &[ProjectName],
        is_told_again: bool,
    ) -> Result<(), Law> {
        let moved = self.beside.as_ref().map(Beside::moved);
        let looked = Looked { name: &self.name, store: &self.store, held, moved };
        self.books.check(&looked, projects, &self.trail.take(), is_told_again)?;
        match &self.counted {
            Some((commits, counts)) if *commits == self.store.commits() => self.books.counts_are(&self.name, counts),
            _ => Ok(()),
        }
    }

    /// Passes counts on, unless newer ones were heard already.
    pub(super) fn newer(&mut self, counted: Counted) -> Option<Event> {
        let is_newer = counted.stamp > self.counted_stamp;
        self.counted_stamp = self.counted_stamp.max(counted.stamp);
        is_newer.then_some(Event::Counted(counted.counts))
    }

    /// Does a job on the store; `None` where the process died in the middle of it.
    ///
    /// # Panics
    /// Where the store fails for another reason than a lost lease, or OWN-2 is broken.
    pub(super) fn work(&mut self, job: Job, now_ms: u64) -> Option<Heard> {
        let heard = match job {
            Job::Effect(effect) => self.watched(*effect, now_ms),
            Job::Backfill(project) => self.backfill(&project, now_ms),
            Job::LookBeside => self.look_beside(now_ms),
        };
        if self.fuse.is_blown() { None } else { heard.map(|heard| self.with_counts(heard)) }
    }

    fn with_counts(&mut self, mut heard: Heard) -> Heard {
        heard.counted = self.count_all().ok();
        heard
    }

    fn backfill(&mut self, project: &ProjectName, now_ms: u64) -> Option<Heard> {
        let now = self.row_time(now_ms);
        let more = self.store.backfill_slice(project, now, SLICE_ROWS).ok()?;
        Some(Heard { more, reload: !more, ..Heard::default() })
    }

    /// OWN-2: where another worker has the lease, an effect that presents a fence writes nothing and leaves it to him.
    fn watched(&mut self, effect: Effect, now_ms: u64) -> Option<Heard> {
        let Some(fence) = fence_of(&effect).filter(|fence| self.is_stolen(fence)).cloned() else {
            return self.perform(effect, now_ms);
        };
        // What is noted of other processes on the way needs no fence; much of it has transactions of its own.
        let now = self.row_time(now_ms);
        while self.store.take_up(u32::MAX, now).unwrap_or(false) {}
        let only_asks = matches!(effect, Effect::RenewLease(_) | Effect::ReleaseLease(_));
        let (before, what) = (self.written(), format!("{effect:?}"));
        let heard = self.perform(effect, now_ms);
        let after = self.written();
        // What was taken back was not written.
        let wrote = before.0 < after.0 && before.1 < after.1 && !only_asks;
        assert!(!wrote, "OWN-2: {} wrote without the lease: {what}", self.name);
        assert!(self.is_stolen(&fence), "OWN-2: {} took the lease back: {what}", self.name);
        heard
    }

    /// As `driver/effects.rs` does it.
    fn perform(&mut self, effect: Effect, now_ms: u64) -> Option<Heard> {
        let now = self.row_time(now_ms);
        let wall_ms = self.now(now_ms).wall_ms;
        let owner = format!("engramd-{}-{}", self.store.device_id(), self.life);
        let event = match effect {
            Effect::AcquireLease => {
                Event::LeaseAnswered(self.told(|store| store.acquire_lease(&owner, wall_ms, LEASE_TTL_MS))?)
            }
            Effect::RenewLease(fence) => {
                Event::LeaseRenewed(self.told(|store| store.renew_lease(&fence, wall_ms, LEASE_TTL_MS))?)
            }
            Effect::LoadBatch { fence, project, limits, cloud_now } => {
                let clocks = Clocks { own: now, cloud: cloud_now };
                Event::BatchLoaded(self.told(|store| store.pending_batch(&fence, &project, limits, clocks))?)
            }
            Effect::Settle { fence, project, settlements } => {
                Event::Settled(self.told(|store| store.settle(&fence, &project, &settlements, now))?)
            }
            Effect::LoadCursors { cloud_id, projects } => {
                Event::CursorsLoaded(self.told(|store| store.cursors(&cloud_id, &projects))?)
            }
            Effect::Apply { fence, cloud_id, since, page, cloud_now } => {
                let clocks = Clocks { own: now, cloud: cloud_now };
                Event::Applied(self.told(|store| store.apply_page(&fence, &cloud_id, &since, &page, clocks))?)
            }
            Effect::StandIns { fence, project } => {
                Event::StoodIn(self.told(|store| store.stand_ins(&fence, &project, now))?)
            }
            Effect::LoadBelonging { fence, cloud_id } => {
                Event::Belonging(self.told(|store| store.belonging(&fence, &cloud_id, now))?)
            }
            Effect::NoteRestored { fence, cloud_id } => {
                Event::Belonging(self.told(|store| store.cloud_restored(&fence, &cloud_id))?)
            }
            Effect::Remirror { fence, cloud_id, project } => {
                let project = project.as_ref();
                let rows = SLICE_ROWS;
                Event::Belonging(self.told(|store| store.remirror_slice(&fence, &cloud_id, project, now, rows))?)
            }
            Effect::ClearReread { fence, project, mark } => {
                Event::RereadCleared(self.told(|store| store.clear_reread(&fence, &project, mark))?)
            }
            Effect::Repair { fence, cloud_id, project, confirmed } => {
                Event::Looked(self.told(|store| store.repair(&fence, (&cloud_id, &project), confirmed, now))?)
            }
            Effect::Compare { cloud_id, asked } => {
                Event::Compared(self.told(|store| store.compare_digests(&cloud_id, &asked))?)
            }
            Effect::Recheck { fence, cloud_id, every_ms } => {
                let rows = SLICE_ROWS;
                Event::Rechecked(self.told(|store| store.recheck_slice(&fence, &cloud_id, now, every_ms, rows))?)
            }
            Effect::ReleaseLease(fence) => {
                self.told(|store| store.release_lease(&fence))?.expect("released");
                return Some(Heard::default());
            }
            effect => unreachable!("{effect:?} is no work for the store"),
        };
        Some(Heard { event: Some(event), ..Heard::default() })
    }

    /// Runs a job of the loop; `None` where the process died in it.
    pub(super) fn told<T>(
        &mut self,
        f: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreTrouble>> {
        match f(&mut self.store) {
            Ok(value) => Some(Ok(value)),
            Err(StoreError::LeaseLost { fence }) => Some(Err(StoreTrouble::LeaseLost { fence })),
            Err(_) if self.fuse.is_blown() => None,
            Err(error) => panic!("a store in memory failed: {error}"),
        }
    }

    /// Counts transactions, and rows that were changed, be it in vain.
    fn written(&self) -> (u64, u64) {
        (self.store.commits(), self.store.read(|conn| Ok(conn.total_changes())).expect("a number"))
    }

    /// Tells whether another worker has the lease for which this fence was granted.
    fn is_stolen(&self, fence: &Fence) -> bool {
        let sql = "SELECT coalesce(lease_owner, '') FROM sync_state WHERE target_key = 'cloud'";
        let owner: String = self
            .store
            .read(|conn| Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
            .expect("the row of the lease");
        owner != fence.owner
    }
}

/// Returns the fence that an effect presents.
fn fence_of(effect: &Effect) -> Option<&Fence> {
    match effect {
        Effect::RenewLease(fence)
        | Effect::ReleaseLease(fence)
        | Effect::LoadBatch { fence, .. }
        | Effect::Settle { fence, .. }
        | Effect::Apply { fence, .. }
        | Effect::StandIns { fence, .. }
        | Effect::LoadBelonging { fence, .. }
        | Effect::NoteRestored { fence, .. }
        | Effect::Remirror { fence, .. }
        | Effect::ClearReread { fence, .. }
        | Effect::Recheck { fence, .. }
        | Effect::Repair { fence, .. } => Some(fence),
        _ => None,
    }
}

fn machine() -> Machine {
    Machine::new(machine_settings(25, 1024 * 1024))
}

/// A uuid that the name decides.
fn device_id(name: &str) -> String {
    let digits: String = name.bytes().cycle().take(8).map(|byte| char::from(b'a' + byte % 6)).collect();
    format!("{digits}-0000-4000-8000-000000000000")
}

/// Virtual time begins on a day in 2026.
pub(super) fn wall_ms(now_ms: u64, skew_ms: i64) -> i64 {
    1_790_000_000_000 + i64::try_from(now_ms).unwrap_or(i64::MAX) + skew_ms
}

pub(super) fn row_time(now_ms: u64, skew_ms: i64) -> RowTime {
    RowTime::from_unix_ms(wall_ms(now_ms, skew_ms)).expect("a time")
}
