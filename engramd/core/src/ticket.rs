//! Following an `engramctl sync`: both ways, now, with a verdict (scenario 16; LOUD-3).

use crate::backoff::Trouble;
use crate::event::{Cloud, Effect, Now, TicketId};
use crate::machine::Machine;
use crate::project::{Project, ProjectTotals};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::{SyncOutcome, SyncProgress, SyncVerdict, SyncedProject};
use engram_proto::ipc::request::Direction;
use engram_proto::reason::ReasonCode;
use engram_proto::reason_catalog;
use engram_proto::words::quoted;
use std::collections::BTreeMap;

/// One sync that somebody follows.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub id: TicketId,
    direction: Direction,
    generation: u64,
    started: Now,
    before: BTreeMap<ProjectName, ProjectTotals>,
    told: SyncProgress,
}

/// How far one project is.
enum Standing {
    Open,
    Done,
    Blocked(Trouble),
}

impl Machine {
    pub(crate) fn sync_requested(&mut self, id: TicketId, project: Option<ProjectName>, direction: Direction) {
        self.wake();
        let asked = self.projects.iter().filter(|(name, _)| project.as_ref().is_none_or(|asked| asked == *name));
        let before = asked.map(|(name, project)| (name.clone(), project.totals)).collect();
        let ticket = Ticket {
            id,
            direction,
            generation: self.generation,
            started: self.now,
            before,
            told: SyncProgress::default(),
        };
        self.tickets.push(ticket);
    }

    /// Tells every follower what is new, and lets go of those that have their verdict.
    pub(crate) fn follow_tickets(&mut self) {
        for mut ticket in std::mem::take(&mut self.tickets) {
            match self.verdict(&ticket) {
                Some(outcome) => self.out.push(Effect::SyncDone(ticket.id, outcome)),
                None => {
                    let progress = self.progress(&ticket);
                    if progress != ticket.told {
                        self.out.push(Effect::SyncProgress(ticket.id, progress.clone()));
                        ticket.told = progress;
                    }
                    self.tickets.push(ticket);
                }
            }
        }
    }

    fn verdict(&self, ticket: &Ticket) -> Option<SyncOutcome> {
        let mut blocked = self.nothing_goes().map(|trouble| (trouble, None));
        if blocked.is_none() {
            for name in ticket.before.keys() {
                match self.projects.get(name).map(|project| self.standing(ticket, name, project)) {
                    Some(Standing::Open) => return None,
                    Some(Standing::Blocked(trouble)) => blocked = blocked.or(Some((trouble, Some(name)))),
                    Some(Standing::Done) | None => {}
                }
            }
        }
        let projects = self.synced(ticket);
        let left = projects.iter().any(|project| project.held + project.deferred > 0);
        let outcome = match &blocked {
            Some(_) => SyncVerdict::Blocked,
            None if left => SyncVerdict::Partial,
            None => SyncVerdict::Drained,
        };
        let hint = blocked.as_ref().and_then(|(trouble, project)| {
            let named = quoted(project.map_or("P", |project| project.as_str()));
            reason_catalog::entry(trouble.code).hint.map(|hint| hint.replace("{project}", &named))
        });
        Some(SyncOutcome {
            outcome,
            reason_code: blocked.as_ref().map(|(trouble, _)| trouble.code),
            message: blocked.map(|(trouble, _)| trouble.message),
            hint,
            duration_ms: self.now.mono_ms.saturating_sub(ticket.started.mono_ms),
            projects,
        })
    }

    /// Returns what stops every project alike.
    fn nothing_goes(&self) -> Option<Trouble> {
        let trouble = |code, message: &str| Some(Trouble { code, message: message.to_owned(), since: self.now });
        match &self.cloud {
            Cloud::NotConfigured => return trouble(ReasonCode::CloudNotConfigured, "no cloud server is configured"),
            Cloud::Invalid { code, message } => return trouble(*code, message),
            Cloud::Configured { .. } => {}
        }
        if let Some((reason, _)) = &self.paused_all {
            return trouble(ReasonCode::Paused, &paused_words("sync", reason.as_deref()));
        }
        if self.stopping {
            return trouble(ReasonCode::TransportFailed, "the daemon is stopping");
        }
        let retries = [&self.server.retry, &self.panicked];
        retries
            .iter()
            .find_map(|retry| retry.fresh_trouble())
            .cloned()
            .or_else(|| self.lease.trouble.clone().filter(|_| !self.lease.is_asking()))
    }

    fn standing(&self, ticket: &Ticket, name: &ProjectName, project: &Project) -> Standing {
        if let Some((reason, _)) = &project.paused {
            let message = paused_words("the project", reason.as_deref());
            return Standing::Blocked(Trouble { code: ReasonCode::Paused, message, since: self.now });
        }
        if let Some(trouble) = &project.elsewhere {
            return Standing::Blocked(trouble.clone());
        }
        let unsent = project.counts.pending > 0 || project.queueing || project.mirroring || self.push.is_about(name);
        let outward = ticket.direction != Direction::Pull && unsent;
        let reads_first = outward && self.must_read_first(project);
        let inward = ticket.direction != Direction::Push
            && (project.drained_generation < ticket.generation
                || (project.stand_in_due && project.counts.deferred > 0));
        let inward = inward || reads_first;
        let out_trouble = [&project.push, &self.push.retry].iter().find_map(|retry| retry.fresh_trouble());
        let in_trouble = self.pull.retry.fresh_trouble();
        let trouble =
            project.access.fresh_trouble().or(out_trouble.filter(|_| outward)).or(in_trouble.filter(|_| inward));
        match trouble {
            // The other way may still be under way, and ends either in success or in trouble of its own.
            Some(_) if outward && !reads_first && out_trouble.is_none() && project.access.trouble.is_none() => {
                Standing::Open
            }
            Some(_) if inward && in_trouble.is_none() && project.access.trouble.is_none() => Standing::Open,
            Some(trouble) => Standing::Blocked(trouble.clone()),
            None if outward || inward => Standing::Open,
            None => Standing::Done,
        }
    }

    fn synced(&self, ticket: &Ticket) -> Vec<SyncedProject> {
        let followed = ticket.before.iter().filter_map(|(name, before)| Some((name, before, self.projects.get(name)?)));
        let one = |(name, before, project): (&ProjectName, &ProjectTotals, &Project)| SyncedProject {
            project: name.to_string(),
            pushed: project.totals.pushed - before.pushed.min(project.totals.pushed),
            pulled: project.totals.pulled - before.pulled.min(project.totals.pulled),
            held: project.counts.quarantined + project.counts.dead,
            deferred: project.counts.deferred,
            remaining: project.counts.pending + project.behind,
        };
        followed.map(one).collect()
    }

    fn progress(&self, ticket: &Ticket) -> SyncProgress {
        self.synced(ticket).iter().fold(SyncProgress::default(), |sum, project| SyncProgress {
            pushed: sum.pushed + project.pushed,
            pulled: sum.pulled + project.pulled,
            remaining: sum.remaining + project.remaining,
        })
    }
}

/// Says that the user paused something, with the reason they gave.
pub(crate) fn paused_words(what: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{what} is paused: {reason}"),
        None => format!("{what} is paused"),
    }
}
