//! The world of one run: devices, the server, what is on its way between them, and time.

use super::beside::Beside;
use super::clouds::{Said, Words};
use super::device::{Device, Heard, Job};
use super::excuses::LostRows;
use super::kind::Kind;
use super::laws::{self, Law};
use super::peers::{Peer, Road};
use super::plan::{Plan, Step};
use super::server::{Mood, Server};
use super::tape;
use super::wire::{self, Luck, Request};
use engram_proto::http::pull::PullRequest;
use engram_proto::id::ProjectName;
use engramd_core::{Effect, Event};
use rand::RngExt as _;
use rand::rngs::StdRng;

/// The step whose generator makes the world, and the calm after the last one.
const OUTSIDE: u32 = u32::MAX;

/// How bad it is in this world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climate {
    /// Requests that something happens to, in percent.
    pub(super) trouble: u32,
    /// Steps in which somebody writes, in per mille.
    pub(super) writes: u32,
    /// Steps in which something else is done to the world, in per mille.
    pub(super) incidents: u32,
    /// Work on a store in which its process dies, in per mille.
    pub(super) deaths: u32,
    /// The longest delay of a message, in milliseconds.
    pub(super) delay_ms: u64,
    /// Steps in which a Go client does something, in per mille, where there are any.
    pub(super) peers: u32,
    /// Steps in which a Go process on a device's store does something, in per mille.
    pub(super) beside: u32,
    /// Steps in which somebody moves something between clouds, in per mille.
    pub(super) clouds: u32,
}

/// Something on its way.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) due_ms: u64,
    order: u64,
    pub(super) at: usize,
    life: u32,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// A job for a store.
    Work(Job),
    /// The outcome of one.
    Hear(Heard),
    /// A request that reaches the server; a repetition has no one who waits for its answer.
    Arrive { cloud: usize, request: Request, luck: Luck, draw: usize, is_repetition: bool },
    /// An answer from the server.
    Answer(usize, Event),
    /// A pull that waits at the server until then.
    Listen(usize, PullRequest),
    /// The process begins anew.
    Boot,
}

/// One run.
pub(super) struct World {
    pub(super) rng: StdRng,
    pub(super) now_ms: u64,
    pub(super) calm: bool,
    pub(super) climate: Climate,
    pub(super) server: Server,
    /// Another one, where there is any.
    pub(super) other: Option<Server>,
    pub(super) words: Words,
    pub(super) lost: LostRows,
    pub(super) devices: Vec<Device>,
    pub(super) peers: Vec<Peer>,
    pub(super) road: Road,
    pub(super) projects: Vec<ProjectName>,
    pub(super) tape: Vec<String>,
    pub(super) tickets: Vec<(usize, u64)>,
    pub(super) coming: Vec<Coming>,
    order: u64,
}

impl World {
    /// Makes a world of two to four devices, with clocks that are off by up to three days.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut rng = plan.draws(OUTSIDE);
        let projects: Vec<_> = ["alpha", "beta"].iter().map(|name| ProjectName::parse(name).expect("a name")).collect();
        let climate = Climate {
            trouble: [0, 10, 30, 60][rng.random_range(0..4)],
            writes: [100, 250, 400][rng.random_range(0..3)],
            incidents: [0, 30, 100][rng.random_range(0..3)],
            deaths: [0, 10, 60][rng.random_range(0..3)],
            delay_ms: [20, 3_000, 40_000][rng.random_range(0..3)],
            peers: [0, 0, 0, 300][rng.random_range(0..4)],
            beside: 0,
            clouds: 0,
        };
        let devices = ["a", "b", "c", "d"].iter().take(rng.random_range(2..=4));
        let devices = devices.map(|name| {
            let mut device = Device::new(name, rng.random_range(-260_000_000..260_000_000));
            for project in projects.iter().filter(|_| rng.random_bool(0.9)) {
                device.store.enroll(project, device.row_time(0)).expect("enrolled");
            }
            device
        });
        let mut devices: Vec<_> = devices.collect();
        let server = Server::new("the-cloud", "cloud");
        let road = Road::to(&server);
        let names = ["go-a", "go-b"].iter().take(if climate.peers > 0 { rng.random_range(1..=2) } else { 0 });
        let peers = names.map(|name| Peer::new(name, rng.random_range(-100_000..100_000), &projects)).collect();
        let mut climate = climate;
        let mut other = None;
        match Kind::of(plan.seed) {
            Kind::Plain => {}
            Kind::Shared => {
                (climate.writes, climate.beside) = (climate.writes / 2, 250);
                let all = rng.random_bool(0.3);
                devices.iter_mut().enumerate().filter(|(at, _)| all || *at == 0).for_each(|(_, device)| device.share());
            }
            Kind::Clouds => {
                (climate.writes, climate.clouds) = (climate.writes / 2, 100);
                other = Some(Server::new("another-cloud", "elsewhere"));
            }
        }
        Self {
            rng,
            now_ms: 0,
            calm: false,
            climate,
            server,
            other,
            words: Words::default(),
            lost: LostRows::new(),
            devices,
            peers,
            road,
            projects,
            tape: Vec::new(),
            tickets: Vec::new(),
            coming: Vec::new(),
            order: 0,
        }
    }

    /// Lets every step of the plan happen, then the calm.
    pub(super) fn run(&mut self, plan: &Plan) -> Result<(), Law> {
        self.tape.push(format!("{:?}", self.climate));
        for at in 0..self.devices.len() {
            self.boot(at)?;
        }
        for &Step { number, calm } in &plan.steps {
            (self.rng, self.calm) = (plan.draws(number), calm);
            let choice = self.rng.random_range(0..1_000);
            let Climate { writes, incidents, peers, beside, clouds, .. } = self.climate;
            if !calm && choice < writes {
                self.somebody_writes()?;
            } else if !calm && choice < writes + incidents {
                self.incident()?;
            } else if !calm && choice < writes + incidents + peers && self.server.mood == Mood::Well {
                self.a_peer_acts()?;
            } else if !calm && choice >= 1_000 - beside {
                self.a_go_process_acts()?;
            } else if !calm && choice >= 1_000 - clouds {
                self.clouds_change()?;
            } else {
                self.next()?;
            }
            self.check()?;
        }
        (self.rng, self.calm) = (plan.draws(OUTSIDE), true);
        self.settle()
    }

    /// Checks what has to hold after every event.
    pub(super) fn check(&mut self) -> Result<(), Law> {
        let servers = || std::iter::once(&self.server).chain(&self.other);
        let is_told_again = servers().any(|server| server.is_restored);
        let held: Vec<_> = servers().map(|server| server.journal.disk()).collect();
        let disks: Vec<_> = held.iter().map(|disk| &**disk).collect();
        // What a Go process wrote is looked at once our daemon did.
        for device in self.devices.iter_mut().filter(|device| !device.has_news()) {
            let moved = device.beside.as_ref().map(Beside::moved);
            device.books.check(&device.name, &device.store, &disks, &self.projects, is_told_again, moved)?;
        }
        Ok(())
    }

    /// Begins a device's process.
    pub(super) fn boot(&mut self, at: usize) -> Result<(), Law> {
        let host = self.server_at(self.devices[at].cloud).host;
        self.devices[at].down = false;
        self.devices[at].take_up_at_start(self.now_ms);
        let (events, queueing) = self.devices[at].load(host);
        for project in queueing {
            self.work(at, Job::Backfill(project));
        }
        events.into_iter().try_for_each(|event| self.feed(at, event))
    }

    /// Lets a device's process read everything anew, after a command changed it.
    pub(super) fn reload(&mut self, at: usize) -> Result<(), Law> {
        if self.devices[at].down {
            return Ok(());
        }
        let host = self.server_at(self.devices[at].cloud).host;
        let (events, _) = self.devices[at].load(host);
        events.into_iter().try_for_each(|event| self.feed(at, event))
    }

    /// Kills a device's process and begins it anew; what it sent is still on its way.
    pub(super) fn crash(&mut self, at: usize) -> Result<(), Law> {
        self.dies(at);
        let pause_ms = self.pause_ms(at);
        if pause_ms == 0 {
            return self.boot(at);
        }
        self.devices[at].down = true;
        self.push(self.now_ms + pause_ms, at, What::Boot);
        Ok(())
    }

    fn dies(&mut self, at: usize) {
        self.say(at, "dies");
        self.devices[at].crash();
        self.devices[at].store_free_ms = self.now_ms;
        self.coming.retain(|coming| coming.at != at || matches!(coming.what, What::Arrive { .. }));
        self.tickets.retain(|&(device, _)| device != at);
    }

    /// Lets happen what is due next, whoever's it is; time jumps there.
    pub(super) fn next(&mut self) -> Result<(), Law> {
        self.ring();
        let due = self.coming.iter().enumerate().map(|(place, coming)| (coming.due_ms, coming.order, Some(place), 0));
        let awake = self.devices.iter().enumerate().filter(|(_, device)| !device.down);
        let wakes = awake.map(|(at, device)| (device.wake_ms, u64::MAX, None, at));
        let Some((due_ms, _, place, at)) = due.chain(wakes).min() else { return Ok(()) };
        self.now_ms = self.now_ms.max(due_ms);
        self.server.pass(self.now_ms);
        self.other.iter().for_each(|other| other.pass(self.now_ms));
        let Some(place) = place else {
            if self.devices[at].beside.is_some() {
                self.work(at, Job::LookBeside);
            }
            return self.feed(at, Event::Tick);
        };
        let Coming { at, life, what, .. } = self.coming.swap_remove(place);
        match what {
            What::Work(job) => self.do_work(at, job),
            What::Hear(heard) => self.hear(at, heard),
            What::Arrive { cloud, request, luck, draw, is_repetition } => {
                self.arrive((at, cloud), life, &request, luck, draw, is_repetition);
                Ok(())
            }
            // Who answers where a device was is no greeting of where it is; as the driver.
            What::Answer(cloud, Event::Probed(_)) if cloud != self.devices[at].cloud => Ok(()),
            What::Answer(_, event) => self.feed(at, event),
            What::Listen(cloud, request) => {
                self.answer(at, cloud, Event::Pulled(self.server_at(cloud).pull(at, &request)));
                Ok(())
            }
            What::Boot => {
                self.dies(at);
                self.boot(at)
            }
        }
    }

    pub(super) fn push(&mut self, due_ms: u64, at: usize, what: What) {
        self.order += 1;
        let life = self.devices[at].life;
        self.coming.push(Coming { due_ms, order: self.order, at, life, what });
    }

    pub(super) fn delay_ms(&mut self) -> u64 {
        let longest_ms = if self.calm { 20 } else { self.climate.delay_ms };
        self.rng.random_range(1..=longest_ms)
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

    fn do_work(&mut self, at: usize, job: Job) -> Result<(), Law> {
        let dies = self.draws_death();
        if dies {
            let commits = self.rng.random_range(0..=1);
            self.devices[at].fuse.burn(commits);
        }
        let before = Said::by(&self.devices[at].store);
        let heard = self.devices[at].work(job.clone(), self.now_ms);
        self.words.hears(at, &before, &self.devices[at].store);
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

    fn hear(&mut self, at: usize, heard: Heard) -> Result<(), Law> {
        let counts = heard.counted.and_then(|counted| self.devices[at].newer(counted));
        if heard.reload {
            return self.reload(at);
        }
        let is_old = heard.loads.is_some_and(|loads| loads < self.devices[at].loads);
        counts.into_iter().chain(heard.event.filter(|_| !is_old)).try_for_each(|event| self.feed(at, event))
    }

    /// Feeds one event to a machine and performs what it wants done.
    pub(super) fn feed(&mut self, at: usize, event: Event) -> Result<(), Law> {
        if self.devices[at].down {
            return Ok(());
        }
        self.say(at, &tape::word(&event));
        let now = self.devices[at].now(self.now_ms);
        let draw = self.rng.random_range(0.0..1.0);
        for effect in self.devices[at].machine.handle(event, now, draw) {
            self.perform(at, effect)?;
        }
        self.devices[at].wake_ms = self.devices[at].machine.next_deadline_ms().max(self.now_ms + 1);
        Ok(())
    }

    fn perform(&mut self, at: usize, effect: Effect) -> Result<(), Law> {
        if let Effect::LoadBelonging { cloud_id, .. } | Effect::LoadCursors { cloud_id, .. } = &effect {
            self.words.believes(at, cloud_id);
        }
        match effect {
            Effect::Probe => self.send(at, Request::Probe),
            Effect::Send { project, rows } => {
                laws::scope_1(&self.devices[at], &[&project])?;
                self.words.cur_3(at, &project)?;
                let entries = wire::entries(&project, &rows);
                let witness = self.witness(at);
                self.send(at, Request::Push(project, entries, witness));
            }
            Effect::Pull(request) => {
                laws::scope_1(&self.devices[at], &request.cursors.keys().collect::<Vec<_>>())?;
                request.cursors.keys().try_for_each(|project| self.words.cur_3(at, project))?;
                let witness = self.witness(at);
                self.send(at, Request::Pull(PullRequest { witness, ..request }));
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

    /// Writes a line of the tape.
    pub(super) fn say(&mut self, at: usize, what: &str) {
        self.tape.push(format!("{} {} {what}", self.now_ms, self.devices[at].name));
    }
}
