//! The world of one run: devices, the cloud, the network between them, and everything that can go wrong.

use super::cloud::ModelCloud;
use super::device::{CLOUD_ID, Coming, Device, wall_ms};
use super::laws;
use engram_proto::http::health::{HealthReply, Limits};
use engram_proto::http::push::{PushEntry, PushReply};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::ipc::request::{ListRequest, PromptRequest, RelateRequest, SaveRequest, UpdateRequest};
use engram_proto::reason::ReasonCode;
use engram_proto::time::{RowTime, rfc3339_from_ms};
use engramd::memory;
use engramd_core::classify::{Failure, Fault, Refusal, classify};
use engramd_core::{Effect, Event};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Events after which a world without faults must have come to rest.
const LIVENESS_STEPS: usize = 20_000;

/// One run.
pub struct World {
    rng: StdRng,
    now_ms: u64,
    faults: bool,
    /// Whether the cloud lost rows since the faults began: what was acknowledged is told again until they stop.
    restored: bool,
    /// The model of the server.
    pub cloud: ModelCloud,
    /// All devices.
    pub devices: Vec<Device>,
    /// What they share.
    pub projects: Vec<ProjectName>,
    /// What happened, line by line; the same seed writes the same.
    pub tape: Vec<String>,
}

impl World {
    /// Makes a world of three devices, with clocks that are off by up to three days.
    ///
    /// # Panics
    /// Where a store cannot be made.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let projects: Vec<_> = ["alpha", "beta"].iter().map(|name| ProjectName::parse(name).expect("a name")).collect();
        let devices = ["a", "b", "c"].iter().map(|name| {
            let skew_ms = rng.random_range(-260_000_000..260_000_000);
            Device::new(name, skew_ms, &projects, 0)
        });
        let devices = devices.collect();
        let mut world = Self {
            rng,
            now_ms: 0,
            faults: true,
            restored: false,
            cloud: ModelCloud::default(),
            devices,
            projects,
            tape: Vec::new(),
        };
        for at in 0..world.devices.len() {
            world.boot(at);
        }
        world
    }

    /// Lets `steps` events happen, with every fault, checking the laws after each.
    pub fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.rng.random_bool(0.3) {
                self.somebody_writes();
            } else if self.rng.random_bool(0.02) {
                let at = self.rng.random_range(0..self.devices.len());
                self.tape.push(format!("{} crash {}", self.now_ms, self.devices[at].name));
                self.devices[at].crash();
                self.boot(at);
            } else {
                self.step();
            }
            self.check();
        }
    }

    /// Puts an earlier past of the cloud in its place.
    pub fn restore(&mut self, backup: ModelCloud) {
        self.tape.push(format!("{} restore", self.now_ms));
        self.cloud.restore(backup);
        self.restored = true;
    }

    /// Lets the faults stop; all must agree within the budget.
    ///
    /// # Panics
    /// Where they do not.
    pub fn settle(&mut self) {
        self.faults = false;
        for _ in 0..LIVENESS_STEPS {
            let all = self.devices.iter().all(|device| laws::is_drained(device, &self.cloud, &self.projects));
            if all && self.retry_refused() {
                continue;
            }
            if all && self.devices.iter().all(|device| device.listening.is_some()) {
                laws::conv_1(&self.devices, &self.projects);
                laws::digests_agree(&self.devices, &self.cloud, &self.projects);
                self.devices.iter().for_each(|device| laws::ack_1(device, &self.cloud));
                self.nothing_is_from_the_future();
                return;
            }
            self.step();
        }
        panic!("liveness: not drained after {LIVENESS_STEPS} steps without faults\n{}", self.state());
    }

    /// However far ahead a device's clock was, no version wins for longer than a day (merging.md, "Writing").
    fn nothing_is_from_the_future(&self) {
        let limit_s = wall_ms(self.now_ms, 0) / 1_000 + 86_400 + 60;
        for row in &self.cloud.journal {
            let at_s = row.version.time().map_or(0, RowTime::unix_s);
            assert!(at_s <= limit_s, "row {} of {:?} is stamped {:?}", row.seq, row.id, row.version.time());
        }
    }

    /// What a faulty server refused is held until somebody says: try again. Here somebody does.
    fn retry_refused(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.devices.len() {
            let held = self.devices[at].store.held().expect("held rows");
            if held.iter().any(|row| row.kind == HeldKind::Quarantined) {
                let now = self.devices[at].row_time(self.now_ms);
                self.devices[at].store.held_retry(None, now).expect("tried again");
                let counts = self.devices[at].store.counts().expect("counts");
                self.feed(at, Event::Counted(counts));
                self.feed(at, Event::Woken);
                any = true;
            }
        }
        any
    }

    fn check(&self) {
        for device in &self.devices {
            if !self.restored {
                laws::ack_1(device, &self.cloud);
            }
            laws::ack_2(device, &self.projects);
            laws::nobody_diverges(device);
            laws::cur_1(device, &self.cloud, &self.projects);
        }
    }

    fn state(&self) -> String {
        let line = |device: &Device| {
            let report = device.machine.report(&engramd_core::health::Who::default());
            format!("{}: {:?} {:?} {:#?}\n", device.name, report.sync, report.totals, report.findings)
        };
        self.devices.iter().map(line).collect()
    }

    fn boot(&mut self, at: usize) {
        for event in self.devices[at].boot_events() {
            self.feed(at, event);
        }
    }

    /// Delivers what is due next, whoever's it is; time jumps there.
    fn step(&mut self) {
        self.wake_listeners();
        let coming = self.devices.iter().enumerate().flat_map(|(at, device)| {
            device.coming.iter().enumerate().map(move |(place, coming)| (coming.due_ms, at, Some(place)))
        });
        let wakes = self.devices.iter().enumerate().map(|(at, device)| (device.wake_ms, at, None));
        let Some((due_ms, at, place)) = coming.chain(wakes).min() else { return };
        self.now_ms = self.now_ms.max(due_ms);
        match place {
            Some(place) => {
                let event = self.devices[at].coming.remove(place).event;
                self.feed(at, event);
            }
            None => self.feed(at, Event::Tick),
        }
    }

    /// Answers pulls that wait at the cloud, when there is something or their time is over.
    fn wake_listeners(&mut self) {
        for at in 0..self.devices.len() {
            let Some((until_ms, request)) = &self.devices[at].listening else { continue };
            let (until_ms, news) = (*until_ms, self.cloud.has_news(&request.cursors));
            if news || !self.cloud.holds(self.devices[at].witness().as_ref()) || until_ms <= self.now_ms {
                let reply = self.answer(at, self.cloud.pull(request));
                self.devices[at].listening = None;
                self.later(at, Event::Pulled(reply), true);
            }
        }
    }

    fn feed(&mut self, at: usize, event: Event) {
        let now = self.devices[at].now(self.now_ms);
        let draw = self.rng.random_range(0.0..1.0);
        self.tape.push(format!("{} {} {}", self.now_ms, self.devices[at].name, kind(&event)));
        let effects = self.devices[at].machine.handle(event, now, draw);
        for effect in effects {
            self.perform(at, effect);
        }
        let device = &mut self.devices[at];
        let listening = device.listening.as_ref().map_or(u64::MAX, |(until_ms, _)| *until_ms);
        device.wake_ms = device.machine.next_deadline_ms().min(listening).max(self.now_ms + 1);
    }

    fn later(&mut self, at: usize, event: Event, of_pull: bool) {
        let delay_ms = if self.faults { self.rng.random_range(0..3_000) } else { 1 };
        let due_ms = self.now_ms + delay_ms;
        self.devices[at].coming.push(Coming { due_ms, event, of_pull });
    }

    fn perform(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Probe => {
                let answer = self.fault(false).map_or_else(|| Ok(introduction(self.now_ms)), Err);
                self.later(at, Event::Probed(answer), false);
            }
            Effect::Send { project, rows } => self.send(at, &project, &rows),
            Effect::Pull(request) => match self.fault(false) {
                Some(failure) => self.later(at, Event::Pulled(Err(failure)), true),
                None if request.wait_seconds > 0 => {
                    let until_ms = self.now_ms + u64::from(request.wait_seconds) * 1_000;
                    self.devices[at].listening = Some((until_ms, request));
                }
                None => {
                    let mut page = self.cloud.pull(&request);
                    if self.faults && self.rng.random_bool(0.05) {
                        // "More" without progress: a server's fault, which must not become a loop.
                        (page.has_more, page.cursors) = (true, request.cursors.clone());
                        page.mutations.clear();
                    }
                    let page = self.answer(at, page);
                    self.later(at, Event::Pulled(page), true);
                }
            },
            Effect::CancelPull => {
                let device = &mut self.devices[at];
                device.coming.retain(|coming| !coming.of_pull);
                device.listening = None;
                self.later(at, Event::PullCancelled, false);
            }
            effect => {
                for event in self.devices[at].on_store(effect, self.now_ms) {
                    // The counts come with the answer, in the same turn of the store's thread.
                    let due_ms = self.now_ms + u64::from(!matches!(event, Event::Counted(_)));
                    self.devices[at].coming.push(Coming { due_ms, event, of_pull: false });
                }
            }
        }
    }

    fn send(&mut self, at: usize, project: &ProjectName, rows: &[std::sync::Arc<engramd_core::rows::PendingRow>]) {
        let entries: Vec<_> = rows.iter().map(|row| entry(project, row)).collect();
        let lost_before = self.fault(true);
        if let Some(failure) = lost_before {
            return self.later(at, Event::Sent(Err(failure)), false);
        }
        if let Err(replaced) = self.answer(at, ()) {
            return self.later(at, Event::Sent(Err(replaced)), false);
        }
        let mut reply = self.cloud.push(project, &entries);
        if self.faults && self.rng.random_bool(0.05) {
            // Sent twice by the network: IDEM-1.
            reply = self.cloud.push(project, &entries);
        }
        if self.faults && self.rng.random_bool(0.1) {
            let keep = self.rng.random_range(0..=reply.receipts.len());
            reply.receipts.truncate(keep);
        }
        let lost_after = if self.faults && self.rng.random_bool(0.1) { Some(unreachable()) } else { None };
        let answer: Result<PushReply, Failure> = lost_after.map_or(Ok(reply), Err);
        self.later(at, Event::Sent(answer), false);
    }

    /// Answers only a device that was told nothing which the cloud does not hold (CUR-3).
    fn answer<T>(&self, at: usize, reply: T) -> Result<T, Failure> {
        if self.cloud.holds(self.devices[at].witness().as_ref()) {
            return Ok(reply);
        }
        Err(Failure::Replaced { cloud_id: Some(CLOUD_ID.to_owned()), message: "rows are lost".to_owned() })
    }

    /// Draws what the network or the server does instead of answering.
    fn fault(&mut self, of_batch: bool) -> Option<Failure> {
        if !self.faults || !self.rng.random_bool(0.2) {
            return None;
        }
        let statuses = [400, 401, 404, 408, 413, 429, 500, 502, 503];
        Some(match self.rng.random_range(0..=statuses.len()) {
            at if at < statuses.len() => {
                let refusal = Refusal { status: statuses[at], host: "cloud".to_owned(), ..Refusal::default() };
                classify(&refusal, of_batch)
            }
            _ => unreachable(),
        })
    }

    /// One of the write commands, by the real write rules, on a device's own clock.
    fn somebody_writes(&mut self) {
        let at = self.rng.random_range(0..self.devices.len());
        let project = self.projects[self.rng.random_range(0..self.projects.len())].clone();
        let now = memory::Now { at: self.devices[at].row_time(self.now_ms), random: self.rng.random() };
        let (choice, text) = (self.rng.random_range(0..10), self.rng.random_range(0..1_000));
        let existing = self.some_observations(at, &project);
        let store = &mut self.devices[at].store;
        let done = match (choice, existing.as_slice()) {
            (0..=3, _) | (4..=7, []) | (8, [] | [_]) => {
                let topic = (choice == 3).then(|| "shared topic".to_owned());
                let request = SaveRequest {
                    title: format!("t{text}"),
                    project: project.to_string(),
                    content: format!("c{text}"),
                    directory: "/d".to_owned(),
                    topic,
                    ..SaveRequest::default()
                };
                memory::save(store, &request, &now).map(|saved| format!("save {}", saved.sync_id))
            }
            (4 | 5, [id, ..]) => {
                let request = UpdateRequest { id: id.clone(), title: Some(format!("u{text}")), ..Default::default() };
                memory::update(store, &request, &now).map(|_| format!("update {id}"))
            }
            (6 | 7, [id, ..]) => memory::delete(store, id, choice == 7, &now).map(|_| format!("delete {id}")),
            (8, [a, b, ..]) => {
                let (source, target) = (a.clone(), b.clone());
                let request = RelateRequest { source, target, verb: "relates".to_owned(), ..Default::default() };
                memory::relate(store, &request, &now).map(|_| format!("relate {a} {b}"))
            }
            _ => {
                let request = PromptRequest {
                    project: project.to_string(),
                    content: format!("p{text}"),
                    directory: "/d".to_owned(),
                    session: None,
                };
                memory::prompt(store, &request, &now).map(|saved| format!("prompt {}", saved.sync_id))
            }
        };
        let what = done.unwrap_or_else(|error| format!("refused: {error}"));
        self.tape.push(format!("{} {} {what}", self.now_ms, self.devices[at].name));
        let counts = self.devices[at].store.counts().expect("counts");
        self.feed(at, Event::Counted(counts));
    }

    fn some_observations(&mut self, at: usize, project: &ProjectName) -> Vec<String> {
        let request = ListRequest { project: Some(project.to_string()), limit: 50, ..ListRequest::default() };
        let listed = self.devices[at].store.read(|conn| Ok(memory::list(conn, &request).expect("a list")));
        let mut ids: Vec<_> = listed.expect("a list").into_iter().map(|one| one.sync_id).collect();
        for place in (1..ids.len()).rev() {
            ids.swap(place, self.rng.random_range(0..=place));
        }
        ids
    }
}

fn entry(project: &ProjectName, row: &engramd_core::rows::PendingRow) -> PushEntry {
    PushEntry {
        project: project.to_string(),
        entity: row.entity.clone(),
        entity_key: row.entity_key.clone(),
        op: row.op.to_string(),
        payload: row.payload.clone().into(),
        mutation_id: Some(row.mutation_id.clone()),
        base: row.base.clone(),
    }
}

fn introduction(now_ms: u64) -> HealthReply {
    HealthReply {
        status: "ok".to_owned(),
        service: "engram-cloud".to_owned(),
        version: Some("0.1.0".to_owned()),
        cloud_id: Some(CLOUD_ID.to_owned()),
        capabilities: ["mutation_ids", "project_pull", "long_poll", "large_batch"].map(str::to_owned).to_vec(),
        limits: Some(Limits { push_bytes: 100_000, push_entries: 7, pull_entries: 5 }),
        time: Some(rfc3339_from_ms(wall_ms(now_ms, 0))),
    }
}

fn unreachable() -> Failure {
    Failure::Transport {
        code: ReasonCode::TransportFailed,
        message: "no route".to_owned(),
        fault: Fault::Unreachable,
        wait_ms: None,
    }
}

fn kind(event: &Event) -> String {
    let text = format!("{event:?}");
    text.chars().take_while(|c| c.is_alphanumeric()).collect::<String>()
        + if text.contains("Err(") { " failed" } else { "" }
}
