//! The calm: nothing goes wrong any more, so all must come to rest, agree, and hear of a save at once.

use super::excuses;
use super::laws::{self, Law};
use super::ledger;
use super::loud;
use super::plan::Edition;
use super::server::Mood;
use super::world::World;
use engram_cloud::journal::compaction::Retention;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::ipc::request::SaveRequest;
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use engramd::memory;
use engramd_core::Event;
use engramd_core::health::Who;
use rand::RngExt as _;
use std::time::Duration;

/// Events after which a world without faults must have come to rest.
const EVENTS_MAX: usize = 5_000;

/// The same where the server is a Go program's: it lets nobody wait for news, and one question takes it several requests.
const EVENTS_MAX_GO: usize = 40_000;

/// Memories that everybody begins with.
const SHARED: usize = 4;

/// A save is everywhere after so long, where everybody asks the server every 30 s, in milliseconds.
const LATENCY_MS_GO: u64 = 70_000;

/// A save is everywhere after so long, in milliseconds: some five messages of at most 20 ms, and no timer.
const LATENCY_MS: u64 = 300;

impl World {
    /// Before anything goes wrong: a few memories that every device has.
    pub(super) fn share_history(&mut self) -> Result<(), Law> {
        let devices = 0..self.devices.len();
        for at in devices.clone() {
            self.enroll_all(at);
            self.reload(at)?;
        }
        for (number, at) in devices.cycle().take(SHARED).enumerate() {
            let project = self.projects[number % self.projects.len()].clone();
            self.writes(at, &project, Some(&format!("h{number}")))?;
        }
        self.rest()
    }

    fn enroll_all(&mut self, at: usize) {
        let device = &mut self.devices[at];
        let now = device.row_time(self.now_ms);
        for project in &self.projects {
            device.store.enroll(project, now).expect("enrolled");
            device.store.resume(Some(project)).expect("resumed");
        }
        device.store.resume(None).expect("resumed");
    }

    /// Ends every trouble; all must agree within the budget.
    pub(super) fn settle(&mut self) -> Result<(), Law> {
        self.end_trouble()?;
        self.rest()?;
        self.peers_come_to_rest()?;
        self.shared_stores_agree()?;
        let latest_ms =
            std::iter::once(&self.server).chain(&self.other).map(|server| server.latest_ms(self.now_ms)).max();
        let latest = latest_ms.and_then(RowTime::from_unix_ms);
        {
            let disk = self.server.journal.disk();
            laws::conv_1(&self.devices, &disk, &self.projects)?;
            ledger::all_show_the_same(&self.devices)?;
            // A Go program's server has no digests.
            if self.go.is_none() {
                laws::digests_agree(&self.devices, &disk, &self.projects)?;
            }
            laws::nobody_diverges(&self.devices)?;
            self.devices.iter().try_for_each(loud::calm_is_said)?;
            if !excuses::a_go_server_keeps_the_last_writers_version(self.go.is_some(), self.peers.len()) {
                let others = self.other.as_ref().map(|other| other.journal.disk());
                let lost = (&self.lost, !self.peers.is_empty());
                self.ledger.nothing_is_lost(&self.devices, (&disk, others.as_deref()), lost)?;
            }
            laws::nothing_is_from_the_future(&disk, latest)?;
            for device in &self.devices {
                laws::nothing_is_lost(device, &disk)?;
                device.books.all_acked(&device.looked(&[(&*disk, disk.cloud_id.as_str())]))?;
            }
        }
        self.a_save_is_everywhere_at_once()
    }

    fn end_trouble(&mut self) -> Result<(), Law> {
        self.tape.push(format!("{} calm", self.now_ms));
        self.server.mood = Mood::Well;
        self.server.ungranted.clear();
        for project in self.projects.clone() {
            self.server.set_paused(&project, false);
        }
        if self.edition > Edition::First && self.rng.random_bool(0.5) && !self.may_not_be_behind(0) {
            if let Some(go) = &mut self.go {
                excuses::no_late_batch_while_the_clock_is_set(go);
                go.pass(self.now_ms, &self.server);
            }
            self.server.set_clock(0, self.now_ms);
        }
        self.return_leases();
        self.what_is_on_its_way_arrives()?;
        self.servers_forget();
        for at in 0..self.devices.len() {
            self.enroll_all(at);
            self.boot(at)?;
        }
        self.go_processes_end();
        self.everybody_comes_to_one_cloud()
    }

    /// What was said before the calm arrives with whatever luck it had, and is answered; then the calm begins.
    fn what_is_on_its_way_arrives(&mut self) -> Result<(), Law> {
        for _ in 0..2 {
            let last = self.order;
            while self.coming.iter().any(|coming| coming.order <= last && coming.is_talk()) {
                self.next()?;
                self.check()?;
            }
        }
        Ok(())
    }

    /// Takes the contents of all that is current no more from our servers.
    fn servers_forget(&mut self) {
        if self.go.is_some() || !self.forgets {
            return;
        }
        let nothing = Retention { superseded: Duration::ZERO, deleted: Duration::ZERO };
        for server in std::iter::once(&self.server).chain(&self.other) {
            while server.journal.compact_now(&nothing).has_more {}
        }
    }

    /// Lets events happen until everything is everywhere and everybody only listens.
    pub(super) fn rest(&mut self) -> Result<(), Law> {
        let events = if self.go.is_some() { EVENTS_MAX_GO } else { EVENTS_MAX };
        for _ in 0..events {
            self.check()?;
            let drained = (0..self.devices.len()).all(|at| self.is_listening(at) && self.is_drained(at));
            if drained && !self.retry_refused()? {
                return if self.tickets.is_empty() {
                    Ok(())
                } else {
                    Err(Law::new("LOUD-1", format!("a sync has no verdict: {:?}", self.tickets)))
                };
            }
            let is_told_of = self.go.is_some() && self.server.is_restored || self.calm && self.other.is_some();
            if is_told_of {
                self.mirror_again()?;
            }
            self.next()?;
        }
        Err(Law::new("REC-1", format!("not at rest after {events} events without faults\n{}", self.state())))
    }

    fn is_drained(&self, at: usize) -> bool {
        let cloud_id = self.cloud_id(at);
        let disk = self.server.journal.disk();
        laws::is_drained(&self.devices[at], (&*disk, cloud_id.as_str()), &self.projects)
    }

    /// A Go server that was restored tells no identity, and one that was emptied has another: it stands still and is said,
    /// until somebody says what to do.
    fn mirror_again(&mut self) -> Result<(), Law> {
        for at in 0..self.devices.len() {
            let report = self.devices[at].machine.report(&Who::default());
            let named = report.findings.iter().filter(|finding| finding.code == ReasonCode::CloudReplaced);
            let named: Vec<_> = named.filter_map(|finding| finding.project.clone()).collect();
            if named.is_empty() {
                continue;
            }
            let due = self.devices[at].said();
            let is_new = |project: &&ProjectName| named.contains(&project.to_string()) && !due.holds(project);
            for project in self.projects.clone().iter().filter(is_new) {
                self.remirror(at, project)?;
            }
        }
        Ok(())
    }

    /// What a faulty server refused is held until somebody says: try again. Here somebody does.
    fn retry_refused(&mut self) -> Result<bool, Law> {
        let mut any = false;
        for at in 0..self.devices.len() {
            let held = self.devices[at].store.held().expect("held rows");
            if held.iter().any(|row| row.kind == HeldKind::Quarantined) {
                let now = self.devices[at].row_time(self.now_ms);
                self.devices[at].store.held_retry(None, now).expect("tried again");
                any = true;
                self.boot(at)?;
            }
        }
        Ok(any)
    }

    /// No waking is dropped: what is saved on one device is known on the others without a timer.
    fn a_save_is_everywhere_at_once(&mut self) -> Result<(), Law> {
        for at in 0..self.devices.len() {
            self.feed(at, Event::Woken)?;
        }
        self.rest()?;
        let (project, begun_ms) = (self.projects[0].clone(), self.now_ms);
        let request = SaveRequest {
            title: "at once".to_owned(),
            project: project.to_string(),
            content: "everywhere".to_owned(),
            directory: "/d".to_owned(),
            ..SaveRequest::default()
        };
        let now = memory::Now { at: self.devices[0].row_time(begun_ms), random: *b"at once!" };
        let saved = memory::save(&mut self.devices[0].store, &request, &now).expect("saved");
        if let Some(counted) = self.devices[0].count() {
            self.feed(0, counted)?;
        }
        let latency_ms = if self.go.is_some() { LATENCY_MS_GO } else { LATENCY_MS };
        while !self.devices.iter().all(|device| laws::knows(device, &project, &saved.sync_id)) {
            self.next()?;
            self.check()?;
            if self.now_ms > begun_ms + latency_ms {
                let what = format!("a save was not everywhere after {latency_ms} ms\n{}", self.state());
                return Err(Law::new("latency", what));
            }
        }
        Ok(())
    }

    fn state(&self) -> String {
        let line = |device: &super::device::Device| {
            let report = device.machine.report(&engramd_core::health::Who::default());
            let cursors = device.books.cursors(&device.store);
            format!("{}: {:?} {:?} {cursors:?} {:#?}\n", device.name, report.sync, report.totals, report.findings)
        };
        self.devices.iter().map(line).collect()
    }
}
