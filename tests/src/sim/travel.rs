//! What is on its way between devices and servers: requests, answers, and pulls that listen.

use super::wire::{self, Luck, Request};
use super::world::{Coming, What, World};
use engram_proto::http::witness::Witness;
use engramd_core::Event;
use rand::RngExt as _;

impl Coming {
    /// Tells whether it is a request or an answer; a pull that listens is neither.
    pub(super) fn is_talk(&self) -> bool {
        matches!(self.what, What::Arrive { .. } | What::Answer(..) | What::Post(_) | What::Bring(..))
    }
}

impl World {
    /// Answers pulls that listen and for which there is news.
    pub(super) fn ring(&mut self) {
        for place in 0..self.coming.len() {
            let Coming { at, what, .. } = &self.coming[place];
            let is_news = match what {
                What::Listen(cloud, request) => self.server_at(*cloud).has_news(*at, request),
                _ => false,
            };
            if is_news {
                self.coming[place].due_ms = self.now_ms;
            }
        }
    }

    pub(super) fn send(&mut self, at: usize, request: Request) {
        let trouble = if self.calm { 0 } else { self.climate.trouble };
        let luck = Luck::draw(&mut self.rng, request.asked(), trouble);
        let draw = self.rng.random_range(0..100);
        let cloud = self.devices[at].cloud;
        if luck == Luck::Twice {
            let due_ms = self.now_ms + self.delay_ms() * 4;
            let repetition =
                What::Arrive { cloud, request: request.clone(), luck: Luck::Fine, draw, is_repetition: true };
            self.push(due_ms, at, repetition);
        }
        let due_ms = self.now_ms + self.delay_ms();
        self.push(due_ms, at, What::Arrive { cloud, request, luck, draw, is_repetition: false });
    }

    pub(super) fn arrive(
        &mut self,
        (at, cloud): (usize, usize),
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
            && self.server_at(cloud).refusal(false).is_none()
        {
            let until_ms = self.now_ms + u64::from(asked.wait_seconds) * 1_000;
            return self.push(until_ms, at, What::Listen(cloud, asked.clone()));
        }
        let event = wire::answer(self.server_at(cloud), self.now_ms, at, request, luck, draw);
        if luck != Luck::Fine {
            self.say(at, &format!("{luck:?}"));
        }
        if is_waited_for {
            self.answer(at, cloud, event);
        }
    }

    pub(super) fn answer(&mut self, at: usize, cloud: usize, event: Event) {
        let due_ms = self.now_ms + self.delay_ms();
        self.push(due_ms, at, What::Answer(cloud, event));
    }

    /// Gives up the pull that is under way, unless its answer is here already.
    pub(super) fn cancel_pull(&mut self, at: usize) {
        let is_here = |coming: &Coming| coming.at == at && matches!(coming.what, What::Answer(_, Event::Pulled(_)));
        if self.coming.iter().any(is_here) {
            return;
        }
        if self.go.is_some() {
            return self.drop_pull(at);
        }
        self.coming.retain(|coming| {
            let is_pull = match &coming.what {
                What::Arrive { request, .. } => matches!(request, Request::Pull(_)),
                What::Listen(..) => true,
                _ => false,
            };
            coming.at != at || !is_pull
        });
        let cloud = self.devices[at].cloud;
        self.push(self.now_ms, at, What::Answer(cloud, Event::PullCancelled));
    }

    /// Returns what the cloud must still hold, or else which one is meant (CUR-3), as `peers/remote.rs` reads it for every
    /// request.
    pub(super) fn expected(&self, at: usize) -> (Option<Witness>, Option<String>) {
        let Some(cloud_id) = self.words.heard(at) else { return (None, None) };
        let witness = self.devices[at].store.witness(cloud_id).expect("a witness");
        let cloud_id = witness.is_none().then(|| cloud_id.clone());
        (witness, cloud_id)
    }

    /// Tells whether a device only listens, and nothing of it is on its way.
    pub(super) fn is_listening(&self, at: usize) -> bool {
        if self.go.is_some() {
            return self.is_at_rest_there(at);
        }
        let mut its = self.coming.iter().filter(|coming| coming.at == at);
        its.clone().count() == 1 && its.all(|coming| matches!(coming.what, What::Listen(..)))
    }

    /// Turns what is on its way to one server to the other one: they changed their places.
    pub(super) fn swap_ways(&mut self) {
        for coming in &mut self.coming {
            if let What::Arrive { cloud, .. } | What::Listen(cloud, _) | What::Answer(cloud, _) = &mut coming.what {
                *cloud = 1 - *cloud;
            }
        }
    }
}
