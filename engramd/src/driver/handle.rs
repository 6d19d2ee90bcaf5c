//! How the rest of the daemon reaches the loop.

use super::Counted;
use super::events::{EventLog, EventStream};
use crate::clock;
use engram_proto::health::StatusReport;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{SyncOutcome, SyncProgress};
use engram_proto::ipc::request::Direction;
use engram_proto::reason::{Finding, Health, ReasonCode, Scope};
use engram_proto::reason_catalog;
use engram_proto::time::rfc3339_from_ms;
use engramd_core::StoreTrouble;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// A loop that has not turned for so long stands still; it turns every 30 s even when nothing happens.
const STALL_MS: u64 = 75_000;

/// Places in the queue of one follower: progress may be dropped, the verdict may not.
const UPDATES_MAX: usize = 64;

/// What the loop is told.
#[derive(Debug)]
pub enum Command {
    /// Read configuration, enrollment and counts again.
    Reload,
    /// The store was counted after a write of ours.
    Counted(Counted),
    /// A file event says that another process may have written.
    ForeignWrite,
    /// The cause of whatever is waited for may be gone.
    Wake,
    /// The wall clock was set, maybe by a resume from suspend: look at the clocks.
    ClockSet,
    /// Read configuration again, sync now and say how it goes.
    Sync(Sync),
    /// How a command fared with the store.
    StoreMet(Result<(), StoreTrouble>),
    /// Put a line among the events.
    Note(&'static str, Option<ProjectName>, String),
    /// Finish the step and give everything back.
    Stop,
}

/// A sync that somebody follows.
#[derive(Debug)]
pub struct Sync {
    /// One project only.
    pub project: Option<ProjectName>,
    /// Which way.
    pub direction: Direction,
    /// Where to say how it goes.
    pub updates: mpsc::Sender<SyncUpdate>,
}

/// How a followed sync goes.
#[derive(Clone, Debug)]
pub enum SyncUpdate {
    /// On.
    Progress(SyncProgress),
    /// To its end.
    Done(SyncOutcome),
}

/// A report and when the loop last turned.
#[derive(Clone, Debug)]
pub struct Published {
    /// What is so.
    pub report: Arc<StatusReport>,
    /// On the monotonic clock.
    pub at_ms: u64,
}

/// Reaches the loop; cheap to clone.
#[derive(Clone, Debug)]
pub struct DriverHandle {
    commands: mpsc::Sender<Command>,
    report: watch::Receiver<Published>,
    events: Arc<EventLog>,
    /// A loop that has not turned for so long stands still.
    stall_ms: u64,
}

impl DriverHandle {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        report: watch::Receiver<Published>,
        events: Arc<EventLog>,
    ) -> Self {
        Self { commands, report, events, stall_ms: STALL_MS }
    }

    /// Tells the loop something; waits while its queue is full, and does nothing when it has ended.
    pub async fn tell(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::debug!("the loop has ended");
        }
    }

    /// Tells the loop something from a thread that must not wait; a full queue means it will look soon anyway.
    pub fn nudge(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Closed(_)) = self.commands.try_send(command) {
            tracing::debug!("the loop has ended");
        }
    }

    /// Tells the loop whenever the system tells something, on a thread that sleeps until then and ends with the loop.
    ///
    /// # Errors
    /// What the system says where it has no thread.
    #[cfg(target_os = "linux")]
    pub(super) fn nudged_by(
        self,
        name: &'static str,
        wait: impl Fn() -> std::io::Result<()> + Send + 'static,
        command: fn() -> Command,
    ) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || {
            while wait().is_ok() && !self.has_ended() {
                tracing::debug!("the {name} changed");
                self.nudge(command());
            }
        })?;
        Ok(())
    }

    /// Starts a sync and returns its updates, the last of which is the verdict.
    pub async fn sync(&self, project: Option<ProjectName>, direction: Direction) -> mpsc::Receiver<SyncUpdate> {
        let (updates, receiver) = mpsc::channel(UPDATES_MAX);
        self.tell(Command::Sync(Sync { project, direction, updates })).await;
        receiver
    }

    /// Tells the loop how a command fared with the store, where that may be news: what it met is in the report until it is
    /// over, whether a cloud is configured or not (LOUD-1).
    pub async fn met(&self, met: Result<(), StoreTrouble>) {
        let told = |finding: &Finding| finding.scope == Scope::Daemon && finding.code == ReasonCode::StoreFull;
        if met.is_err() || self.report.borrow().report.findings.iter().any(told) {
            self.tell(Command::StoreMet(met)).await;
        }
    }

    /// Returns the current report; a loop that stands still says so (LOUD-2).
    #[must_use]
    pub fn report(&self) -> Arc<StatusReport> {
        let published = self.report.borrow().clone();
        let quiet_ms = clock::mono_ms().saturating_sub(published.at_ms);
        let ended = self.commands.is_closed();
        if quiet_ms < self.stall_ms && !ended {
            return published.report;
        }
        Arc::new(stalled(&published.report, quiet_ms, ended))
    }

    /// Tells whether the loop has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Tells whether the loop turns.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.commands.is_closed() && clock::mono_ms().saturating_sub(self.report.borrow().at_ms) < self.stall_ms
    }

    /// Returns once the loop stands still, which no change of the report tells of.
    pub async fn stalls(&self) {
        while self.is_alive() {
            let stalls_at_ms = self.report.borrow().at_ms.saturating_add(self.stall_ms);
            tokio::time::sleep_until(clock::instant_of(stalls_at_ms)).await;
        }
    }

    /// Returns a receiver that wakes at every change of the report.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Published> {
        self.report.clone()
    }

    /// Returns the events of the last while, and those to come.
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.events.subscribe()
    }
}

fn stalled(report: &StatusReport, quiet_ms: u64, ended: bool) -> StatusReport {
    let entry = reason_catalog::entry(ReasonCode::LoopStalled);
    let since_ms = clock::now().wall_ms - i64::try_from(quiet_ms).unwrap_or_default();
    let what = if ended { "has ended" } else { "has not turned" };
    let finding = Finding {
        code: entry.code,
        severity: entry.severity,
        scope: Scope::Daemon,
        project: None,
        title: entry.title.to_owned(),
        message: format!("the sync loop of pid {} {what} for {} s", report.daemon.pid, quiet_ms / 1_000),
        since: rfc3339_from_ms(since_ms),
        hint: entry.hint.map(str::to_owned),
    };
    let mut report = report.clone();
    report.daemon.healthy = false;
    report.sync.health = Health::Degraded;
    report.findings.insert(0, finding);
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::machine_settings;
    use engram_proto::reason::Severity;
    use engramd_core::Machine;
    use engramd_core::health::Who;

    /// LOUD-2: a loop that does not turn any more, or ended, makes a process that answers unhealthy, and nobody tells the
    /// service manager that it is alive.
    #[tokio::test]
    async fn loud_2_a_loop_that_stands_still_or_has_ended_is_said_by_the_process_that_lives() {
        let report = Machine::new(machine_settings(30, 1 << 20)).report(&Who::default());
        let (commands, inbox) = mpsc::channel(1);
        let (_publisher, published) = watch::channel(Published { report: Arc::new(report.clone()), at_ms: 1 });
        let turning = DriverHandle::new(commands, published, Arc::new(EventLog::new()));
        assert_eq!(*turning.report(), report);
        assert!(turning.is_alive());
        let standing = DriverHandle { stall_ms: 5, ..turning.clone() };
        standing.stalls().await;
        let is_said = |handle: &DriverHandle, words: &str| {
            let said = handle.report();
            let first = &said.findings[0];
            assert_eq!((first.code, first.severity), (ReasonCode::LoopStalled, Severity::Error));
            assert!(first.message.contains(words), "{first:?}");
            // Nothing that the loop would have to answer: a sync would wait for it, and one that ended does none.
            assert_eq!(first.hint.as_deref(), Some(reason_catalog::RESTART));
            assert!(!said.daemon.healthy && said.sync.health == Health::Degraded && !handle.is_alive());
        };
        is_said(&standing, "has not turned");
        drop(inbox);
        is_said(&turning, "has ended");
    }
}
