//! The driver: waits for an event, feeds the machine, performs what it wants done, feeds the outcome back.
//!
//! It decides nothing. Every effect runs as a task of its own, so that a pull that listens stops no push; the machine
//! sees to it that no lane has two.

mod apply;
mod effects;
pub mod events;
pub mod handle;
pub mod network;
mod publish;
pub mod suspend;
pub mod watch;

pub use effects::{TAKE_UP_ROWS, backfill, count, read_projects, take_up};
pub use handle::DriverHandle;

use crate::clock;
use crate::config::cloud::{CloudConfig, Environment, Loaded};
use crate::peers::Remote;
use crate::store::StoreHandle;
use engram_proto::http::health::HealthReply;
use engram_proto::reason::ReasonCode;
use engramd_core::classify::Failure;
use engramd_core::event::Projects;
use engramd_core::health::Who;
use engramd_core::rows::Counts;
use engramd_core::{Effect, Event, Machine, Now, Settings, TicketId};
use handle::{Command, Sync, SyncUpdate};
use publish::Publisher;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};

/// The first delay after a failure, and the longest (REC-1).
const BACKOFF_MS: (u64, u64) = (1_000, 300_000);
const LEASE_TTL_MS: u64 = 120_000;
/// The loop turns at least so often; a foreign write that no file event told of is found then.
const TICK_MS: u64 = 30_000;
const BLOCK_PROBE_MS: u64 = 300_000;

/// How often the rows are looked at: once a day.
const RECHECK_MS: u64 = 24 * 60 * 60 * 1_000;

/// Who waits for the driver's next words.
const INBOX_MAX: usize = 256;

/// Makes what the machine needs to know once.
#[must_use]
pub fn machine_settings(wait_seconds: u32, request_bytes_max: u64) -> Settings {
    let ladder = engram_retry::ladder(Duration::from_millis(BACKOFF_MS.0), Duration::from_millis(BACKOFF_MS.1));
    Settings {
        ladder_ms: ladder.iter().map(|rung| u64::try_from(rung.as_millis()).unwrap_or(u64::MAX)).collect(),
        lease_ttl_ms: LEASE_TTL_MS,
        tick_ms: TICK_MS,
        block_probe_ms: BLOCK_PROBE_MS,
        recheck_ms: RECHECK_MS,
        wait_seconds,
        request_bytes_max,
    }
}

/// What the driver is made of.
pub struct Parts {
    /// The store.
    pub store: StoreHandle,
    /// Where `cloud.json` is.
    pub data_dir: PathBuf,
    /// What the environment said at the start.
    pub environment: Environment,
    /// What does not change.
    pub settings: Settings,
    /// Who the report speaks of.
    pub who: Who,
    /// Our name in the lease.
    pub lease_owner: String,
}

/// Counts with their place in the order in which the store made them; an older one never replaces a newer one.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Greater is newer.
    pub stamp: u64,
    /// What was counted.
    pub counts: Counts,
    /// Rows that are held because nothing tells their project, by the reason that they are held for.
    pub nameless: BTreeMap<ReasonCode, u64>,
}

/// What a task brings back.
enum Outcome {
    Events(Vec<Event>),
    Counted(Counted, Vec<Event>),
    Loaded(Box<Reloaded>),
    /// What is so after another process wrote, and the stamp of when it was read.
    Projects(u64, Projects, Counted),
    /// Who answered at this host.
    Introduced(String, Box<Result<HealthReply, Failure>>),
    Nothing,
}

/// Everything that configuration and store say about what is to be done.
struct Reloaded {
    stamp: u64,
    cloud: Loaded,
    projects: Option<Projects>,
    counted: Option<Counted>,
}

/// The loop of one store.
pub struct Driver {
    parts: Parts,
    machine: Machine,
    remote: Option<(CloudConfig, Remote)>,
    inbox: mpsc::Receiver<Command>,
    tasks: JoinSet<Outcome>,
    pull: Option<AbortHandle>,
    publisher: Publisher,
    followers: HashMap<TicketId, mpsc::Sender<SyncUpdate>>,
    next_ticket: TicketId,
    /// Syncs that begin when configuration was read again.
    /// What somebody asked for, and the stamp that a configuration has which was read since.
    syncs: Vec<(u64, Sync)>,
    /// Of the newest configuration that was heard of: several may be read at once, and come in any order.
    loaded_stamp: u64,
    counted_stamp: u64,
    /// As last told.
    nameless: BTreeMap<ReasonCode, u64>,
    /// Of the newest projects that were heard of, read alone or with a configuration.
    projects_stamp: u64,
    last_turn: Now,
}

impl Driver {
    /// Makes a driver and the handle by which others reach it.
    #[must_use]
    pub fn new(parts: Parts) -> (Self, DriverHandle) {
        let (tx, inbox) = mpsc::channel(INBOX_MAX);
        let machine = Machine::new(parts.settings.clone());
        let (publisher, report, events) = Publisher::new(machine.report(&parts.who));
        let handle = DriverHandle::new(tx, report, events);
        let driver = Self {
            parts,
            machine,
            remote: None,
            inbox,
            tasks: JoinSet::new(),
            pull: None,
            publisher,
            followers: HashMap::new(),
            next_ticket: 0,
            syncs: Vec::new(),
            loaded_stamp: 0,
            counted_stamp: 0,
            nameless: BTreeMap::new(),
            projects_stamp: 0,
            last_turn: clock::now(),
        };
        (driver, handle)
    }

    /// Turns until it was told to stop and has given everything back.
    pub async fn run(mut self) {
        self.reload();
        while !self.machine.is_stopped() {
            let deadline = clock::instant_of(self.machine.next_deadline_ms());
            // Each branch may be dropped at any await without loss: a queue's receive, a join, a timer.
            tokio::select! {
                Some(done) = self.tasks.join_next() => self.finished(done),
                command = self.inbox.recv() => match command {
                    Some(command) => self.command(command),
                    None => self.feed(Event::Stopping),
                },
                () = tokio::time::sleep_until(deadline) => self.tick(),
            }
        }
        while let Some(done) = self.tasks.join_next().await {
            if let Err(error) = done {
                tracing::debug!(%error, "a task ended with the loop");
            }
        }
    }

    fn tick(&mut self) {
        let (before, now) = (std::mem::replace(&mut self.last_turn, clock::now()), clock::now());
        self.check_foreign_writes();
        self.feed(if suspend::slept(before, now) { Event::Woken } else { Event::Tick });
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Reload => self.reload(),
            Command::Counted(counted) => self.counted(counted),
            Command::ForeignWrite => self.check_foreign_writes(),
            Command::Wake => self.feed(Event::Woken),
            Command::ClockSet => self.tick(),
            Command::Stop => self.feed(Event::Stopping),
            Command::StoreMet(met) => self.feed(Event::StoreMet(met)),
            Command::Note(kind, project, message) => self.publisher.event(kind, project.as_ref(), message),
            Command::Sync(sync) => {
                // Whoever asks may just have mended the configuration: it is read first (REC-1).
                self.syncs.push((effects::stamp_from_now(), sync));
                self.reload();
            }
        }
    }

    fn finished(&mut self, done: Result<Outcome, JoinError>) {
        match done {
            Ok(Outcome::Events(events)) => events.into_iter().for_each(|event| self.feed(event)),
            Ok(Outcome::Counted(counted, events)) => {
                self.counted(counted);
                events.into_iter().for_each(|event| self.feed(event));
            }
            Ok(Outcome::Loaded(loaded)) => self.loaded(*loaded),
            Ok(Outcome::Projects(stamp, projects, counted)) => {
                self.counted(counted);
                self.projects(stamp, projects);
            }
            Ok(Outcome::Introduced(host, answer)) => {
                // One of a server that was left meanwhile says nothing of the one that is asked now (CUR-3).
                if self.remote.as_ref().is_some_and(|(_, remote)| remote.host() == host) {
                    self.feed(Event::Probed(*answer));
                }
            }
            Ok(Outcome::Nothing) => {}
            Err(error) if error.is_cancelled() => self.feed(Event::PullCancelled),
            Err(error) => {
                let what = panic_words(error);
                tracing::error!(reason_code = "internal_error", what, "a step of the loop panicked");
                self.feed(Event::Panicked(format!("a step of the sync loop failed: {what}")));
            }
        }
    }

    fn counted(&mut self, counted: Counted) {
        if counted.stamp > self.counted_stamp {
            self.counted_stamp = counted.stamp;
            self.feed(Event::Counted(counted.counts));
            if counted.nameless != self.nameless {
                self.nameless.clone_from(&counted.nameless);
                self.feed(Event::NamelessCounted(counted.nameless));
            }
        }
    }

    /// Hears which projects take part, unless it heard of newer ones: two looks may end in any order (SCOPE-1).
    fn projects(&mut self, stamp: u64, projects: Projects) {
        if stamp > self.projects_stamp {
            self.projects_stamp = stamp;
            self.feed(Event::ProjectsChanged(projects));
        }
    }

    fn loaded(&mut self, loaded: Reloaded) {
        if loaded.stamp <= self.loaded_stamp {
            return;
        }
        self.loaded_stamp = loaded.stamp;
        let cloud = self.configure(loaded.cloud);
        // First: what the machine wants next goes to this server already (CUR-3).
        match loaded.projects.filter(|_| loaded.stamp > self.projects_stamp) {
            Some(projects) => {
                self.projects_stamp = loaded.stamp;
                self.feed(Event::Reloaded(cloud, projects));
            }
            None => self.feed(Event::CloudChanged(cloud)),
        }
        if let Some(counted) = loaded.counted {
            self.counted(counted);
        }
        let syncs = std::mem::take(&mut self.syncs).into_iter();
        let (due, later): (Vec<_>, Vec<_>) = syncs.partition(|(from, _)| *from <= loaded.stamp);
        self.syncs = later;
        for (_, Sync { project, direction, updates }) in due {
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            self.followers.insert(ticket, updates);
            self.feed(Event::SyncRequested { ticket, project, direction });
        }
    }

    fn configure(&mut self, loaded: Loaded) -> engramd_core::Cloud {
        let who = &mut self.parts.who;
        (who.server_url, who.token_origin) = (None, None);
        let before = self.remote.take();
        match loaded {
            Loaded::NotConfigured => engramd_core::Cloud::NotConfigured,
            Loaded::Invalid { code, message } => engramd_core::Cloud::Invalid { code, message },
            Loaded::Configured(config) => {
                let url = config.url.as_str().trim_end_matches('/').to_owned();
                who.server_url = Some((url, config.url_origin.to_owned()));
                who.token_origin = Some(config.token_origin.to_owned());
                let host = config.host();
                let known = before.filter(|(known, _)| *known == config).map(|(_, remote)| Ok(remote));
                match known.unwrap_or_else(|| Remote::new(config.clone(), self.parts.store.clone())) {
                    Ok(remote) => {
                        self.remote = Some((config, remote));
                        engramd_core::Cloud::Configured { host }
                    }
                    Err(failure) => {
                        engramd_core::Cloud::Invalid { code: ReasonCode::TlsFailed, message: format!("{failure:?}") }
                    }
                }
            }
        }
    }

    /// Feeds one event, performs what it leads to, and publishes what is so now.
    fn feed(&mut self, event: Event) {
        let effects = self.machine.handle(event, clock::now(), clock::draw());
        for effect in effects {
            self.perform(effect);
        }
        let report = self.machine.report(&self.parts.who);
        let fence = self.machine.fence().cloned();
        if let (Some(state), Some(fence)) = (self.publisher.publish(report, fence.is_some()), fence) {
            self.write_state(fence, state);
        }
    }

    fn follower_told(&mut self, ticket: TicketId, update: SyncUpdate) {
        let last = matches!(update, SyncUpdate::Done(_));
        let Some(updates) = self.followers.get(&ticket) else { return };
        let gone = updates.is_closed();
        // Progress that nobody reads is left out; the last place is kept free for the verdict.
        if last || updates.capacity() > 1 {
            let _ = updates.try_send(update);
        }
        if last {
            self.followers.remove(&ticket);
        } else if gone {
            self.followers.remove(&ticket);
            self.machine_forget(ticket);
        }
    }

    fn machine_forget(&mut self, ticket: TicketId) {
        let effects = self.machine.handle(Event::SyncAbandoned(ticket), clock::now(), clock::draw());
        for effect in effects {
            if !matches!(effect, Effect::SyncProgress(..) | Effect::SyncDone(..)) {
                self.perform(effect);
            }
        }
    }
}

fn panic_words(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
        Err(error) => error.to_string(),
    }
}
