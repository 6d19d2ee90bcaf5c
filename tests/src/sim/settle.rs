//! The calm: nothing goes wrong any more, so all must come to rest, agree, and hear of a save at once.

use super::laws::{self, Law};
use super::server::Mood;
use super::world::World;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::ipc::request::SaveRequest;
use engramd::memory;
use engramd_core::Event;

/// Events after which a world without faults must have come to rest.
const EVENTS_MAX: usize = 5_000;

/// A save is everywhere after so long, in milliseconds: some five messages of at most 20 ms, and no timer.
const LATENCY_MS: u64 = 300;

impl World {
    /// Ends every trouble; all must agree within the budget.
    pub(super) fn settle(&mut self) -> Result<(), Law> {
        self.end_trouble()?;
        self.rest()?;
        self.peers_come_to_rest()?;
        self.shared_stores_agree()?;
        let now = super::device::row_time(self.now_ms, 0);
        {
            let disk = self.server.journal.disk();
            laws::conv_1(&self.devices, &disk, &self.projects)?;
            laws::digests_agree(&self.devices, &disk, &self.projects)?;
            laws::nobody_diverges(&self.devices)?;
            laws::nothing_is_from_the_future(&disk, now)?;
            for device in &self.devices {
                laws::nothing_is_lost(device, &disk)?;
                device.books.all_acked(&device.name, &device.store, &disk)?;
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
        self.return_leases();
        for at in 0..self.devices.len() {
            let device = &mut self.devices[at];
            let now = device.row_time(self.now_ms);
            for project in &self.projects {
                device.store.enroll(project, now).expect("enrolled");
                device.store.resume(Some(project)).expect("resumed");
            }
            device.store.resume(None).expect("resumed");
            self.boot(at)?;
        }
        self.go_processes_end();
        self.everybody_comes_to_one_cloud()
    }

    /// Lets events happen until everything is everywhere and everybody only listens.
    pub(super) fn rest(&mut self) -> Result<(), Law> {
        for _ in 0..EVENTS_MAX {
            let drained = {
                let disk = self.server.journal.disk();
                (0..self.devices.len())
                    .all(|at| self.is_listening(at) && laws::is_drained(&self.devices[at], &disk, &self.projects))
            };
            if drained && !self.retry_refused()? {
                return if self.tickets.is_empty() {
                    Ok(())
                } else {
                    Err(Law::new("LOUD-1", format!("a sync has no verdict: {:?}", self.tickets)))
                };
            }
            self.next()?;
            self.check()?;
        }
        Err(Law::new("REC-1", format!("not at rest after {EVENTS_MAX} events without faults\n{}", self.state())))
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
        while !self.devices.iter().all(|device| laws::knows(device, &project, &saved.sync_id)) {
            self.next()?;
            self.check()?;
            if self.now_ms > begun_ms + LATENCY_MS {
                let what = format!("a save was not everywhere after {LATENCY_MS} ms\n{}", self.state());
                return Err(Law::new("latency", what));
            }
        }
        Ok(())
    }

    fn state(&self) -> String {
        let line = |device: &super::device::Device| {
            let report = device.machine.report(&engramd_core::health::Who::default());
            format!("{}: {:?} {:?} {:#?}\n", device.name, report.sync, report.totals, report.findings)
        };
        self.devices.iter().map(line).collect()
    }
}
