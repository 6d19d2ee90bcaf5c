//! One device: a real store in memory, a real machine, and what of its effects is still under way.

use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engramd::driver::machine_settings;
use engramd::store::{Store, StoreError};
use engramd_core::event::Projects;
use engramd_core::rows::Clocks;
use engramd_core::{Cloud, Effect, Event, Machine, Now, StoreTrouble};

/// The one cloud of the simulation.
pub const CLOUD_ID: &str = "the-cloud";

/// An answer on its way to the machine.
#[derive(Debug)]
pub struct Coming {
    /// Virtual milliseconds.
    pub due_ms: u64,
    /// What will be heard.
    pub event: Event,
    /// Whether it answers a pull, which can be given up.
    pub of_pull: bool,
}

/// One device.
pub struct Device {
    /// Its name, for the tape.
    pub name: String,
    /// What survives a crash.
    pub store: Store,
    /// What does not.
    pub machine: Machine,
    /// What does not either.
    pub coming: Vec<Coming>,
    /// A pull that waits at the cloud for rows: until when, and the request.
    pub listening: Option<(u64, engram_proto::http::pull::PullRequest)>,
    /// How far its clock is off, in milliseconds.
    pub skew_ms: i64,
    /// Its life's number, part of its name in the lease.
    pub life: u32,
    /// When the machine wants to be woken.
    pub wake_ms: u64,
}

impl Device {
    /// Makes a device with an empty store.
    ///
    /// # Panics
    /// Where SQLite cannot make a store in memory.
    #[must_use]
    pub fn new(name: &str, skew_ms: i64, projects: &[ProjectName], now_ms: u64) -> Self {
        let mut device = Self {
            name: name.to_owned(),
            store: Store::open_in_memory_as(&device_id(name), row_time(now_ms, skew_ms)).expect("a store in memory"),
            machine: Machine::new(machine_settings(25, 1024 * 1024)),
            coming: Vec::new(),
            listening: None,
            skew_ms,
            life: 0,
            wake_ms: 0,
        };
        for project in projects {
            device.store.enroll(project, row_time(now_ms, skew_ms)).expect("enrolled");
        }
        device
    }

    /// Reads its own clock.
    #[must_use]
    pub fn now(&self, now_ms: u64) -> Now {
        Now { mono_ms: now_ms, wall_ms: wall_ms(now_ms, self.skew_ms) }
    }

    /// Reads its own clock in whole seconds.
    #[must_use]
    pub fn row_time(&self, now_ms: u64) -> RowTime {
        row_time(now_ms, self.skew_ms)
    }

    /// Returns what the cloud must still hold.
    ///
    /// # Panics
    /// Where the store fails.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        self.store.witness(CLOUD_ID).expect("meta")
    }

    /// Kills the process: only the store is left.
    pub fn crash(&mut self) {
        self.life += 1;
        self.coming.clear();
        self.listening = None;
        self.machine = Machine::new(machine_settings(25, 1024 * 1024));
    }

    /// What a starting daemon tells its machine.
    ///
    /// # Panics
    /// Where the store fails, which a store in memory does not.
    pub fn boot_events(&mut self) -> Vec<Event> {
        let enrolled = self.store.enrolled().expect("enrolled");
        vec![
            Event::ProjectsChanged(Projects { enrolled, ..Projects::default() }),
            Event::Counted(self.store.counts().expect("counts")),
            Event::CloudChanged(Cloud::Configured { host: "cloud".to_owned() }),
        ]
    }

    /// Performs an effect on the store; what the machine hears of it, the counts first.
    ///
    /// # Panics
    /// Where the store fails for another reason than a lost lease.
    pub fn on_store(&mut self, effect: Effect, now_ms: u64) -> Vec<Event> {
        let now = self.row_time(now_ms);
        let wall_ms = self.now(now_ms).wall_ms;
        let owner = format!("engramd-{}-{}", self.store.device_id(), self.life);
        let answer = match effect {
            Effect::AcquireLease => Event::LeaseAnswered(told(self.store.acquire_lease(&owner, wall_ms, 120_000))),
            Effect::RenewLease(fence) => Event::LeaseRenewed(told(self.store.renew_lease(&fence, wall_ms, 120_000))),
            Effect::LoadBelonging { fence, cloud_id } => {
                Event::Belonging(told(self.store.belonging(&fence, &cloud_id, now)))
            }
            Effect::NoteRestored { fence, cloud_id } => {
                Event::Belonging(told(self.store.cloud_restored(&fence, &cloud_id)))
            }
            Effect::Remirror { fence, cloud_id, project } => {
                Event::Belonging(told(self.store.remirror_slice(&fence, &cloud_id, project.as_ref(), now, 3)))
            }
            Effect::LoadBatch { fence, project, limits, cloud_now } => {
                let clocks = Clocks { own: now, cloud: cloud_now };
                Event::BatchLoaded(told(self.store.pending_batch(&fence, &project, limits, clocks)))
            }
            Effect::Settle { fence, project, settlements } => {
                Event::Settled(told(self.store.settle(&fence, &project, &settlements, now)))
            }
            Effect::LoadCursors { cloud_id, projects } => {
                Event::CursorsLoaded(told(self.store.cursors(&cloud_id, &projects)))
            }
            Effect::Apply { fence, cloud_id, since, page, cloud_now } => {
                let clocks = Clocks { own: now, cloud: cloud_now };
                Event::Applied(told(self.store.apply_page(&fence, &cloud_id, &since, &page, clocks)))
            }
            Effect::ClearReread { fence, project, mark } => {
                Event::RereadCleared(told(self.store.clear_reread(&fence, &project, mark)))
            }
            Effect::Compare { cloud_id, asked } => Event::Compared(told(self.store.compare_digests(&cloud_id, &asked))),
            Effect::Recheck { fence, cloud_id, every_ms } => {
                Event::Rechecked(told(self.store.recheck_slice(&fence, &cloud_id, now, every_ms, 5)))
            }
            Effect::StandIns { fence, project } => Event::StoodIn(told(self.store.stand_ins(&fence, &project, now))),
            Effect::ReleaseLease(fence) => {
                self.store.release_lease(&fence).expect("released");
                return Vec::new();
            }
            _ => return Vec::new(),
        };
        vec![Event::Counted(self.store.counts().expect("counts")), answer]
    }
}

fn told<T>(result: Result<T, StoreError>) -> Result<T, StoreTrouble> {
    result.map_err(|error| match error {
        StoreError::LeaseLost => StoreTrouble::LeaseLost,
        error => panic!("a store in memory failed: {error}"),
    })
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

fn row_time(now_ms: u64, skew_ms: i64) -> RowTime {
    RowTime::from_unix_ms(wall_ms(now_ms, skew_ms)).expect("a time")
}
