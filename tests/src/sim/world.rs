//! The world of one run: devices, the server, what is on its way between them, and time.

use super::device::{Device, Heard, Job};
use super::go_cloud::{GoCloud, Post};
use super::laws::Law;
use super::ledger::Ledger;
use super::loud;
use super::peers::{Peer, Road};
use super::plan::{Plan, Step};
use super::server::{Mood, Server};
use super::talk::Talk;
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

/// Of so many seeds one begins with nothing; in the others everybody has the same few memories, and so edits meet.
const EMPTY_EVERY: u64 = 4;

/// Which of them.
const EMPTY_AT: u64 = 3;

/// Of so many seeds one has a Go program's server.
const GO_EVERY: u64 = 5;

/// Which of them.
const GO_AT: u64 = 2;

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
}

/// Something on its way.
pub(super) struct Coming {
    due_ms: u64,
    order: u64,
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
    Arrive { request: Request, luck: Luck, draw: usize, is_repetition: bool },
    /// An answer from the server.
    Answer(Event),
    /// A pull that waits at the server until then.
    Listen(PullRequest),
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
    pub(super) now_ms: u64,
    pub(super) calm: bool,
    pub(super) climate: Climate,
    pub(super) server: Server,
    /// The cloud, where it is a Go program's; `server` then says who may touch what, how it feels, and what it holds.
    pub(super) go: Option<GoCloud>,
    pub(super) devices: Vec<Device>,
    pub(super) peers: Vec<Peer>,
    pub(super) road: Road,
    pub(super) projects: Vec<ProjectName>,
    pub(super) tape: Vec<String>,
    pub(super) tickets: Vec<(usize, u64)>,
    /// What was written.
    pub(super) ledger: Ledger,
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
        };
        let devices = ["a", "b", "c", "d"].iter().take(rng.random_range(2..=4));
        let devices = devices.map(|name| {
            let mut device = Device::new(name, rng.random_range(-260_000_000..260_000_000));
            for project in projects.iter().filter(|_| rng.random_bool(0.9)) {
                device.store.enroll(project, device.row_time(0)).expect("enrolled");
            }
            device
        });
        let mut devices: Vec<Device> = devices.collect();
        let server = Server::new("the-cloud");
        let road = Road::to(&server);
        let names = ["go-a", "go-b"].iter().take(if climate.peers > 0 { rng.random_range(1..=2) } else { 0 });
        let peers = names.map(|name| Peer::new(name, rng.random_range(-100_000..100_000), &projects)).collect();
        let go = (plan.seed % GO_EVERY == GO_AT).then(|| GoCloud::new(&projects, climate.peers == 0));
        if go.is_some() {
            devices.iter_mut().for_each(|device| device.talk = Some(Talk::new()));
        }
        Self {
            go,
            rng,
            now_ms: 0,
            calm: false,
            climate,
            server,
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
        if plan.seed % EMPTY_EVERY != EMPTY_AT {
            (self.rng, self.calm) = (plan.draws(BEFORE), true);
            self.share_history()?;
        }
        for &Step { number, calm } in &plan.steps {
            (self.rng, self.calm) = (plan.draws(number), calm);
            let choice = self.rng.random_range(0..1_000);
            let Climate { writes, incidents, peers, .. } = self.climate;
            if !calm && choice < writes {
                self.somebody_writes()?;
            } else if !calm && choice < writes + incidents {
                self.incident()?;
            } else if !calm && choice < writes + incidents + peers && self.server.mood == Mood::Well {
                self.a_peer_acts()?;
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
        let behind: Vec<_> = (0..self.devices.len()).filter(|&at| self.devices[at].is_behind()).collect();
        for at in behind {
            let cloud_id = self.cloud_id(at);
            let disk = self.server.journal.disk();
            self.devices[at].check((&*disk, cloud_id.as_str()), &self.projects, self.server.is_restored)?;
        }
        Ok(())
    }

    /// Begins a device's process.
    pub(super) fn boot(&mut self, at: usize) -> Result<(), Law> {
        let (events, queueing) = self.devices[at].load();
        for project in queueing {
            self.work(at, Job::Backfill(project));
        }
        events.into_iter().try_for_each(|event| self.feed(at, event))
    }

    /// Lets a device's process read everything anew, after a command changed it.
    pub(super) fn reload(&mut self, at: usize) -> Result<(), Law> {
        let (events, _) = self.devices[at].load();
        events.into_iter().try_for_each(|event| self.feed(at, event))
    }

    /// Kills a device's process and begins it anew; what it sent is still on its way.
    pub(super) fn crash(&mut self, at: usize) -> Result<(), Law> {
        self.say(at, "dies");
        self.devices[at].crash();
        self.ledger.survived(&self.devices[at])?;
        self.devices[at].store_free_ms = self.now_ms;
        self.coming.retain(|coming| coming.at != at || matches!(coming.what, What::Arrive { .. } | What::Post(_)));
        self.tickets.retain(|&(device, _)| device != at);
        self.boot(at)
    }

    /// Lets happen what is due next, whoever's it is; time jumps there.
    pub(super) fn next(&mut self) -> Result<(), Law> {
        self.ring();
        let due = self.coming.iter().enumerate().map(|(place, coming)| (coming.due_ms, coming.order, Some(place), 0));
        let wakes = self.devices.iter().enumerate().map(|(at, device)| (device.wake_ms, u64::MAX, None, at));
        let Some((due_ms, _, place, at)) = due.chain(wakes).min() else { return Ok(()) };
        self.now_ms = self.now_ms.max(due_ms);
        self.server.pass(self.now_ms);
        if let Some(go) = &mut self.go {
            go.pass(self.now_ms, &self.server);
        }
        let Some(place) = place else {
            let is_idle = !self.coming.iter().any(|coming| coming.at == at && !matches!(coming.what, What::Listen(_)));
            if is_idle {
                loud::nothing_is_silent(&mut self.devices[at], self.now_ms)?;
            }
            return self.feed(at, Event::Tick);
        };
        let Coming { at, life, what, .. } = self.coming.swap_remove(place);
        match what {
            What::Work(job) => self.do_work(at, job),
            What::Hear(heard) => self.hear(at, heard),
            What::Arrive { request, luck, draw, is_repetition } => {
                self.arrive(at, life, &request, luck, draw, is_repetition);
                Ok(())
            }
            What::Answer(event) => self.feed(at, event),
            What::Listen(request) => {
                self.answer(at, Event::Pulled(self.server.pull(at, &request)));
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
            What::Boot => self.crash(at),
        }
    }

    /// Answers pulls that listen and for which there is news.
    fn ring(&mut self) {
        for coming in &mut self.coming {
            if let What::Listen(request) = &coming.what
                && self.server.has_news(coming.at, request)
            {
                coming.due_ms = self.now_ms;
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
        let heard = self.devices[at].work(job.clone(), self.now_ms);
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
        counts.into_iter().chain(heard.event).try_for_each(|event| self.feed(at, event))
    }

    /// Feeds one event to a machine and performs what it wants done.
    pub(super) fn feed(&mut self, at: usize, event: Event) -> Result<(), Law> {
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

    /// Tells whether a device only listens, and nothing of it is on its way.
    pub(super) fn is_listening(&self, at: usize) -> bool {
        let mut its = self.coming.iter().filter(|coming| coming.at == at);
        if self.go.is_some() {
            return self.is_at_rest_there(at);
        }
        its.clone().count() == 1 && its.all(|coming| matches!(coming.what, What::Listen(_)))
    }

    /// Writes a line of the tape.
    pub(super) fn say(&mut self, at: usize, what: &str) {
        self.tape.push(format!("{} {} {what}", self.now_ms, self.devices[at].name));
    }
}
