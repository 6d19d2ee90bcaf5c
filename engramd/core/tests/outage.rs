//! A hub that is away for two hours, in virtual time (REC-1, situation 6): how often it is asked, and what ends the waiting.
#![expect(clippy::unwrap_used, reason = "tests")]

use engram_proto::canonical::Object;
use engram_proto::http::health::{HealthReply, capability};
use engram_proto::http::pull::PullReply;
use engram_proto::http::push::{PushReply, Receipt, ReceiptStatus};
use engram_proto::id::ProjectName;
use engram_proto::ipc::request::Direction;
use engram_proto::mutation::Op;
use engram_proto::reason::ReasonCode;
use engramd_core::classify::{Failure, Fault};
use engramd_core::event::Projects;
use engramd_core::health::Who;
use engramd_core::rows::{
    Applied, Batch, Belonging, Counts, Fence, LeaseOutcome, PendingRow, ProjectCounts, Rechecked, Settled,
};
use engramd_core::{Cloud, Effect, Event, Machine, Now, Settings};
use std::collections::{BTreeMap, VecDeque};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
/// The longest delay there is: five minutes and a quarter of them (REC-1).
const LONGEST: u64 = 375 * SECOND;
const WALL_MS: i64 = 1_790_000_000_000;

fn alpha() -> ProjectName {
    ProjectName::parse("alpha").unwrap()
}

/// How the hub is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hub {
    Well,
    /// Nobody reaches it.
    Away,
    /// It greets, and whatever else it is asked it answers 502.
    Broken,
}

/// A machine, the time, and a hub that answers at once.
struct World {
    machine: Machine,
    mono_ms: u64,
    hub: Hub,
    pending: u64,
    /// When the hub was asked something, be it reached or not.
    asked: Vec<u64>,
    delivered: u64,
    listening: bool,
    draws: u64,
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            ladder_ms: vec![1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000],
            lease_ttl_ms: 120_000,
            tick_ms: 30_000,
            recheck_ms: 86_400_000,
            block_probe_ms: 300_000,
            wait_seconds: 25,
            request_bytes_max: 1 << 20,
        };
        let mut world = Self {
            machine: Machine::new(settings),
            mono_ms: 1,
            hub: Hub::Well,
            pending: 0,
            asked: Vec::new(),
            delivered: 0,
            listening: false,
            draws: 7,
        };
        world.tell(Event::ProjectsChanged(Projects { enrolled: vec![alpha()], ..Projects::default() }));
        world.count();
        world.tell(Event::CloudChanged(Cloud::Configured { host: "hub".to_owned() }));
        assert!(world.listening, "it is at rest");
        world
    }

    fn now(&self) -> Now {
        Now { mono_ms: self.mono_ms, wall_ms: WALL_MS + i64::try_from(self.mono_ms).unwrap() }
    }

    fn draw(&mut self) -> f64 {
        self.draws = self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.draws >> 40).unwrap()) / f64::from(1_u32 << 24)
    }

    /// Tells an event, and answers whatever it leads to.
    fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let draw = self.draw();
            for effect in self.machine.handle(event, self.now(), draw) {
                events.extend(self.answer(effect));
            }
        }
    }

    fn count(&mut self) {
        let counts = ProjectCounts { pending: self.pending, ..ProjectCounts::default() };
        self.tell(Event::Counted(Counts::from([(alpha(), counts)])));
    }

    fn save(&mut self) {
        self.pending = 1;
        self.count();
    }

    fn failure(&self) -> Option<Failure> {
        let fault = match self.hub {
            Hub::Well => return None,
            Hub::Away => Fault::Unreachable,
            Hub::Broken => Fault::Answered,
        };
        let (code, message) = (ReasonCode::TransportFailed, "hub does not answer".to_owned());
        Some(Failure::Transport { code, message, fault, wait_ms: None })
    }

    fn answer(&mut self, effect: Effect) -> Vec<Event> {
        if matches!(effect, Effect::Probe | Effect::Send { .. } | Effect::Pull(_)) {
            self.asked.push(self.mono_ms);
        }
        let event = match effect {
            Effect::AcquireLease => {
                let fence = Fence { number: 1, owner: "engramd".to_owned() };
                Event::LeaseAnswered(Ok(LeaseOutcome::Granted { fence, until_ms: i64::MAX }))
            }
            Effect::RenewLease(_) => Event::LeaseRenewed(Ok(i64::MAX)),
            Effect::Probe if self.hub == Hub::Away => Event::Probed(Err(self.failure().unwrap())),
            Effect::Probe => {
                let capabilities = [capability::MUTATION_IDS, capability::PROJECT_PULL, capability::LONG_POLL];
                let reply = serde_json::json!({"status": "ok", "service": "engram-cloud", "cloud_id": "c",
                    "capabilities": capabilities});
                Event::Probed(Ok(serde_json::from_value::<HealthReply>(reply).unwrap()))
            }
            Effect::LoadBelonging { cloud_id, .. } => {
                Event::Belonging(Ok(Belonging { cloud_id, ..Belonging::default() }))
            }
            Effect::LoadCursors { .. } => Event::CursorsLoaded(Ok([(alpha(), 8)].into())),
            Effect::LoadBatch { .. } => {
                let row = PendingRow {
                    seq: 1,
                    entity: "observation".to_owned(),
                    entity_key: "o".to_owned(),
                    op: Op::Upsert,
                    payload: Object::new(),
                    mutation_id: "d:1:0".to_owned(),
                    base: None,
                    body_bytes: 100,
                };
                let rows = if self.pending > 0 { vec![row] } else { Vec::new() };
                Event::BatchLoaded(Ok(Batch { project: alpha(), rows, more: false }))
            }
            Effect::Send { .. } => Event::Sent(match self.failure() {
                Some(failure) => Err(failure),
                None => {
                    self.delivered += 1;
                    Ok(taken())
                }
            }),
            Effect::Settle { .. } => {
                self.pending = 0;
                let counts = Counts::from([(alpha(), ProjectCounts::default())]);
                return vec![Event::Counted(counts), Event::Settled(Ok(Settled { acked: 1, held: 0 }))];
            }
            Effect::Pull(request) => match self.failure() {
                Some(failure) => Event::Pulled(Err(failure)),
                None if request.wait_seconds > 0 => {
                    self.listening = true;
                    return Vec::new();
                }
                None => Event::Pulled(Ok(PullReply {
                    cursors: [(alpha(), 8)].into(),
                    heads: [(alpha(), 8)].into(),
                    ..PullReply::default()
                })),
            },
            Effect::CancelPull => {
                self.listening = false;
                Event::PullCancelled
            }
            Effect::StandIns { .. } => Event::StoodIn(Ok(Applied::default())),
            Effect::Compare { .. } => Event::Compared(Ok(BTreeMap::new())),
            Effect::Recheck { every_ms, .. } => {
                Event::Rechecked(Ok(Rechecked { again_in_ms: every_ms, ..Rechecked::default() }))
            }
            Effect::Note { .. } | Effect::SyncProgress(..) | Effect::SyncDone(..) => return Vec::new(),
            other => panic!("nobody expected {other:?}"),
        };
        vec![event]
    }

    /// Lets time pass until then, with a tick whenever the machine wants one.
    fn pass(&mut self, until_ms: u64) {
        while self.machine.next_deadline_ms() <= until_ms {
            self.mono_ms = self.machine.next_deadline_ms();
            self.tell(Event::Tick);
        }
        self.mono_ms = until_ms;
        self.tell(Event::Tick);
    }

    /// Breaks the hub; whoever listens hears of it.
    fn breaks(&mut self, hub: Hub) {
        self.hub = hub;
        if std::mem::take(&mut self.listening) {
            let failure = self.failure().unwrap();
            self.tell(Event::Pulled(Err(failure)));
        }
    }

    fn attempt(&self) -> u32 {
        self.machine.report(&Who::default()).sync.attempt
    }

    fn findings(&self) -> Vec<ReasonCode> {
        self.machine.report(&Who::default()).findings.into_iter().map(|finding| finding.code).collect()
    }

    /// That all went out, nothing is wrong, and nobody waits for anything but news.
    fn assert_recovered(&self, context: &str) {
        assert_eq!((self.pending, self.delivered, self.attempt()), (0, 1, 0), "{context}");
        assert_eq!(self.findings(), [], "{context}");
        assert!(self.listening, "{context}");
    }
}

fn taken() -> PushReply {
    let receipt = Receipt {
        mutation_id: "d:1:0".to_owned(),
        status: ReceiptStatus::Accepted,
        seq: Some(16),
        occurred_at: None,
        reason_code: None,
        field: None,
        message: None,
    };
    PushReply { receipts: vec![receipt], ..PushReply::default() }
}

/// Two hours without the hub, or with one that refuses everything.
fn after_two_hours(hub: Hub) -> World {
    let mut world = World::new();
    world.breaks(hub);
    world.save();
    world.asked.clear();
    let end = world.mono_ms + 2 * HOUR;
    world.pass(end);
    world
}

/// REC-1: the delays grow and stay below the longest one, and however often it failed, the next attempt comes by itself.
#[test]
fn scenario_6_rec_1_two_hours_without_the_hub_end_by_themselves() {
    for hub in [Hub::Away, Hub::Broken] {
        let mut world = after_two_hours(hub);
        let gaps: Vec<u64> = world.asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|&gap| gap <= LONGEST), "{hub:?}: {gaps:?}");
        assert!((20..=200).contains(&world.asked.len()), "{hub:?}: asked {} times", world.asked.len());
        assert!(world.attempt() >= 20, "{hub:?}: {}", world.attempt());
        assert_eq!(world.findings(), [ReasonCode::TransportFailed], "{hub:?}");
        world.hub = Hub::Well;
        world.pass(world.mono_ms + LONGEST);
        world.assert_recovered(&format!("{hub:?}"));
    }
}

/// REC-1: hundreds of failures, because somebody asks again and again; none is the last one.
#[test]
fn scenario_6_rec_1_hundreds_of_failures_are_no_end() {
    for hub in [Hub::Away, Hub::Broken] {
        let mut world = after_two_hours(hub);
        for ticket in 0..400 {
            let before = world.asked.len();
            world.tell(Event::SyncRequested { ticket, project: None, direction: Direction::Both });
            assert!(world.asked.len() > before, "{hub:?}: a sync asks at once, for the {ticket}th time");
            world.pass(world.mono_ms + SECOND);
        }
        assert!(world.attempt() >= 400, "{hub:?}: {}", world.attempt());
        world.hub = Hub::Well;
        world.pass(world.mono_ms + LONGEST);
        world.assert_recovered(&format!("{hub:?}"));
    }
}

/// REC-1: what may have ended the cause ends the waiting at once: a resume or another network, configuration, a sync.
#[test]
fn scenario_6_rec_1_what_may_end_the_cause_ends_the_waiting_at_once() {
    let configured = || Event::CloudChanged(Cloud::Configured { host: "hub".to_owned() });
    let asked = || Event::SyncRequested { ticket: 1, project: None, direction: Direction::Both };
    for hub in [Hub::Away, Hub::Broken] {
        for event in [Event::Woken, configured(), asked()] {
            let mut world = after_two_hours(hub);
            let (context, began) = (format!("{hub:?}, {event:?}"), world.mono_ms);
            world.hub = Hub::Well;
            world.tell(event);
            world.assert_recovered(&context);
            assert_eq!(world.mono_ms, began, "no time had to pass");
        }
    }
}

/// LOUD-2: where the answer to a push was lost, and a pull shows that it arrived, nothing is wrong any more.
#[test]
fn loud_2_a_failed_push_of_what_is_pending_no_more_is_no_finding() {
    let mut world = World::new();
    world.breaks(Hub::Broken);
    world.save();
    world.pass(world.mono_ms + 5 * SECOND);
    assert_eq!(world.findings(), [ReasonCode::TransportFailed]);
    world.hub = Hub::Well;
    world.pending = 0;
    world.count();
    world.pass(world.mono_ms + LONGEST);
    assert_eq!((world.findings(), world.attempt(), world.delivered), (Vec::new(), 0, 0));
}
