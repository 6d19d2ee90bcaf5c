//! The pull lane: read the cursors once, then page after page, each applied with its cursors; at the head it looks after
//! what still waits for a parent and what the server's last rows show, and listens for more.

use crate::backoff::Retry;
use crate::classify::{Failure, Fault};
use crate::event::{Cloud, Effect, StoreTrouble};
use crate::machine::Machine;
use crate::pull_page;
use crate::rows::{Applied, Fence, Repaired};
use engram_proto::http::health::capability;
use engram_proto::http::pull::{PullReply, PullRequest};
use engram_proto::id::ProjectName;
use engram_proto::merge::Digest;
use engram_proto::reason::ReasonCode;
use engram_proto::words::count;
use std::collections::BTreeMap;

/// How the pull lane stands; at most one effect of it is in flight.
#[derive(Debug, Default)]
pub(crate) struct PullLane {
    state: State,
    /// The conversation in which that began.
    conversation: u64,
    /// A cursor was forgotten while cursors are loaded: what is read then may be from before.
    is_stale: bool,
    /// How receiving goes.
    pub(crate) retry: Retry,
    /// Pages that came since the machine began.
    pub(crate) pages: u64,
    /// Unix milliseconds.
    pub(crate) last_pull_ms: Option<i64>,
    /// When to ask a server again that cannot hold a pull until there is news, on the monotonic clock.
    pub(crate) poll_at_ms: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    LoadingCursors,
    Fetching {
        request: PullRequest,
        generation: u64,
        cancelling: bool,
    },
    Applying {
        end: PageEnd,
        generation: u64,
    },
    ClearingReread(ProjectName, i64),
    StandingIn(ProjectName),
    Looking {
        project: ProjectName,
        confirmed: bool,
    },
}

/// What of a page outlives its rows.
#[derive(Debug)]
struct PageEnd {
    asked: Vec<ProjectName>,
    cursors: BTreeMap<ProjectName, u64>,
    heads: BTreeMap<ProjectName, u64>,
    remaining: BTreeMap<ProjectName, u64>,
    has_more: bool,
    digests: BTreeMap<ProjectName, Digest>,
}

impl PullLane {
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Tells whether it only listens.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(&self.state, State::Fetching { request, .. } if request.wait_seconds > 0)
    }

    pub(crate) fn is_replaying(&self) -> bool {
        matches!(self.state, State::StandingIn(_))
    }

    /// Tells whether what is under way would move this project's cursor.
    pub(crate) fn is_about(&self, name: &ProjectName) -> bool {
        match &self.state {
            State::Idle => false,
            State::LoadingCursors => true,
            State::Fetching { request, .. } => request.cursors.contains_key(name),
            State::Applying { end, .. } => end.asked.contains(name),
            State::ClearingReread(project, _) | State::Looking { project, .. } | State::StandingIn(project) => {
                project == name
            }
        }
    }

    pub(crate) fn abort(&mut self) {
        self.state = State::Idle;
    }

    /// Hears that the store forgot a cursor.
    pub(crate) fn cursor_was_forgotten(&mut self) {
        self.is_stale |= matches!(self.state, State::LoadingCursors);
    }
}

impl Machine {
    pub(crate) fn advance_pull(&mut self, fence: &Fence) {
        self.cancel_stale_pull();
        if !self.pull.is_idle() || !self.pull.retry.is_due(self.now) {
            return;
        }
        self.end_random_waits();
        self.pull.conversation = self.conversation;
        let Some(info) = &self.server.info else { return };
        if self.projects.values().any(|project| project.cursor.is_none()) {
            let effect = Effect::LoadCursors {
                cloud_id: info.cloud_id.clone(),
                projects: self.projects.keys().cloned().collect(),
            };
            self.out.push(effect);
            self.pull.state = State::LoadingCursors;
        } else if let Some((project, mark)) = self.next_reread() {
            self.out.push(Effect::ClearReread { fence: fence.clone(), project: project.clone(), mark });
            self.pull.state = State::ClearingReread(project, mark);
        } else if let Some(project) = self.next_to_stand_in() {
            self.out.push(Effect::StandIns { fence: fence.clone(), project: project.clone() });
            self.pull.state = State::StandingIn(project);
        } else if let Some((project, confirmed, effect)) = self.next_repair(&info.cloud_id, fence) {
            self.out.push(effect);
            self.pull.state = State::Looking { project, confirmed };
        } else {
            self.ask_for_page();
        }
    }

    /// Finds a project that was read to the head since a Go process synced the store.
    fn next_reread(&self) -> Option<(ProjectName, i64)> {
        let read = |(name, project): (&ProjectName, &crate::project::Project)| {
            project.counts.reread.filter(|_| project.is_certain()).map(|mark| (name.clone(), mark))
        };
        self.projects.iter().find_map(read)
    }

    fn next_to_stand_in(&self) -> Option<ProjectName> {
        let due = |project: &crate::project::Project| {
            project.stand_in_due && project.drained_generation > 0 && project.cursor == Some(project.head)
        };
        self.projects.iter().find(|(_, project)| due(project)).map(|(name, _)| name.clone())
    }

    fn pullable(&self) -> BTreeMap<ProjectName, u64> {
        let pullable = self.projects.iter().filter(|(_, project)| project.can_pull(self.now));
        pullable.map(|(name, project)| (name.clone(), project.cursor.unwrap_or(0))).collect()
    }

    fn ask_for_page(&mut self) {
        let cursors = self.pullable();
        if cursors.is_empty() {
            return;
        }
        let drained = cursors.keys().all(|name| self.projects[name].drained_generation >= self.generation);
        // What failed before is to be proved well at once, not at the end of a long wait (LOUD-2).
        let is_proved = self.pull.retry.trouble.is_none() && self.server.retry.trouble.is_none();
        let wait_seconds = if !drained || !is_proved {
            0
        } else if self.server.can(capability::LONG_POLL) {
            self.settings.wait_seconds
        } else if self.now.mono_ms >= self.pull.poll_at_ms {
            0
        } else {
            return;
        };
        let limit = self.server.limits().pull_entries;
        let request = PullRequest { cursors, limit, wait_seconds, ..PullRequest::default() };
        self.out.push(Effect::Pull(request.clone()));
        self.pull.state = State::Fetching { request, generation: self.generation, cancelling: false };
    }

    /// Gives up listening when there is something newer to ask.
    fn cancel_stale_pull(&mut self) {
        let State::Fetching { request, generation, .. } = &self.pull.state else { return };
        let same = || request.cursors.keys().eq(self.pullable().keys());
        if request.wait_seconds > 0 && (*generation < self.generation || !same()) {
            self.cancel_pull();
        }
    }

    pub(crate) fn cancel_pull(&mut self) {
        if let State::Fetching { cancelling, .. } = &mut self.pull.state
            && !*cancelling
        {
            *cancelling = true;
            self.out.push(Effect::CancelPull);
        }
    }

    pub(crate) fn pull_cancelled(&mut self) {
        if matches!(self.pull.state, State::Fetching { .. }) {
            self.pull.state = State::Idle;
        }
    }

    pub(crate) fn cursors_loaded(&mut self, answer: Result<BTreeMap<ProjectName, u64>, StoreTrouble>) {
        let was_loading = matches!(std::mem::take(&mut self.pull.state), State::LoadingCursors);
        let is_stale = std::mem::take(&mut self.pull.is_stale);
        if !was_loading || is_stale || self.pull.conversation != self.conversation {
            return;
        }
        match answer {
            Ok(cursors) => {
                for (name, project) in &mut self.projects {
                    project.cursor = Some(cursors.get(name).copied().unwrap_or(0));
                    project.stand_in_due = true;
                }
            }
            Err(trouble) => self.store_failed(trouble, false),
        }
    }

    pub(crate) fn pulled(&mut self, answer: Result<PullReply, Failure>) {
        let State::Fetching { request, generation, .. } = std::mem::take(&mut self.pull.state) else { return };
        if self.pull.conversation != self.conversation {
            // A page of a server that was left moves no cursor of another one.
            return;
        }
        let page = match answer {
            Ok(page) => page,
            Err(failure) => return self.conversation_failed(failure, None, false),
        };
        if let Err(wrong) = pull_page::check(&request, &page) {
            let host = match &self.cloud {
                Cloud::Configured { host } => host.as_str(),
                Cloud::NotConfigured | Cloud::Invalid { .. } => "the server",
            };
            let message = format!("{host} answered a page that cannot be true: {wrong}");
            let failure = Failure::Transport {
                code: ReasonCode::TransportFailed,
                message,
                fault: Fault::Answered,
                wait_ms: None,
            };
            return self.conversation_failed(failure, None, false);
        }
        self.pull_succeeded();
        let end = self.take_denials(&request, &page, generation);
        let moves = end.cursors.iter().any(|(name, cursor)| request.cursors.get(name) != Some(cursor));
        if page.mutations.is_empty() && page.unnumbered.is_empty() && page.chunks.is_empty() && !moves {
            return self.page_done(end, generation, &BTreeMap::new());
        }
        if self.clock_was_set() {
            // The page is read again once the cloud's time is known, for what is pending may have to be stamped first.
            return;
        }
        let (Some(fence), Some(info)) = (self.lease.fence(), &self.server.info) else { return };
        let cloud_now = self.cloud_now();
        let (cloud_id, since) = (info.cloud_id.clone(), request.cursors);
        let effect = Effect::Apply { fence: fence.clone(), cloud_id, since, page, cloud_now };
        self.out.push(effect);
        self.pull.state = State::Applying { end, generation };
    }

    fn pull_succeeded(&mut self) {
        self.conversation_succeeded();
        self.pull.retry.succeed();
        self.pull.pages += 1;
        self.pull.last_pull_ms = Some(self.now.wall_ms);
    }

    fn take_denials(&mut self, request: &PullRequest, page: &PullReply, generation: u64) -> PageEnd {
        let (now, wait_ms) = (self.now, self.settings.block_probe_ms);
        // Whoever asked since is answered by a pull that began later: the grant may have come meanwhile (REC-1).
        let is_stale = generation < self.generation;
        for name in request.cursors.keys() {
            let Some(project) = self.projects.get_mut(name) else { continue };
            match page.denied.get(name) {
                Some(denial) => {
                    let message = format!("project {name}: {}", denial.message);
                    project.access.fail(ReasonCode::PolicyForbidden, message, wait_ms, now);
                    if is_stale {
                        project.access.wake();
                    }
                }
                None => project.access.succeed(),
            }
        }
        PageEnd {
            asked: request.cursors.keys().filter(|name| !page.denied.contains_key(*name)).cloned().collect(),
            cursors: page.cursors.clone(),
            heads: page.heads.clone(),
            remaining: page.remaining.clone(),
            has_more: page.has_more,
            digests: page.digests.clone(),
        }
    }

    pub(crate) fn applied(&mut self, answer: Result<BTreeMap<ProjectName, Applied>, StoreTrouble>) {
        let State::Applying { end, generation } = std::mem::take(&mut self.pull.state) else { return };
        match answer {
            Ok(applied) => self.page_done(end, generation, &applied),
            Err(trouble) => {
                // Some slices of the page may have been committed: only the store knows the cursors now.
                for project in self.projects.values_mut() {
                    project.cursor = None;
                }
                self.store_failed(trouble, false);
            }
        }
    }

    fn page_done(&mut self, end: PageEnd, generation: u64, applied: &BTreeMap<ProjectName, Applied>) {
        if self.pull.conversation == self.conversation {
            self.page_ended(end, generation);
        }
        for (name, done) in applied {
            if let Some(project) = self.projects.get_mut(name) {
                project.applied(*done, self.now);
            }
            if done.received > 0 {
                self.note("pulled", Some(name), format!("{}, {} changed", count(done.received, "row"), done.changed));
            }
        }
    }

    fn page_ended(&mut self, end: PageEnd, generation: u64) {
        self.pull.poll_at_ms = self.now.mono_ms + self.settings.tick_ms;
        for name in &end.asked {
            let Some(project) = self.projects.get_mut(name) else { continue };
            // Where the cursor was taken back meanwhile, only the store knows where it is.
            let Some(before) = project.cursor else { continue };
            let cursor = end.cursors.get(name).copied().unwrap_or(before);
            project.cursor = Some(cursor);
            project.head = end.heads.get(name).copied().unwrap_or(cursor).max(cursor);
            project.behind = if cursor == project.head { 0 } else { end.remaining.get(name).copied().unwrap_or(1) };
            if !end.has_more || project.behind == 0 {
                project.drained_generation = generation;
                project.reached_head();
            }
            project.last_pull_ms = Some(self.now.wall_ms);
        }
        self.agree.hear(&end.heads, end.digests);
    }

    pub(crate) fn reread_cleared(&mut self, answer: Result<(), StoreTrouble>) {
        let State::ClearingReread(name, mark) = std::mem::take(&mut self.pull.state) else { return };
        match answer {
            Ok(()) => {
                if let Some(project) = self.projects.get_mut(&name) {
                    project.counts.reread.take_if(|of| *of == mark);
                }
            }
            Err(trouble) => self.store_failed(trouble, false),
        }
    }

    pub(crate) fn stood_in(&mut self, answer: Result<Applied, StoreTrouble>) {
        let State::StandingIn(name) = std::mem::take(&mut self.pull.state) else { return };
        match answer {
            Ok(done) => {
                if let Some(project) = self.projects.get_mut(&name) {
                    project.stand_in_due = done.unfinished;
                }
            }
            Err(trouble) => self.store_failed(trouble, false),
        }
    }

    pub(crate) fn looked(&mut self, answer: Result<Repaired, StoreTrouble>) {
        let State::Looking { project, confirmed } = std::mem::take(&mut self.pull.state) else { return };
        self.repair_looked(&project, confirmed, answer);
    }
}
