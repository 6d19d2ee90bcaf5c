//! Performs one effect: a task on the store or on the wire, whose outcome is the event the machine waits for.

use super::handle::SyncUpdate;
use super::publish::RowState;
use super::{Counted, Driver, Outcome, Reloaded, apply};
use crate::clock;
use crate::config::cloud;
use crate::store::{Store, StoreError, StoreGone, StoreHandle};
use engram_proto::reason::ReasonCode;
use engramd_core::classify::Failure;
use engramd_core::event::Projects;
use engramd_core::rows::{Clocks, Fence};
use engramd_core::{Effect, Event, StoreTrouble};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The order in which counts and configurations were read; drawn on the store's thread, so it is the order of the writes.
static READ: AtomicU64 = AtomicU64::new(1);

fn next_stamp() -> u64 {
    READ.fetch_add(1, Ordering::SeqCst)
}

/// Returns the stamp that whatever is read from now on has at least.
pub(super) fn stamp_from_now() -> u64 {
    READ.load(Ordering::SeqCst)
}

/// Counts what the store holds; called on the store's thread after a write.
///
/// # Errors
/// What the store says.
pub fn count(store: &mut Store) -> Result<Counted, StoreError> {
    let counts = store.counts()?;
    Ok(Counted { stamp: next_stamp(), counts, nameless: store.nameless()? })
}

/// How many journal rows of other processes one transaction takes up (OWN-3).
pub const TAKE_UP_ROWS: u32 = 200;

/// How many rows one transaction looks at (OWN-3).
const RECHECK_ROWS: u32 = 200;

/// How many versions one transaction queues anew (OWN-3).
const REMIRROR_ROWS: u32 = 200;

impl Driver {
    pub(super) fn perform(&mut self, effect: Effect) {
        let owner = self.parts.lease_owner.clone();
        let ttl_ms = i64::try_from(self.parts.settings.lease_ttl_ms).unwrap_or(i64::MAX);
        match effect {
            Effect::AcquireLease => {
                // Counted, because whoever had the lease before may have synced.
                self.on_store_counted(Event::LeaseAnswered, move |store| {
                    store.acquire_lease(&owner, clock::now().wall_ms, ttl_ms)
                });
            }
            Effect::RenewLease(fence) => {
                self.on_store(Event::LeaseRenewed, move |store| {
                    store.renew_lease(&fence, clock::now().wall_ms, ttl_ms)
                });
            }
            Effect::ReleaseLease(fence) => self.quietly(move |store| store.release_lease(&fence)),
            Effect::LoadBelonging { fence, cloud_id } => {
                self.on_store(Event::Belonging, move |store| store.belonging(&fence, &cloud_id, clock::row_time()));
            }
            Effect::NoteRestored { fence, cloud_id } => {
                self.on_store(Event::Belonging, move |store| store.cloud_restored(&fence, &cloud_id));
            }
            Effect::Remirror { fence, cloud_id, project } => {
                self.on_store_counted(Event::Belonging, move |store| {
                    store.remirror_slice(&fence, &cloud_id, project.as_ref(), clock::row_time(), REMIRROR_ROWS)
                });
            }
            Effect::LoadBatch { fence, project, limits, cloud_now } => {
                self.on_store_counted(Event::BatchLoaded, move |store| {
                    store.pending_batch(&fence, &project, limits, Clocks { own: clock::row_time(), cloud: cloud_now })
                });
            }
            Effect::Settle { fence, project, settlements } => {
                self.on_store_counted(Event::Settled, move |store| {
                    store.settle(&fence, &project, &settlements, clock::row_time())
                });
            }
            Effect::LoadCursors { cloud_id, projects } => {
                self.on_store(Event::CursorsLoaded, move |store| store.cursors(&cloud_id, &projects));
            }
            Effect::Apply { fence, cloud_id, since, page, cloud_now } => {
                let store = self.parts.store.clone();
                let work = apply::Work { fence, cloud_id, since, page, cloud_now };
                self.tasks.spawn(async move { apply::page(store, work).await });
            }
            Effect::ClearReread { fence, project, mark } => {
                self.on_store_counted(Event::RereadCleared, move |store| store.clear_reread(&fence, &project, mark));
            }
            Effect::StandIns { fence, project } => {
                self.on_store_counted(Event::StoodIn, move |store| {
                    store.stand_ins(&fence, &project, clock::row_time())
                });
            }
            Effect::Repair { fence, cloud_id, project, confirmed } => {
                self.on_store_counted(Event::Looked, move |store| {
                    store.repair(&fence, (&cloud_id, &project), confirmed, clock::row_time())
                });
            }
            Effect::Compare { cloud_id, asked } => {
                self.on_store(Event::Compared, move |store| store.compare_digests(&cloud_id, &asked));
            }
            Effect::Recheck { fence, cloud_id, every_ms } => {
                self.on_store(Event::Rechecked, move |store| {
                    store.recheck_slice(&fence, &cloud_id, clock::row_time(), every_ms, RECHECK_ROWS)
                });
            }
            Effect::LookAtStore { whole } => {
                let store = self.parts.store.clone();
                let look = async move { look_at_store(&store, whole).await.map_err(trouble) };
                self.tasks.spawn(async move { Outcome::Events(vec![Event::StoreLooked(look.await)]) });
            }
            Effect::Probe | Effect::Send { .. } | Effect::Pull(_) => self.on_wire(effect),
            Effect::CancelPull => {
                if let Some(pull) = self.pull.take() {
                    pull.abort();
                }
            }
            Effect::SyncProgress(ticket, progress) => self.follower_told(ticket, SyncUpdate::Progress(progress)),
            Effect::SyncDone(ticket, outcome) => self.follower_told(ticket, SyncUpdate::Done(outcome)),
            Effect::Note { kind, project, message } => self.publisher.event(kind, project.as_ref(), message),
            Effect::Stopped => tracing::debug!("the loop gave everything back"),
        }
    }

    fn on_wire(&mut self, effect: Effect) {
        let Some((_, remote)) = self.remote.clone() else {
            let message = "no cloud server is configured".to_owned();
            let failure = Failure::Blocked { code: ReasonCode::CloudNotConfigured, message };
            self.tasks.spawn(async move {
                Outcome::Events(match effect {
                    Effect::Probe => vec![Event::Probed(Err(failure))],
                    Effect::Send { .. } => vec![Event::Sent(Err(failure))],
                    _ => vec![Event::Pulled(Err(failure))],
                })
            });
            return;
        };
        let is_pull = matches!(effect, Effect::Pull(_));
        let task = self.tasks.spawn(async move {
            match effect {
                Effect::Send { project, rows } => {
                    Outcome::Events(vec![Event::Sent(remote.push(&project, &rows).await)])
                }
                Effect::Pull(request) => Outcome::Events(vec![Event::Pulled(remote.pull(&request).await)]),
                _ => Outcome::Introduced(remote.host(), Box::new(remote.probe().await)),
            }
        });
        if is_pull {
            self.pull = Some(task);
        }
    }

    fn on_store<R: Send + 'static>(
        &mut self,
        event: fn(Result<R, StoreTrouble>) -> Event,
        f: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
    ) {
        let store = self.parts.store.clone();
        self.tasks.spawn(async move { Outcome::Events(vec![event(flat(store.call(f).await))]) });
    }

    /// Like `on_store`, and counts afterwards in the same turn of the store's thread.
    fn on_store_counted<R: Send + 'static>(
        &mut self,
        event: fn(Result<R, StoreTrouble>) -> Event,
        f: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
    ) {
        let store = self.parts.store.clone();
        self.tasks.spawn(async move {
            let answer = store.call(move |store| (f(store), count(store))).await;
            match answer {
                Ok((result, Ok(counted))) => Outcome::Counted(counted, vec![event(result.map_err(trouble))]),
                Ok((result, Err(_))) => Outcome::Events(vec![event(result.map_err(trouble))]),
                Err(gone) => Outcome::Events(vec![event(Err(trouble(gone.into())))]),
            }
        });
    }

    fn quietly(&mut self, f: impl FnOnce(&mut Store) -> Result<(), StoreError> + Send + 'static) {
        let store = self.parts.store.clone();
        self.tasks.spawn(async move {
            if let Err(error) = store.call(f).await.map_err(StoreError::from).flatten() {
                tracing::warn!(%error, "a note to the store was not written");
            }
            Outcome::Nothing
        });
    }

    /// Writes the report's words into `sync_state`, where the peer's `cloud status` reads them (LOUD-2).
    pub(super) fn write_state(&mut self, fence: Fence, state: RowState) {
        self.quietly(move |store| {
            let reason = state.reason.as_ref().map(|(code, message)| (code.as_str(), message.as_str()));
            store.write_state(&fence, state.lifecycle, reason, state.failures, None, clock::row_time()).map(|_| ())
        });
    }

    /// Reads configuration, enrollment and counts again.
    pub(super) fn reload(&mut self) {
        let store = self.parts.store.clone();
        let (data_dir, environment) = (self.parts.data_dir.clone(), self.parts.environment.clone());
        self.tasks.spawn(async move {
            let loaded = store.call(move |store| {
                // On the store's thread because it may wait for a disk.
                let (stamp, cloud) = (next_stamp(), cloud::load(&data_dir, &environment));
                if let cloud::Loaded::Configured(config) = &cloud
                    && let Err(error) = store.asks(&config.host())
                {
                    tracing::warn!(%error, "which server is asked was not written down");
                }
                let projects = read_projects(store).inspect_err(|error| {
                    tracing::error!(%error, "the enrolled projects cannot be read");
                });
                let counted = count(store).ok();
                Reloaded { stamp, cloud, projects: projects.ok(), counted }
            });
            loaded.await.map_or(Outcome::Nothing, |loaded| Outcome::Loaded(Box::new(loaded)))
        });
    }

    /// Asks whether another process committed, and looks again at everything it may have changed.
    pub(super) fn check_foreign_writes(&mut self) {
        let store = self.parts.store.clone();
        self.tasks.spawn(async move {
            match look_at_foreign_writes(&store).await {
                Ok(Some((stamp, projects, counted))) => Outcome::Projects(stamp, projects, counted),
                Ok(None) | Err(StoreError::Gone) => Outcome::Nothing,
                Err(error) => {
                    tracing::warn!(%error, "another process's writes cannot be looked at");
                    Outcome::Events(met(error).into_iter().map(|trouble| Event::StoreMet(Err(trouble))).collect())
                }
            }
        });
    }
}

async fn look_at_foreign_writes(store: &StoreHandle) -> Result<Option<(u64, Projects, Counted)>, StoreError> {
    if !store.call(Store::data_changed_elsewhere).await?? {
        return Ok(None);
    }
    take_up(store).await?;
    store.call(|store| Ok(Some((next_stamp(), read_projects(store)?, count(store)?)))).await?
}

/// Looks whether the store works: writes something, and where `whole`, reads all of it, on a connection of its own.
async fn look_at_store(store: &StoreHandle, whole: bool) -> Result<(), StoreError> {
    store.call(Store::try_write).await??;
    if !whole {
        return Ok(());
    }
    let store = store.clone();
    let reading = tokio::task::spawn_blocking(move || crate::store::check_whole(&*store.snapshot()?));
    reading.await.unwrap_or(Err(StoreError::Gone))
}

/// Returns what of an error is to be in the report until it is over.
fn met(error: StoreError) -> Option<StoreTrouble> {
    matches!(error.reason(), Some(ReasonCode::StoreFull | ReasonCode::StoreCorrupt)).then(|| trouble(error))
}

/// Takes up everything that other processes wrote, each transaction as a job of its own.
///
/// # Errors
/// What the store says.
pub async fn take_up(store: &StoreHandle) -> Result<(), StoreError> {
    while store.call(|store| store.take_up(TAKE_UP_ROWS, clock::row_time())).await?? {}
    Ok(())
}

/// Reads which projects take part and what the user paused.
///
/// # Errors
/// What the store says.
pub fn read_projects(store: &mut Store) -> Result<Projects, StoreError> {
    let mut notes = store.paused()?;
    let words = |note: crate::store::PauseNote| {
        (note.reason, note.since.map_or(0, |since| since.unix_s() * engram_proto::time::MS_PER_S))
    };
    let paused_all = notes.remove(&None).map(words);
    let paused: BTreeMap<_, _> = notes.into_iter().filter_map(|(name, note)| Some((name?, words(note)))).collect();
    let (enrolled, queueing) = (store.enrolled()?, store.backfills_due()?);
    Ok(Projects { enrolled, queueing, paused, paused_all })
}

fn flat<R>(answer: Result<Result<R, StoreError>, StoreGone>) -> Result<R, StoreTrouble> {
    answer.map_err(StoreError::from).flatten().map_err(trouble)
}

/// Turns the store's error into what the machine knows.
pub(super) fn trouble(error: StoreError) -> StoreTrouble {
    match error {
        StoreError::LeaseLost { fence } => StoreTrouble::LeaseLost { fence },
        error => {
            let code = error.reason().unwrap_or(ReasonCode::InternalError);
            StoreTrouble::Failed { code, message: format!("the store: {error}") }
        }
    }
}

/// Journals an enrolled project's history in slices that leave room for other writers.
pub async fn backfill(store: StoreHandle, driver: super::DriverHandle, project: engram_proto::id::ProjectName) {
    const SLICE_ROWS: u32 = 500;
    loop {
        let name = project.clone();
        let slice = store.call(move |store| {
            let more = store.backfill_slice(&name, clock::row_time(), SLICE_ROWS)?;
            Ok::<_, StoreError>((more, count(store)?))
        });
        match slice.await.map_err(StoreError::from).flatten() {
            Ok((more, counted)) => {
                driver.tell(super::handle::Command::Counted(counted)).await;
                if !more {
                    // Nothing is queueing any more: the loop is told.
                    return driver.tell(super::handle::Command::Reload).await;
                }
            }
            Err(error) => {
                tracing::error!(%error, %project, "its history is not queued; it goes on at the next start");
                return;
            }
        }
    }
}
