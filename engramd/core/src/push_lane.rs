//! The push lane: load a batch, send it part by part, settle what the replies name; one project after the other, until
//! nothing is pending.

use crate::backoff::Retry;
use crate::classify::{Failure, Fault, RowFault};
use crate::event::{Effect, StoreTrouble};
use crate::machine::Machine;
use crate::project::Project;
use crate::push_plan::{Plan, Verdict};
use crate::push_settle::settlements;
use crate::rows::{Batch, BatchLimits, Fence, PendingRow, Settled, Settlement};
use engram_proto::http::health::capability;
use engram_proto::http::push::PushReply;
use engram_proto::id::ProjectName;
use engram_proto::reason::ReasonCode;
use engram_proto::words::count;
use std::ops::Bound;
use std::sync::Arc;

/// An outage ends in blame only after so many rounds in which pulls worked (reasons.md).
const OUTAGE_ROUNDS: u32 = 3;

/// How the push lane stands; at most one effect of it is in flight.
#[derive(Debug, Default)]
pub(crate) struct PushLane {
    state: State,
    /// The conversation in which that began.
    conversation: u64,
    /// What a request may have at most since something on the way refused a larger one, in bytes, and in which conversation
    /// that was: the next batch need not find it out again.
    narrow: Option<(u64, u64)>,
    /// How sending goes, whatever the project.
    pub(crate) retry: Retry,
    /// Whose turn it was last, so that no project waits for another (ISO-2).
    last: Option<ProjectName>,
    /// Unix milliseconds.
    pub(crate) last_push_ms: Option<i64>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Loading(ProjectName),
    Sending(ProjectName, Plan),
    Settling(ProjectName, Plan),
}

impl PushLane {
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.is_idle()
    }

    /// Returns how large a request may be, in bytes, as far as this conversation has shown.
    fn narrowest(&self, conversation: u64) -> u64 {
        self.narrow.filter(|(then, _)| *then == conversation).map_or(u64::MAX, |(_, bytes)| bytes)
    }

    /// Learns that a request of several rows was too large: each of its halves may still be.
    fn was_too_large(&mut self, rows: &[Arc<PendingRow>], conversation: u64) {
        if rows.len() > 1 {
            let half = rows.iter().map(|row| row.body_bytes).sum::<u64>() / 2;
            self.narrow = Some((conversation, half.min(self.narrowest(conversation))));
        }
    }

    /// Tells whether rows of this project are under way: until they are settled nobody knows what became of them.
    pub(crate) fn is_about(&self, name: &ProjectName) -> bool {
        match &self.state {
            State::Idle => false,
            State::Loading(project) | State::Sending(project, _) | State::Settling(project, _) => project == name,
        }
    }

    pub(crate) fn abort(&mut self) {
        self.state = State::Idle;
    }
}

impl Machine {
    pub(crate) fn advance_push(&mut self, fence: &Fence) {
        // As of each project: where nothing waits, nothing stands in its way (LOUD-2).
        if self.push.retry.trouble.is_some() && self.projects.values().all(|project| project.counts.pending == 0) {
            self.push.retry.succeed();
        }
        if self.push.is_busy() {
            return;
        }
        if !self.push.retry.is_due(self.now) {
            return;
        }
        let Some(project) = self.next_to_push() else { return };
        let limits = self.server.limits();
        let limits = BatchLimits {
            rows_max: limits.push_entries,
            body_bytes_max: limits
                .push_bytes
                .min(self.settings.request_bytes_max)
                .min(self.push.narrowest(self.conversation)),
        };
        self.push.last = Some(project.clone());
        self.push.state = State::Loading(project.clone());
        self.push.conversation = self.conversation;
        let cloud_now = self.cloud_now();
        self.out.push(Effect::LoadBatch { fence: fence.clone(), project, limits, cloud_now });
    }

    fn next_to_push(&self) -> Option<ProjectName> {
        let can = |(name, project): (&ProjectName, &Project)| {
            (project.can_push(self.now) && !self.must_read_first(project)).then(|| name.clone())
        };
        let Some(last) = &self.push.last else { return self.projects.iter().find_map(can) };
        let after = self.projects.range::<ProjectName, _>((Bound::Excluded(last), Bound::Unbounded));
        after.chain(self.projects.range::<ProjectName, _>(..=last)).find_map(can)
    }

    /// Tells whether a pull has to show first what the server holds: after a Go process synced the store, until the store
    /// knows that it did; and where rows were sent without ids, for the same row sent twice is two rows (ACK-1).
    pub(crate) fn must_read_first(&self, project: &Project) -> bool {
        project.counts.reread.is_some() || !self.server.can(capability::MUTATION_IDS) && !project.is_certain()
    }

    pub(crate) fn batch_loaded(&mut self, answer: Result<Batch, StoreTrouble>) {
        let State::Loading(project) = std::mem::take(&mut self.push.state) else { return };
        match answer {
            Ok(batch) => self.plan_batch(project, batch),
            Err(trouble) => self.store_failed(trouble, true),
        }
    }

    fn plan_batch(&mut self, project: ProjectName, batch: Batch) {
        let limit = self.server.limits().push_bytes;
        let (rows, too_large): (Vec<_>, Vec<_>) =
            batch.rows.into_iter().map(Arc::new).partition(|row| row.body_bytes <= limit);
        let Some(known) = self.projects.get_mut(&project) else { return };
        if rows.is_empty() && too_large.is_empty() {
            // It was counted before the store held rows back that nobody can send; the next count says so.
            known.counts.pending = 0;
            return;
        }
        let plan = if known.outage { Plan::ends(rows) } else { Plan::whole(rows) };
        let held = too_large.iter().map(|row| Settlement::Held {
            seq: row.seq,
            reason: ReasonCode::PayloadTooLarge,
            evidence: format!("the row has {} bytes, and the server takes {limit} in one request", row.body_bytes),
        });
        let held: Vec<_> = held.collect();
        self.settle_or_send(project, plan, held);
    }

    /// Records what is decided; without any, sends what is next.
    fn settle_or_send(&mut self, project: ProjectName, plan: Plan, settlements: Vec<Settlement>) {
        if !settlements.is_empty() {
            let Some(fence) = self.lease.fence().cloned() else { return };
            self.out.push(Effect::Settle { fence, project: project.clone(), settlements });
            self.push.state = State::Settling(project, plan);
            return;
        }
        match plan.verdict() {
            // Its user may have left it, or its server, while a part was under way; what is pending stays so.
            Verdict::GoOn if !self.may_send(&project) => {}
            Verdict::GoOn => {
                self.out.push(Effect::Send { project: project.clone(), rows: plan.next() });
                self.push.state = State::Sending(project, plan);
            }
            Verdict::Done => {}
            Verdict::Outage { evidence } => self.push_outage(&project, &plan, evidence),
        }
    }

    /// Tells whether more of the batch under way may be said to the server that answers (SCOPE-1, CUR-3).
    fn may_send(&self, project: &ProjectName) -> bool {
        let takes_part = self.projects.get(project).is_some_and(Project::takes_part);
        takes_part && self.paused_all.is_none() && self.push.conversation == self.conversation
    }

    pub(crate) fn sent(&mut self, answer: Result<PushReply, Failure>) {
        let State::Sending(project, plan) = std::mem::take(&mut self.push.state) else { return };
        if self.push.conversation != self.conversation {
            // The rows stay pending: a server that was left acknowledges nothing for the one that answers now.
            return;
        }
        match answer {
            Ok(reply) => self.push_answered(project, plan, &reply),
            Err(Failure::Rows(fault)) => self.push_refused(project, plan, &fault),
            Err(failure) => self.push_failed(&project, failure),
        }
    }

    /// Records that a push brought no answer that counts; where the request may have arrived, its rows are in doubt.
    fn push_failed(&mut self, name: &ProjectName, failure: Failure) {
        let may_have_arrived = matches!(failure, Failure::Transport { fault: Fault::Answered | Fault::Garbled, .. });
        if may_have_arrived && !self.server.can(capability::MUTATION_IDS) {
            self.generation += 1;
            if let Some(project) = self.projects.get_mut(name) {
                project.in_doubt = self.generation;
            }
        }
        self.conversation_failed(failure, Some(name), true);
    }

    fn push_answered(&mut self, project: ProjectName, mut plan: Plan, reply: &PushReply) {
        let mut decided = settlements(&plan.next(), reply);
        if decided.is_empty() {
            let message = format!("the server answered a push of {project} without naming any of its rows");
            let failure = Failure::Transport {
                code: ReasonCode::TransportFailed,
                message,
                fault: Fault::Answered,
                wait_ms: None,
            };
            return self.push_failed(&project, failure);
        }
        decided.extend(plan.accepted());
        self.conversation_succeeded();
        self.push.retry.succeed();
        self.push.last_push_ms = Some(self.now.wall_ms);
        if let Some(known) = self.projects.get_mut(&project) {
            known.push.succeed();
            known.access.succeed();
            known.last_push_ms = Some(self.now.wall_ms);
            (known.outage, known.outage_rounds) = (false, 0);
        }
        self.settle_or_send(project, plan, decided);
    }

    fn push_refused(&mut self, project: ProjectName, mut plan: Plan, fault: &RowFault) {
        if fault.too_large && fault.named.is_empty() {
            self.push.was_too_large(&plan.next(), self.conversation);
        }
        let decided = plan.refused(fault);
        self.settle_or_send(project, plan, decided);
    }

    /// Nothing got through: waits, and blames the first row only when pulls went on all the while.
    fn push_outage(&mut self, name: &ProjectName, plan: &Plan, evidence: String) {
        let pages = self.pull.pages;
        let wait_ms = self.projects.get(name).map(|project| self.backoff_ms(project.push.failures)).unwrap_or_default();
        let now = self.now;
        let Some(project) = self.projects.get_mut(name) else { return };
        if project.outage && pages > project.pages_at_outage {
            project.outage_rounds += 1;
        }
        project.outage = true;
        project.pages_at_outage = pages;
        if project.outage_rounds >= OUTAGE_ROUNDS {
            let guilty = plan.blame_first();
            if !guilty.is_empty() {
                project.outage_rounds = 0;
                return self.settle_or_send(name.clone(), Plan::whole(Vec::new()), guilty);
            }
        }
        let what = plan.first().map(|row: &PendingRow| format!(" (first: {} {})", row.entity, row.entity_key));
        let message = format!("the server takes nothing of project {name}{}: {evidence}", what.unwrap_or_default());
        project.push.fail(ReasonCode::TransportFailed, message, wait_ms, now);
        // It must answer a pull before a row can be to blame.
        project.drained_generation = 0;
    }

    pub(crate) fn settled(&mut self, answer: Result<Settled, StoreTrouble>) {
        let State::Settling(project, plan) = std::mem::take(&mut self.push.state) else { return };
        match answer {
            Ok(settled) => {
                if let Some(known) = self.projects.get_mut(&project) {
                    known.totals.pushed += settled.acked;
                }
                self.note_settled(&project, settled);
                self.settle_or_send(project, plan, Vec::new());
            }
            Err(trouble) => self.store_failed(trouble, true),
        }
    }

    fn note_settled(&mut self, project: &ProjectName, settled: Settled) {
        if settled.acked > 0 {
            self.note("pushed", Some(project), count(settled.acked, "row"));
        }
        if settled.held > 0 {
            let were = if settled.held == 1 { "was" } else { "were" };
            let words = format!("{} {were} refused; see `engramctl held list`", count(settled.held, "row"));
            self.note("held", Some(project), words);
        }
    }
}
