//! Two devices change one thing while nobody reaches the cloud, and then both push and pull in every order (CONV-6).
//!
//! Both lanes of a device run side by side, so its four or six steps mix in any way; what happens on one device alone can
//! be moved before whatever happens elsewhere, and a pull before anybody sent something brings nothing, so only the orders
//! that differ at the cloud and on each device are run.

use crate::bench::name;
use engram_cloud::clock::{Clock, rfc3339_us};
use engram_cloud::journal::{Batch, Entry, Fate, PageAsk, Pushed};
use engram_proto::http::pull::PullReply;
use engram_proto::http::push::PushEntry;
use engram_proto::ipc::request::{SaveRequest, SessionStart, UpdateRequest};
use engram_proto::merge::Version;
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use engram_tests::model::{Disk, ModelJournal, SharedDisk};
use engramd::memory::{self, Now};
use engramd::store::{Store, versions};
use engramd_core::rows::{BatchLimits, Fence, LeaseOutcome, Settlement};
use rusqlite::Connection;
use rusqlite::backup::Backup;
use std::collections::BTreeMap;
use std::time::Duration;

const PROJECT: &str = "alpha";
const BEGINNING_US: i64 = 1_795_348_800_000_000;

fn at(seconds: i64) -> RowTime {
    RowTime::parse("2026-11-22 14:00:00").expect("a time").plus_s(seconds)
}

fn by_clock(seconds: i64, random: u8) -> Now {
    Now { at: at(seconds), random: [random; 8] }
}

/// What a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The first pending rows arrive at the cloud.
    Send,
    /// Their receipts arrive here.
    Settle,
    /// The cloud answers a pull.
    Fetch,
    /// The page is applied.
    Apply,
}
use Step::{Apply, Fetch, Send, Settle};

const PUSH: &[Step] = &[Send, Settle];
const TWO_PUSHES: &[Step] = &[Send, Settle, Send, Settle];
const PULL: &[Step] = &[Fetch, Apply];

/// A device, by what its lanes have in their hands.
struct Device {
    store: Store,
    fence: Fence,
    sent: Vec<Settlement>,
    page: PullReply,
}

impl Device {
    fn new(number: u8) -> Self {
        let mut store = Store::open_in_memory(at(0)).expect("a store");
        store.enroll(&name(PROJECT), at(0)).expect("enrolled");
        let granted = store.acquire_lease(&format!("engramd-{number}"), 0, i64::MAX / 2).expect("an answer");
        let LeaseOutcome::Granted { fence, .. } = granted else { panic!("nobody else has it") };
        Self { store, fence, sent: Vec::new(), page: PullReply::default() }
    }

    fn copy(&self) -> Self {
        let mut conn = Connection::open_in_memory().expect("memory");
        let copied = self
            .store
            .read(|from| Ok(Backup::new(from, &mut conn)?.run_to_completion(i32::MAX, Duration::ZERO, None)?));
        copied.expect("a copy");
        let store = Store::over(conn, at(0)).expect("a store");
        Self { store, fence: self.fence.clone(), sent: Vec::new(), page: PullReply::default() }
    }

    fn step(&mut self, cloud: &ModelJournal, step: Step, rows_max: u32) {
        match step {
            Send => self.send(cloud, rows_max),
            Settle if self.sent.is_empty() => {}
            Settle => {
                let sent = std::mem::take(&mut self.sent);
                self.store.settle(&self.fence, &name(PROJECT), &sent, at(60)).expect("settled");
            }
            Fetch => {
                let cloud_id = cloud.disk().cloud_id.clone();
                let cursors = self.store.cursors(&cloud_id, &[name(PROJECT)]).expect("a cursor");
                let ask = PageAsk { cursors, rows_max: 100, bytes_max: 1 << 20, witness: None };
                let page = cloud.page_now(&ask).expect("no witness");
                self.page = PullReply { mutations: page.rows, cursors: page.cursors, ..PullReply::default() };
            }
            Apply if self.page.mutations.is_empty() => {}
            Apply => {
                let (cloud_id, page) = (cloud.disk().cloud_id.clone(), std::mem::take(&mut self.page));
                self.store.apply_page(&self.fence, &cloud_id, &BTreeMap::new(), &page, at(60)).expect("applied");
            }
        }
    }

    /// Pushes all and pulls all.
    fn cycle(&mut self, cloud: &ModelJournal) {
        for step in [Send, Settle, Fetch, Apply] {
            self.step(cloud, step, 10);
        }
    }

    fn send(&mut self, cloud: &ModelJournal, rows_max: u32) {
        let limits = BatchLimits { rows_max, body_bytes_max: 1 << 20 };
        let rows = self.store.pending_batch(&self.fence, &name(PROJECT), limits, at(60)).expect("a batch").rows;
        let entry = |row: &engramd_core::rows::PendingRow| PushEntry {
            project: PROJECT.to_owned(),
            entity: row.entity.clone(),
            entity_key: row.entity_key.clone(),
            op: row.op.to_string(),
            payload: row.payload.clone().into(),
            mutation_id: Some(row.mutation_id.clone()),
            base: row.base.clone(),
        };
        let entries = rows.iter().map(|row| Entry::read(name(PROJECT), entry(row))).collect();
        let Pushed::Done(fates) = cloud.push_now(&Batch::new("a device", entries)) else { panic!("it takes them") };
        let settled = rows.iter().zip(fates).map(|(row, fate)| match fate {
            Fate::Accepted(told) | Fate::Duplicate(told) | Fate::Superseded(told) => Settlement::Acked {
                seq: row.seq,
                cloud_seq: told.seq,
                occurred_at: Some(rfc3339_us(told.occurred_at_us)),
            },
            Fate::Rejected(fault) => panic!("{fault:?}"),
        });
        self.sent = settled.collect();
    }

    fn version(&self, entity: Entity, key: &str) -> Version {
        let version = self.store.read(|conn| versions::local(conn, &name(PROJECT), entity, key));
        version.expect("an answer").expect("it is there")
    }

    fn lost(&self) -> Vec<String> {
        self.store
            .read(|conn| {
                let mut statement = conn.prepare("SELECT hash FROM engramd_conflict ORDER BY id")?;
                Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
            })
            .expect("a list")
    }
}

/// Mixes the steps of both devices in every way that makes a difference; a step says whose it is.
fn orders(a: &[&[Step]], b: &[&[Step]]) -> Vec<Vec<(usize, Step)>> {
    fn go_on(lanes: &mut [(usize, &[Step])], done: &mut Vec<(usize, Step)>, all: &mut Vec<Vec<(usize, Step)>>) {
        if lanes.iter().all(|(_, steps)| steps.is_empty()) {
            all.push(done.clone());
        }
        for at in 0..lanes.len() {
            let (device, steps) = lanes[at];
            let Some((&step, rest)) = steps.split_first() else { continue };
            let is_elsewhere = done.last().is_some_and(|&(last, _)| last != device);
            let is_empty = done.iter().all(|&(_, done)| done != Send);
            if matches!(step, Settle | Apply) && is_elsewhere || step == Fetch && is_empty {
                continue;
            }
            lanes[at].1 = rest;
            done.push((device, step));
            go_on(lanes, done, all);
            done.pop();
            lanes[at].1 = steps;
        }
    }
    let lanes = a.iter().map(|&lane| (0, lane)).chain(b.iter().map(|&lane| (1, lane)));
    let mut all = Vec::new();
    go_on(&mut lanes.collect::<Vec<_>>(), &mut Vec::new(), &mut all);
    all
}

/// A thing both devices hold, and what each did to it.
struct Situation {
    cloud: Disk,
    devices: [Device; 2],
    entity: Entity,
    key: String,
    /// What both had seen.
    common: Version,
}

impl Situation {
    /// Lets both devices know one thing, before `act` changes it on each of them by its own clock.
    fn new(entity: Entity, act: impl Fn(&mut Store, &str, usize)) -> Self {
        let cloud = cloud(Disk::new("the cloud"));
        let mut devices = [Device::new(1), Device::new(2)];
        let start =
            SessionStart { id: Some("s".to_owned()), project: PROJECT.to_owned(), directory: "/src".to_owned() };
        memory::session_start(&mut devices[0].store, &start, &by_clock(0, 1)).expect("started");
        let save = SaveRequest {
            title: "Plan".to_owned(),
            project: PROJECT.to_owned(),
            session: Some("s".to_owned()),
            content: "the first text".to_owned(),
            ..SaveRequest::default()
        };
        let saved = memory::save(&mut devices[0].store, &save, &by_clock(0, 2)).expect("saved");
        for device in &mut devices {
            device.cycle(&cloud);
        }
        let key = if entity == Entity::Session { "s".to_owned() } else { saved.sync_id };
        let common = devices[1].version(entity, &key);
        assert_eq!(common, devices[0].version(entity, &key));
        for (number, device) in devices.iter_mut().enumerate() {
            act(&mut device.store, &key, number);
        }
        let cloud = cloud.disk().clone();
        Self { cloud, devices, entity, key, common }
    }

    /// Runs one order, then lets both drain, and tells what is wrong then.
    fn run(&self, order: &[(usize, Step)], rows_max: u32) -> Result<(), String> {
        let cloud = cloud(self.cloud.clone());
        let mut devices = self.devices.each_ref().map(Device::copy);
        let finals = devices.each_ref().map(|device| device.version(self.entity, &self.key));
        for &(device, step) in order {
            devices[device].step(&cloud, step, rows_max);
        }
        for _ in 0..2 {
            devices.iter_mut().for_each(|device| device.cycle(&cloud));
        }
        let [ends, other] = devices.each_ref().map(|device| device.version(self.entity, &self.key));
        if ends != other {
            return Err(format!("{ends:?} on one, {other:?} on the other"));
        }
        let lost: Vec<String> = devices.iter().flat_map(Device::lost).collect();
        for last in finals {
            let is_listed = lost.contains(&last.hash().to_string());
            if is_listed == (last.hash() == ends.hash()) {
                return Err(format!("lists {lost:?}, ends with {ends:?}, and of {last:?} it is not true"));
            }
        }
        let wrong = lost.contains(&self.common.hash().to_string());
        if wrong { Err("lists what both had seen".to_owned()) } else { Ok(()) }
    }

    /// Runs every order where the second device sends all in one request.
    fn run_in_one(&self) {
        self.run_all(PUSH, 10, 108);
    }

    /// Runs every order where it sends a row in each of two.
    fn run_in_two(&self) {
        self.run_all(TWO_PUSHES, 1, 540);
    }

    fn run_all(&self, pushes: &[Step], rows_max: u32, count: usize) {
        let all = orders(&[PUSH, PULL], &[pushes, PULL]);
        assert_eq!(all.len(), count);
        for order in all {
            if let Err(what) = self.run(&order, rows_max) {
                panic!("{order:?}, {rows_max} rows in a request: {what}");
            }
        }
    }
}

fn cloud(disk: Disk) -> ModelJournal {
    ModelJournal::open(SharedDisk::new(disk.into()), Clock::new(|| BEGINNING_US))
}

fn edit(store: &mut Store, key: &str, content: &str, seconds: i64) {
    let request = UpdateRequest { id: key.to_owned(), content: Some(content.to_owned()), ..UpdateRequest::default() };
    memory::update(store, &request, &by_clock(seconds, 7)).expect("edited");
}

/// One edit on the first device, some on the second one.
fn edits(a: (&str, i64), b: &[(&str, i64)]) -> Situation {
    Situation::new(Entity::Observation, |store, key, device| {
        let edits = if device == 0 { vec![a] } else { b.to_vec() };
        for (content, seconds) in edits {
            edit(store, key, content, seconds);
        }
    })
}

/// Finds a text that beats the other device's in the same second, or loses to it, by its hash.
fn draft(beats: bool) -> &'static str {
    let drafts = ["draft", "sketch", "outline", "notes", "plan", "idea", "scribble", "thought"];
    let found = drafts.into_iter().find(|draft| {
        let Situation { devices, key, .. } = edits(("on a", 10), &[(draft, 10)]);
        let [a, b] = devices.each_ref().map(|device| device.version(Entity::Observation, &key));
        b.leads(&a) == beats
    });
    found.expect("one of eight")
}

/// CONV-6: in one second the draft beats the other device's text, or loses to it; what follows the draft wins.
#[test]
fn conv_6_whatever_the_order_the_loser_is_listed_in_one_second() {
    for beats in [true, false] {
        edits(("on a", 10), &[(draft(beats), 10), ("on b", 10)]).run_in_two();
    }
}

#[test]
fn conv_6_whatever_the_order_the_loser_is_listed_a_second_apart() {
    edits(("on a", 10), &[("draft", 11), ("on b", 12)]).run_in_one();
    edits(("on a", 13), &[("draft", 11), ("on b", 12)]).run_in_one();
}

#[test]
fn conv_6_whatever_the_order_a_delete_and_an_edit_lose_visibly() {
    for (seconds, hard) in [(12, true), (9, false)] {
        let situation = Situation::new(Entity::Observation, |store, key, device| {
            if device == 0 {
                return edit(store, key, "on a", 10);
            }
            memory::delete(store, key, hard, &by_clock(seconds, 7)).expect("deleted");
        });
        situation.run_in_one();
    }
}

#[test]
fn conv_6_whatever_the_order_a_summary_that_lost_is_listed() {
    for seconds in [8, 12] {
        let situation = Situation::new(Entity::Session, |store, key, device| {
            let (summary, seconds) = if device == 0 { ("by a", 10) } else { ("by b", seconds) };
            memory::session_end(store, key, Some(summary), &by_clock(seconds, 7)).expect("ended");
        });
        situation.run_in_one();
    }
}
