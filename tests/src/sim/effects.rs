//! What a machine wants done: work for the store, and requests, with everything that may happen to them on the way.

use super::device::Job;
use super::laws::{self, Law};
use super::wire::{self, Luck, Request};
use super::world::{Coming, What, World};
use engram_proto::http::pull::PullRequest;
use engram_proto::http::witness::Witness;
use engramd_core::{Effect, Event};
use rand::RngExt as _;

impl World {
    pub(super) fn perform(&mut self, at: usize, effect: Effect) -> Result<(), Law> {
        match effect {
            Effect::Probe if self.go.is_some() => self.talk(at, effect),
            Effect::Probe => self.send(at, Request::Probe),
            Effect::Send { project, rows } => {
                laws::scope_1(&self.devices[at], &[&project])?;
                if self.go.is_some() {
                    self.talk(at, Effect::Send { project, rows });
                    return Ok(());
                }
                let entries = wire::entries(&project, &rows);
                let witness = self.witness(at);
                self.send(at, Request::Push(project, entries, witness));
            }
            Effect::Pull(request) => {
                laws::scope_1(&self.devices[at], &request.cursors.keys().collect::<Vec<_>>())?;
                if self.go.is_some() {
                    self.talk(at, Effect::Pull(request));
                    return Ok(());
                }
                let witness = self.witness(at);
                self.send(at, Request::Pull(PullRequest { witness, ..request }));
            }
            Effect::CancelPull => self.cancel_pull(at),
            Effect::SyncDone(ticket, _) => self.tickets.retain(|open| *open != (at, ticket)),
            Effect::SyncProgress(..) | Effect::Note { .. } => {}
            Effect::Stopped => self.push(self.devices[at].store_free_ms.max(self.now_ms), at, What::Boot),
            effect => self.work(at, Job::Effect(effect.into())),
        }
        Ok(())
    }

    /// Returns what the cloud must still hold (CUR-3), as `peers/remote.rs` reads it for every request.
    fn witness(&self, at: usize) -> Option<Witness> {
        let cloud_id = self.server.journal.disk().cloud_id.clone();
        self.devices[at].store.witness(&cloud_id).expect("a witness")
    }

    pub(super) fn send(&mut self, at: usize, request: Request) {
        let trouble = if self.calm { 0 } else { self.climate.trouble };
        let luck = Luck::draw(&mut self.rng, request.asked(), trouble);
        let draw = self.rng.random_range(0..100);
        if luck == Luck::Twice {
            let due_ms = self.now_ms + self.delay_ms() * 4;
            let repetition = What::Arrive { request: request.clone(), luck: Luck::Fine, draw, is_repetition: true };
            self.push(due_ms, at, repetition);
        }
        let due_ms = self.now_ms + self.delay_ms();
        self.push(due_ms, at, What::Arrive { request, luck, draw, is_repetition: false });
    }

    pub(super) fn arrive(
        &mut self,
        at: usize,
        life: u32,
        request: &Request,
        luck: Luck,
        draw: usize,
        is_repetition: bool,
    ) {
        let is_waited_for = !is_repetition && self.devices[at].life == life;
        if let Request::Pull(asked) = request
            && asked.wait_seconds > 0
            && luck == Luck::Fine
            && is_waited_for
            && self.server.refusal(false).is_none()
        {
            let until_ms = self.now_ms + u64::from(asked.wait_seconds) * 1_000;
            return self.push(until_ms, at, What::Listen(asked.clone()));
        }
        let event = wire::answer(&self.server, self.now_ms, at, request, luck, draw);
        if luck != Luck::Fine {
            self.say(at, &format!("{luck:?}"));
        }
        if is_waited_for {
            self.answer(at, event);
        }
    }

    pub(super) fn answer(&mut self, at: usize, event: Event) {
        let due_ms = self.now_ms + self.delay_ms();
        self.push(due_ms, at, What::Answer(event));
    }

    /// Gives up the pull that is under way, unless its answer is here already.
    fn cancel_pull(&mut self, at: usize) {
        let is_here = |coming: &Coming| coming.at == at && matches!(coming.what, What::Answer(Event::Pulled(_)));
        if self.coming.iter().any(is_here) {
            return;
        }
        if self.go.is_some() {
            return self.drop_pull(at);
        }
        self.coming.retain(|coming| {
            let is_pull = match &coming.what {
                What::Arrive { request, .. } => matches!(request, Request::Pull(_)),
                What::Listen(_) => true,
                _ => false,
            };
            coming.at != at || !is_pull
        });
        self.push(self.now_ms, at, What::Answer(Event::PullCancelled));
    }
}
