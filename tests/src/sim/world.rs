//! The world of one run: devices, the server, what is on its way between them, and time.

use super::clouds::Words;
use super::device::{Device, Heard, Job};
use super::excuses::{self, LostRows};
use super::go_cloud::{GoCloud, Post};
use super::kind::{self, Climate, Kind};
use super::laws::Law;
use super::ledger::Ledger;
use super::loud;
use super::peers::{Peer, Road};
use super::plan::{Edition, Plan, Step};
use super::server::{Mood, Server};
use super::talk::{HOST, Talk};
use super::tape;
use super::wire::{Luck, Request};
use engram_proto::http::pull::PullRequest;
use engram_proto::id::ProjectName;
use engramd::store::Store;
use engramd::transport::Reply;
use engramd_core::Event;
use engramd_core::classify::Failure;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

/// The step whose generator makes the world, and the calm after the last one.
const OUTSIDE: u32 = u32::MAX;

/// The step whose generator makes the history that all begin with.
const BEFORE: u32 = u32::MAX - 1;

/// Something on its way.
pub(super) struct Coming {
    pub(super) due_ms: u64,
    pub(super) order: u64,
    pub(super) at: usize,
    life: u32,
    pub(super) what: What,
}

/// What is on its way.
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
    /// A request that reaches a Go server.
    Post(Post),
    /// An answer of a Go server, and where it is waited for.
    Bring(oneshot::Sender<Result<Reply, Failure>>, Result<Reply, Failure>),
    /// What the adapter to a Go server wants of the store.
    Job(engramd::store::Job<Store>),
    /// The process begins anew.
    Boot,
}

/// One run.
pub(super) struct World {
    pub(super) rng: StdRng,
    pub(super) edition: Edition,
    /// Whether our servers forget, when the calm begins, what is current no more, before everybody read it.
    pub(super) forgets: bool,
    pub(super) now_ms: u64,
    pub(super) calm: bool,
    pub(super) climate: Climate,
    pub(super) server: Server,
    /// The cloud, where it is a Go program's; `server` then says who may touch what, how it feels, and what it holds.
    pub(super) go: Option<GoCloud>,
    /// Another one, where there is any.
    pub(super) other: Option<Server>,
    pub(super) words: Words,
    pub(super) lost: LostRows,
    /// Whether a server was restored: from then on Go processes move nothing (docs/testing.md).
    pub(super) is_restored: bool,
    pub(super) devices: Vec<Device>,
    pub(super) peers: Vec<Peer>,
    pub(super) road: Road,
    pub(super) projects: Vec<ProjectName>,
    pub(super) tape: Vec<String>,
    pub(super) tickets: Vec<(usize, u64)>,
    /// What was written.
    pub(super) ledger: Ledger,
    pub(super) coming: Vec<Coming>,
    pub(super) order: u64,
}

impl World {
    /// Makes a world of two to four devices, with clocks that are off by up to three days.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut rng = plan.draws(OUTSIDE);
        let projects: Vec<_> = ["alpha", "beta"].iter().map(|name| ProjectName::parse(name).expect("a name")).collect();
        let kind = Kind::of(plan.seed);
        let climate = Climate::draw(&mut rng, kind);
        let devices = ["a", "b", "c", "d"].iter().take(rng.random_range(2..=4));
        let devices = devices.map(|name| {
            let mut device = Device::new(name, rng.random_range(-260_000_000..260_000_000));
            for project in projects.iter().filter(|_| rng.random_bool(0.9)) {
                device.store.enroll(project, device.row_time(0)).expect("enrolled");
            }
            device
        });
        let mut devices: Vec<Device> = devices.collect();
        let server = Server::new("the-cloud", if kind == Kind::Go { HOST } else { "cloud" });
        let road = Road::to(&server);
        let names = ["go-a", "go-b"].iter().take(if climate.peers > 0 { rng.random_range(1..=2) } else { 0 });
        let peers = names.map(|name| Peer::new(name, rng.random_range(-100_000..100_000), &projects)).collect();
        let (mut go, mut other) = (None, None);
        match kind {
            Kind::Plain => {}
            Kind::Shared => {
                let all = rng.random_bool(0.3);
                devices.iter_mut().enumerate().filter(|(at, _)| all || *at == 0).for_each(|(_, device)| device.share());
            }
            Kind::Clouds => other = Some(Server::new("another-cloud", "elsewhere")),
            Kind::Go => {
                devices.iter_mut().for_each(|device| device.talk = Some(Talk::new()));
                let may_be_late = !excuses::no_late_batch_beside_go_clients(climate.peers);
                go = Some(GoCloud::new(&projects, may_be_late));
            }
        }
        Self {
            go,
            rng,
            edition: plan.edition,
            forgets: plan.seed % 2 == 1,
            now_ms: 0,
            calm: false,
            climate,
            server,
            other,
            words: Words::default(),
            lost: LostRows::new(),
            is_restored: false,
            devices,
            peers,
            road,
            projects,
            tape: Vec::new(),
            tickets: Vec::new(),
            ledger: Ledger::default(),
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
        if !kind::begins_empty(plan.seed) {
            (self.rng, self.calm) = (plan.draws(BEFORE), true);
            self.share_history()?;
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
        let is_told_again = excuses::a_restored_cloud_is_told_again(&self.server, self.other.as_ref());
        let behind: Vec<_> = (0..self.devices.len()).filter(|&at| self.devices[at].is_behind()).collect();
        for at in behind {
            let cloud_id = self.cloud_id(at);
            let (disk, other) = (self.server.journal.disk(), self.other.as_ref().map(|other| other.journal.disk()));
            let held = std::iter::once((&*disk, cloud_id.as_str()));
            let held: Vec<_> = held.chain(other.as_deref().map(|other| (other, other.cloud_id.as_str()))).collect();
            self.devices[at].check(&held, &self.projects, is_told_again)?;
        }
        Ok(())
    }

    /// Begins a device's process; it may die in the middle of what other processes left it.
    pub(super) fn boot(&mut self, at: usize) -> Result<(), Law> {
        let host = self.server_at(self.devices[at].cloud).host;
        self.devices[at].down = false;
        let dies = self.draws_death_at_start();
        if dies {
            let commits = self.draws_commits();
            self.devices[at].fuse.burn(commits);
        }
        if !self.devices[at].take_up_at_start(self.now_ms) || dies {
            return self.crash(at);
        }
        let (events, queueing) = self.devices[at].load(host);
        for project in queueing {
            self.work(at, Job::Backfill(project));
        }
        events.into_iter().try_for_each(|event| self.feed(at, event))
    }

    /// Lets a device's process read everything anew, after a command changed it; it may die before it does.
    pub(super) fn reload(&mut self, at: usize) -> Result<(), Law> {
        if self.devices[at].down {
            return Ok(());
        }
        if self.edition > Edition::First && self.draws_death() {
            return self.crash(at);
        }
        let host = self.server_at(self.devices[at].cloud).host;
        let (events, _) = self.devices[at].load(host);
        events.into_iter().try_for_each(|event| self.feed(at, event))
    }

    /// Kills a device's process and begins it anew; what it sent is still on its way.
    pub(super) fn crash(&mut self, at: usize) -> Result<(), Law> {
        self.dies(at)?;
        let pause_ms = self.pause_ms(at);
        if pause_ms == 0 {
            return self.boot(at);
        }
        self.devices[at].down = true;
        self.push(self.now_ms + pause_ms, at, What::Boot);
        Ok(())
    }

    fn dies(&mut self, at: usize) -> Result<(), Law> {
        self.say(at, "dies");
        self.devices[at].crash();
        self.ledger.survived(&self.devices[at])?;
        self.devices[at].store_free_ms = self.now_ms;
        self.coming.retain(|coming| coming.at != at || matches!(coming.what, What::Arrive { .. } | What::Post(_)));
        self.tickets.retain(|&(device, _)| device != at);
        Ok(())
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
        if let Some(go) = &mut self.go {
            go.pass(self.now_ms, &self.server);
        }
        let Some(place) = place else {
            let is_idle = !self.coming.iter().any(|coming| coming.at == at && !matches!(coming.what, What::Listen(..)));
            if is_idle {
                loud::nothing_is_silent(&mut self.devices[at], self.now_ms)?;
            }
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
            What::Post(post) => {
                self.post(at, post);
                Ok(())
            }
            What::Bring(waits, told) => {
                // Nobody waits where the process died, or gave it up.
                let _ = waits.send(told);
                self.go_on(at);
                Ok(())
            }
            What::Job(job) => self.job(at, job),
            What::Boot => {
                self.dies(at)?;
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

    /// Feeds one event to a machine and performs what it wants done.
    pub(super) fn feed(&mut self, at: usize, event: Event) -> Result<(), Law> {
        if self.devices[at].down {
            return Ok(());
        }
        self.say(at, &tape::word(&event));
        self.devices[at].silence.heard(&event, self.now_ms);
        let now = self.devices[at].now(self.now_ms);
        let draw = self.rng.random_range(0.0..1.0);
        for effect in self.devices[at].machine.handle(event, now, draw) {
            self.perform(at, effect)?;
        }
        self.devices[at].wake_ms = self.devices[at].machine.next_deadline_ms().max(self.now_ms + 1);
        Ok(())
    }

    /// Writes a line of the tape.
    pub(super) fn say(&mut self, at: usize, what: &str) {
        self.tape.push(format!("{} {} {what}", self.now_ms, self.devices[at].name));
    }
}
