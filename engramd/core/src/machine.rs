//! The machine: one `handle` that takes an event and says what is to be done.
//!
//! ```text
//!            lease ──► server known ──┬──► push lane   load ► send ► settle ─┐
//!  events ──►                         │        ▲──────────────────────────────┘
//!                                     └──► pull lane   cursors ► pull ► apply ► stand-ins ─┐
//!                                              ▲───────────────────────────────────────────┘
//! ```
//!
//! Nothing is remembered about what "should" happen next: after every event [`Machine::advance`] looks at what is and
//! starts whatever can start. So no order of events can leave it stuck (REC-1).

use crate::agree::Agree;
use crate::backoff::{Retry, delay_ms};
use crate::classify::{Failure, Fault};
use crate::event::{Cloud, Effect, Event, Now, Projects};
use crate::lease::Lease;
use crate::project::Project;
use crate::pull_lane::PullLane;
use crate::push_lane::PushLane;
use crate::replaced::Replaced;
use crate::rows::{Counts, Fence};
use crate::server::Server;
use crate::store_health::StoreHealth;
use crate::ticket::Ticket;
use engram_proto::id::ProjectName;
use engram_proto::reason::ReasonCode;
use std::collections::BTreeMap;

/// What does not change while the machine runs. Milliseconds throughout.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The delays between attempts, without jitter.
    pub ladder_ms: Vec<u64>,
    /// How long a lease lasts without being renewed.
    pub lease_ttl_ms: u64,
    /// How often the loop turns when nothing happens.
    pub tick_ms: u64,
    /// How often a blocked thing is tried again.
    pub block_probe_ms: u64,
    /// How often the rows themselves are looked at.
    pub recheck_ms: u64,
    /// How long a pull waits at the server, in seconds.
    pub wait_seconds: u32,
    /// The largest request, in bytes before compression, whatever the server would take.
    pub request_bytes_max: u64,
}

/// The sync loop of one store.
#[derive(Debug)]
pub struct Machine {
    pub(crate) settings: Settings,
    pub(crate) now: Now,
    pub(crate) draw: f64,
    pub(crate) cloud: Cloud,
    pub(crate) cloud_since: Now,
    /// Since when local rows of projects that are not enrolled exist.
    pub(crate) others_since: Option<Now>,
    pub(crate) paused_all: Option<(Option<String>, i64)>,
    /// Rows that are held because nothing tells their project, by their reason, and since when there are any.
    pub(crate) nameless: BTreeMap<ReasonCode, (u64, Now)>,
    pub(crate) projects: BTreeMap<ProjectName, Project>,
    pub(crate) counts: Counts,
    pub(crate) lease: Lease,
    pub(crate) server: Server,
    pub(crate) store: StoreHealth,
    pub(crate) replaced: Replaced,
    pub(crate) agree: Agree,
    pub(crate) push: PushLane,
    pub(crate) pull: PullLane,
    pub(crate) tickets: Vec<Ticket>,
    /// Raised whenever another server may answer; what was read or answered before is not of this one (CUR-3).
    pub(crate) conversation: u64,
    /// Raised whenever somebody wants to be up to date; a pull that began at it or later fulfils it.
    pub(crate) generation: u64,
    pub(crate) last_success_ms: Option<i64>,
    pub(crate) panicked: Retry,
    pub(crate) stopping: bool,
    pub(crate) stopped: bool,
    pub(crate) out: Vec<Effect>,
}

impl Machine {
    /// Makes a machine that waits for its configuration.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        assert!(!settings.ladder_ms.is_empty(), "a ladder without a rung");
        Self {
            settings,
            now: Now::default(),
            draw: 0.5,
            cloud: Cloud::default(),
            cloud_since: Now::default(),
            others_since: None,
            paused_all: None,
            nameless: BTreeMap::new(),
            projects: BTreeMap::new(),
            counts: Counts::new(),
            lease: Lease::default(),
            server: Server::default(),
            store: StoreHealth::default(),
            replaced: Replaced::default(),
            agree: Agree::default(),
            push: PushLane::default(),
            pull: PullLane::default(),
            tickets: Vec::new(),
            conversation: 0,
            generation: 1,
            last_success_ms: None,
            panicked: Retry::default(),
            stopping: false,
            stopped: false,
            out: Vec::new(),
        }
    }

    /// Takes one event and returns what is to be done, in order.
    ///
    /// `draw` in 0..1 decides the jitter of a delay, should one begin.
    pub fn handle(&mut self, event: Event, now: Now, draw: f64) -> Vec<Effect> {
        self.now = now;
        self.draw = draw;
        self.take(event);
        self.advance();
        self.follow_tickets();
        std::mem::take(&mut self.out)
    }

    /// Returns when [`Event::Tick`] is due next, on the monotonic clock.
    #[must_use]
    pub fn next_deadline_ms(&self) -> u64 {
        let projects = self
            .projects
            .values()
            .flat_map(|project| [project.access.until_ms, project.push.until_ms, project.repair.until_ms()]);
        let own = [
            self.server.retry.until_ms,
            self.push.retry.until_ms,
            self.pull.retry.until_ms,
            self.pull.poll_at_ms,
            self.panicked.until_ms,
            self.lease.due_ms(),
            self.store.due_ms(),
        ];
        let shown = self.finding_deadlines_ms();
        let next = projects.chain(own).chain(shown).filter(|&at| at > self.now.mono_ms).min();
        next.unwrap_or(u64::MAX).min(self.now.mono_ms + self.settings.tick_ms)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::CloudChanged(cloud) => self.cloud_changed(cloud),
            Event::Reloaded(cloud, projects) => {
                self.cloud_changed(cloud);
                self.projects_changed(projects);
            }
            Event::ProjectsChanged(projects) => self.projects_changed(projects),
            Event::Counted(counts) => self.counted(counts),
            Event::NamelessCounted(nameless) => {
                let since = |code| self.nameless.get(&code).map_or(self.now, |&(_, since)| since);
                self.nameless = nameless.into_iter().map(|(code, rows)| (code, (rows, since(code)))).collect();
            }
            Event::Tick => {}
            Event::Woken => self.wake(),
            Event::SyncRequested { ticket, project, direction } => self.sync_requested(ticket, project, direction),
            Event::SyncAbandoned(ticket) => self.tickets.retain(|open| open.id != ticket),
            Event::LeaseAnswered(answer) => self.lease_answered(answer),
            Event::LeaseRenewed(answer) => self.lease_renewed(answer),
            Event::Probed(answer) => self.probed(answer),
            Event::Belonging(answer) => self.belonging(answer),
            Event::BatchLoaded(answer) => self.batch_loaded(answer),
            Event::Sent(answer) => self.sent(answer),
            Event::Settled(answer) => self.settled(answer),
            Event::CursorsLoaded(answer) => self.cursors_loaded(answer),
            Event::Pulled(answer) => self.pulled(answer),
            Event::PullCancelled => self.pull_cancelled(),
            Event::Applied(answer) => self.applied(answer),
            Event::RereadCleared(answer) => self.reread_cleared(answer),
            Event::StoodIn(answer) => self.stood_in(answer),
            Event::Looked(answer) => self.looked(answer),
            Event::Compared(answer) => self.compared(answer),
            Event::Rechecked(answer) => self.rechecked(answer),
            Event::StoreMet(met) => self.store_met(met),
            Event::StoreLooked(answer) => self.store_looked(answer),
            Event::Panicked(message) => self.panicked(message),
            Event::Stopping => self.stopping = true,
        }
    }

    /// Starts whatever can start now.
    fn advance(&mut self) {
        if self.stopping {
            return self.advance_stop();
        }
        self.advance_store();
        if !self.panicked.is_due(self.now) {
            return;
        }
        if !self.panicked.fresh {
            self.panicked.trouble = None;
        }
        if !matches!(self.cloud, Cloud::Configured { .. }) || self.paused_all.is_some() {
            return self.cancel_pull();
        }
        let Some(fence) = self.advance_lease() else { return self.cancel_pull() };
        if self.advance_server() && self.advance_replaced(&fence) {
            self.advance_push(&fence);
            self.advance_pull(&fence);
            self.advance_agree(&fence);
        }
    }

    fn advance_stop(&mut self) {
        self.cancel_pull();
        if self.stopped || !self.push.is_idle() || !self.pull.is_idle() || !self.is_store_free() {
            return;
        }
        self.stopped = true;
        if let Some(fence) = self.lease.give_back() {
            self.out.push(Effect::ReleaseLease(fence));
        }
        self.out.push(Effect::Stopped);
    }

    /// Tells whether no write beside the lanes is under way: neither a mirroring nor a look at rows.
    fn is_store_free(&self) -> bool {
        self.replaced.is_idle() && self.agree.is_idle()
    }

    fn cloud_changed(&mut self, cloud: Cloud) {
        if cloud != self.cloud || self.cloud_since == Now::default() {
            self.server = Server::default();
            self.replaced = Replaced::default();
            self.another_answers();
            self.cloud = cloud;
            self.cloud_since = self.now;
        }
        // A new token looks the same from here, and ends a refusal at once (REC-1).
        self.wake();
    }

    /// Forgets how far everything was read, and what is under way: what comes of it is not of whoever answers now.
    pub(crate) fn another_answers(&mut self) {
        self.conversation += 1;
        self.cancel_pull();
        self.agree.forget();
        self.forget_places();
    }

    fn projects_changed(&mut self, projects: Projects) {
        self.paused_all = projects.paused_all;
        let enrolled = projects.enrolled.into_iter().map(|name| {
            let mut project = self.projects.remove(&name).unwrap_or_default();
            let paused = projects.paused.get(&name).cloned();
            if project.paused.is_some() && paused.is_none() {
                project.drained_generation = 0;
            }
            project.paused = paused;
            let was_queueing = std::mem::replace(&mut project.queueing, projects.queueing.contains(&name));
            // What the cloud does not know of is looked for behind what nobody told of.
            project.stand_in_due |= was_queueing && !project.queueing;
            project.count(self.counts.get(&name).cloned().unwrap_or_default(), self.now);
            (name, project)
        });
        self.projects = enrolled.collect();
        self.replaced.look_again();
        self.look_at_others();
    }

    fn look_at_others(&mut self) {
        let any = self.counts.iter().any(|(name, counts)| counts.pending > 0 && !self.projects.contains_key(name));
        self.others_since = any.then(|| self.others_since.unwrap_or(self.now));
    }

    fn counted(&mut self, counts: Counts) {
        let mut moved = Vec::new();
        for (name, project) in &mut self.projects {
            let counts = counts.get(name).cloned().unwrap_or_default();
            if counts.reread.is_some() && counts.reread != project.counts.reread {
                moved.push(name.clone());
            }
            project.count(counts, self.now);
        }
        self.counts = counts;
        self.look_at_others();
        self.read_again(&moved);
    }

    /// Reads projects to the head again: a Go process synced the store, and the store took their cursors back.
    fn read_again(&mut self, names: &[ProjectName]) {
        self.generation += u64::from(!names.is_empty());
        for name in names {
            if let Some(project) = self.projects.get_mut(name) {
                project.cursor = None;
                project.in_doubt = self.generation;
            }
            let message = "another program synced this store; the project is read again before it is pushed";
            self.note("read_again", Some(name), message.to_owned());
        }
    }

    /// Ends every waiting: the cause may be gone (REC-1).
    pub(crate) fn wake(&mut self) {
        self.generation += 1;
        for retry in [&mut self.server.retry, &mut self.push.retry, &mut self.pull.retry, &mut self.panicked] {
            retry.wake();
        }
        self.lease.wake();
        self.store.wake();
        self.agree.wake();
        for project in self.projects.values_mut() {
            project.access.wake();
            project.push.wake();
        }
    }

    fn panicked(&mut self, message: String) {
        self.push.abort();
        self.pull.abort();
        self.server.abort();
        self.replaced.abort();
        self.agree.abort();
        self.lease.abort();
        let wait_ms = self.backoff_ms(self.panicked.failures);
        self.panicked.fail(ReasonCode::InternalError, message, wait_ms, self.now);
        self.panicked.fresh = false;
    }

    /// Returns the delay after one more failure.
    pub(crate) fn backoff_ms(&self, failures_before: u32) -> u64 {
        delay_ms(&self.settings.ladder_ms, failures_before.saturating_add(1), self.draw)
    }

    /// Records a failure of the conversation: of the server, of one project, or of the lane that met it.
    pub(crate) fn conversation_failed(&mut self, failure: Failure, project: Option<&ProjectName>, out: bool) {
        let now = self.now;
        match failure {
            Failure::Blocked { code, message } => {
                self.server.forget();
                self.server.retry.fail(code, message, self.settings.block_probe_ms, now);
            }
            Failure::Project { code, message } => {
                let wait_ms = self.settings.block_probe_ms;
                let Some(project) = project.and_then(|name| self.projects.get_mut(name)) else {
                    // A refusal of the whole grant: every pull of ours names its projects, so it is the server's.
                    return self.lane_failed(code, message, None, out);
                };
                let retry = if code == ReasonCode::PolicyForbidden { &mut project.access } else { &mut project.push };
                retry.fail(code, message, wait_ms, now);
            }
            Failure::Transport { code, message, fault: Fault::Unreachable, wait_ms } => {
                let backoff_ms = self.backoff_ms(self.server.retry.failures);
                self.server.forget();
                self.server.retry.fail(code, message, wait_ms.unwrap_or(0).max(backoff_ms), now);
            }
            Failure::Transport { code, message, wait_ms, .. } => {
                self.lane_failed(code, message, wait_ms, out);
            }
            Failure::Replaced { cloud_id, message } => self.cloud_replaced(cloud_id.as_deref(), message),
            Failure::Rows(fault) => self.lane_failed(ReasonCode::TransportFailed, fault.evidence, None, out),
        }
    }

    pub(crate) fn lane_failed(&mut self, code: ReasonCode, message: String, wait_ms: Option<u64>, out: bool) {
        let failures = if out { self.push.retry.failures } else { self.pull.retry.failures };
        let wait_ms = wait_ms.unwrap_or(0).max(self.backoff_ms(failures));
        let now = self.now;
        let retry = if out { &mut self.push.retry } else { &mut self.pull.retry };
        retry.fail(code, message, wait_ms, now);
    }

    /// Records that the server did what it is for.
    pub(crate) fn conversation_succeeded(&mut self) {
        self.last_success_ms = Some(self.now.wall_ms);
        self.server.retry.succeed();
        self.panicked.succeed();
    }

    pub(crate) fn note(&mut self, kind: &'static str, project: Option<&ProjectName>, message: String) {
        self.out.push(Effect::Note { kind, project: project.cloned(), message });
    }

    /// Tells whether all work is given back.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Returns the fence, while the lease is held; for reads that go with writes of sync state.
    #[must_use]
    pub fn fence(&self) -> Option<&Fence> {
        self.lease.fence()
    }
}
