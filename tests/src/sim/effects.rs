//! What a machine wants done: work for the store, and requests.

use super::device::{Heard, Job};
use super::laws::{self, Law};
use super::plan::Edition;
use super::wire::{self, Request};
use super::world::{What, World};
use engram_proto::http::pull::PullRequest;
use engramd_core::Effect;
use rand::RngExt as _;

/// Commits that a process makes before it dies: few, for most work makes one.
const COMMITS: [i64; 10] = [0, 0, 0, 1, 1, 2, 2, 3, 4, 6];

impl World {
    /// Performs one effect.
    pub(super) fn perform(&mut self, at: usize, effect: Effect) -> Result<(), Law> {
        if let Effect::LoadBelonging { cloud_id, .. } | Effect::LoadCursors { cloud_id, .. } = &effect {
            let (server, said) = (self.server_at(self.devices[at].cloud).host, self.devices[at].said());
            self.words.believes(at, (cloud_id, server), &said);
        }
        match effect {
            Effect::Probe if self.go.is_some() => self.talk(at, effect),
            Effect::Probe => self.send(at, Request::Probe),
            Effect::Send { project, rows } => {
                laws::scope_1(&self.devices[at], &[&project])?;
                self.words.cur_3(at, &project)?;
                if self.go.is_some() {
                    self.talk(at, Effect::Send { project, rows });
                    return Ok(());
                }
                let entries = wire::entries(&project, &rows);
                let expected = self.expected(at);
                self.send(at, Request::Push(project, entries, expected));
            }
            Effect::Pull(request) => {
                laws::scope_1(&self.devices[at], &request.cursors.keys().collect::<Vec<_>>())?;
                request.cursors.keys().try_for_each(|project| self.words.cur_3(at, project))?;
                if self.go.is_some() {
                    self.talk(at, Effect::Pull(request));
                    return Ok(());
                }
                let (witness, cloud_id) = self.expected(at);
                self.send(at, Request::Pull(PullRequest { witness, cloud_id, ..request }));
            }
            Effect::CancelPull => self.cancel_pull(at),
            Effect::SyncDone(ticket, _) => self.tickets.retain(|open| *open != (at, ticket)),
            Effect::SyncProgress(..) | Effect::Note { .. } => {}
            Effect::Stopped => {
                let due_ms = self.devices[at].store_free_ms.max(self.now_ms) + self.pause_ms(at);
                self.devices[at].down = self.devices[at].beside.is_some();
                self.push(due_ms, at, What::Boot);
            }
            effect => self.work(at, Job::Effect(effect.into())),
        }
        Ok(())
    }

    /// Tells the store's thread to do something when some time has passed.
    pub(super) fn work_later(&mut self, at: usize, after_ms: u64, job: Job) {
        self.push(self.now_ms + after_ms, at, What::Work(job));
    }

    pub(super) fn work(&mut self, at: usize, job: Job) {
        let due_ms = self.devices[at].store_free_ms.max(self.now_ms) + self.rng.random_range(1..=5);
        self.devices[at].store_free_ms = due_ms;
        self.push(due_ms, at, What::Work(job));
    }

    pub(super) fn do_work(&mut self, at: usize, job: Job) -> Result<(), Law> {
        let dies = self.draws_death();
        if dies {
            let commits = self.draws_commits();
            self.devices[at].fuse.burn(commits);
        }
        let (before, commits) = (self.devices[at].said(), self.devices[at].store.commits());
        let heard = self.devices[at].work(job.clone(), self.now_ms);
        if self.devices[at].store.commits() > commits {
            let after = self.devices[at].said();
            self.words.hears(at, &before, &after, &self.devices[at].store);
        }
        // Blown: before a commit; else after the last one, and before anybody heard of it.
        let Some(heard) = heard.filter(|_| !dies) else { return self.crash(at) };
        if heard.more {
            self.work(at, job);
        }
        let due_ms = self.now_ms + self.rng.random_range(0..=2);
        self.push(due_ms, at, What::Hear(heard));
        Ok(())
    }

    /// Tells whether a process dies in what it does now.
    pub(super) fn draws_death(&mut self) -> bool {
        !self.calm && self.rng.random_range(0..1_000) < self.climate.deaths
    }

    /// Tells whether a process dies while it starts: ten times as often as in other work, for it seldom starts.
    pub(super) fn draws_death_at_start(&mut self) -> bool {
        let may_die = self.edition > Edition::First && !self.calm;
        may_die && self.rng.random_range(0..100) < self.climate.deaths
    }

    /// Draws how many commits a process that dies still makes; where its work makes no more, it dies behind the last one.
    pub(super) fn draws_commits(&mut self) -> i64 {
        match self.edition {
            Edition::First => self.rng.random_range(0..=1),
            Edition::Second => COMMITS[self.rng.random_range(0..COMMITS.len())],
        }
    }

    pub(super) fn hear(&mut self, at: usize, heard: Heard) -> Result<(), Law> {
        let counts = heard.counted.and_then(|counted| self.devices[at].newer(counted));
        if heard.reload {
            return self.reload(at);
        }
        let is_old = heard.loads.is_some_and(|loads| loads < self.devices[at].loads);
        counts.into_iter().chain(heard.event.filter(|_| !is_old)).try_for_each(|event| self.feed(at, event))
    }
}
