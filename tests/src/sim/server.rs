//! The server of the simulation: the model of the cloud, who may touch what, and how it feels.

use super::device::wall_ms;
use super::excuses::LostRows;
use crate::model::{Disk, ModelJournal, SharedDisk};
use engram_cloud::clock::{Clock, rfc3339_us};
use engram_cloud::journal::{Batch, Control, Entry, Fate, PageAsk, Pushed, Told};
use engram_proto::http::health::{HealthReply, Limits};
use engram_proto::http::pull::{Denial, PullReply, PullRequest};
use engram_proto::http::push::{PushEntry, PushReply, Receipt, ReceiptStatus};
use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use engram_proto::reason::ReasonCode;
use engram_proto::time::rfc3339_from_ms;
use engramd_core::classify::{Failure, Fault, Refusal, classify};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const PAGE_BYTES_MAX: usize = 4 << 20;
const US_PER_MS: i64 = 1_000;

/// Small, so that a few rows make several requests.
const LIMITS: Limits = Limits { push_bytes: 100_000, push_entries: 7, pull_entries: 5 };

/// How it answers at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// As it should.
    Well,
    /// Nobody reaches it.
    Down,
    /// With this status, whatever is asked.
    Refuses(u16),
}

/// The server.
pub(super) struct Server {
    /// What it holds.
    pub(super) journal: ModelJournal,
    /// Its name in addresses.
    pub(super) host: &'static str,
    /// How it feels.
    pub(super) mood: Mood,
    /// Devices, by their place, that may not touch a project yet.
    pub(super) ungranted: BTreeSet<(usize, ProjectName)>,
    now_us: Arc<AtomicI64>,
    clock: Clock,
    /// How far its clock is off, in milliseconds.
    skew_ms: i64,
    /// The most that its clock was ever off, in milliseconds: who does not ask anew believes that one.
    skew_max_ms: i64,
    /// What it held when it was last copied.
    backup: Option<Disk>,
    /// Whether it was restored: what was acknowledged is told again until the calm.
    pub(super) is_restored: bool,
}

impl Server {
    /// Makes one that is well and holds nothing.
    #[must_use]
    pub(super) fn new(cloud_id: &str, host: &'static str) -> Self {
        let now_us = Arc::new(AtomicI64::new(wall_ms(0, 0) * US_PER_MS));
        let hands = Arc::clone(&now_us);
        let clock = Clock::new(move || hands.load(Ordering::Relaxed));
        let journal = ModelJournal::open(SharedDisk::new(Disk::new(cloud_id).into()), clock.clone());
        Self {
            journal,
            host,
            mood: Mood::Well,
            ungranted: BTreeSet::new(),
            now_us,
            clock,
            skew_ms: 0,
            skew_max_ms: 0,
            backup: None,
            is_restored: false,
        }
    }

    /// Returns its clock.
    pub(super) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Returns how far its clock is off, in milliseconds.
    #[must_use]
    pub(super) fn skew_ms(&self) -> i64 {
        self.skew_ms
    }

    /// Sets its clock, so that it is off by this much.
    pub(super) fn set_clock(&mut self, skew_ms: i64, now_ms: u64) {
        (self.skew_ms, self.skew_max_ms) = (skew_ms, skew_ms.max(self.skew_max_ms));
        self.pass(now_ms);
    }

    /// Tells whether, once it lost rows, it gives their numbers again: it does so only where its clock is behind.
    #[must_use]
    pub(super) fn gives_numbers_again(&self) -> bool {
        self.skew_ms < self.skew_max_ms
    }

    /// Sets its clock to the latest time that anybody may believe in.
    pub(super) fn catch_up(&mut self, now_ms: u64) {
        self.set_clock(self.skew_max_ms, now_ms);
    }

    /// Returns the latest time that anybody may believe its clock to show, in Unix milliseconds.
    #[must_use]
    pub(super) fn latest_ms(&self, now_ms: u64) -> i64 {
        wall_ms(now_ms, self.skew_max_ms)
    }

    /// Moves its clock.
    pub(super) fn pass(&self, now_ms: u64) {
        self.now_us.store(wall_ms(now_ms, self.skew_ms) * US_PER_MS, Ordering::Relaxed);
    }

    /// Tells what stands between a request and its answer now.
    #[must_use]
    pub(super) fn refusal(&self, of_batch: bool) -> Option<Failure> {
        match self.mood {
            Mood::Well => None,
            Mood::Down => Some(unreachable()),
            Mood::Refuses(status) => Some(refused(status, of_batch)),
        }
    }

    /// Answers `GET /health`.
    #[must_use]
    pub(super) fn introduction(&self, now_ms: u64) -> HealthReply {
        HealthReply {
            status: "ok".to_owned(),
            service: "engram-cloud".to_owned(),
            version: Some("0.1.0".to_owned()),
            cloud_id: Some(self.journal.disk().cloud_id.clone()),
            capabilities: ["mutation_ids", "project_pull", "long_poll", "large_batch", "witness", "digest"]
                .map(str::to_owned)
                .to_vec(),
            limits: Some(LIMITS),
            time: Some(rfc3339_from_ms(wall_ms(now_ms, self.skew_ms))),
        }
    }

    /// Answers `POST /sync/mutations/push` of one project.
    ///
    /// # Errors
    /// 403 without a grant, 409 of a paused project, where the row of the witness is not here, and where another cloud is
    /// meant.
    pub(super) fn push(
        &self,
        device: usize,
        project: &ProjectName,
        entries: &[PushEntry],
        (witness, cloud_id): (Option<&Witness>, Option<&str>),
    ) -> Result<PushReply, Failure> {
        if !self.is_meant(cloud_id) {
            return Err(self.replaced());
        }
        if self.ungranted.contains(&(device, project.clone())) {
            return Err(refused(403, true));
        }
        let read = entries.iter().map(|entry| Entry::read(project.clone(), entry.clone())).collect();
        let fates = match self.journal.push_now(&Batch::new("a device", read).with_witness(witness.cloned())) {
            Pushed::Done(fates) => fates,
            Pushed::Paused(_) => return Err(refused(409, true)),
            Pushed::Replaced => return Err(self.replaced()),
            Pushed::Invalid(faults) => unreachable!("every entry has an id: {faults:?}"),
        };
        let accepted_seqs = fates.iter().map(|fate| told(fate).map_or(0, |told| told.seq)).collect();
        let receipts = entries.iter().zip(fates).map(|(entry, fate)| receipt(entry, &fate)).collect();
        Ok(PushReply { accepted_seqs, receipts, ..PushReply::default() })
    }

    /// Tells whether it is the cloud that a request means; one with a witness says nothing of it.
    fn is_meant(&self, cloud_id: Option<&str>) -> bool {
        cloud_id.is_none_or(|meant| meant == self.journal.disk().cloud_id)
    }

    fn replaced(&self) -> Failure {
        Failure::Replaced { cloud_id: Some(self.journal.disk().cloud_id.clone()), message: "rows are lost".to_owned() }
    }

    /// Answers `POST /sync/mutations/pull` with what there is now.
    ///
    /// # Errors
    /// 409 where the row of the witness is not here, and where another cloud is meant.
    pub(super) fn pull(&self, device: usize, request: &PullRequest) -> Result<PullReply, Failure> {
        if !self.is_meant(request.cloud_id.as_deref()) {
            return Err(self.replaced());
        }
        let denied = |project: &ProjectName| self.ungranted.contains(&(device, project.clone()));
        let (refused, cursors): (BTreeMap<_, _>, BTreeMap<_, _>) =
            request.cursors.clone().into_iter().partition(|(project, _)| denied(project));
        let ask = PageAsk {
            cursors,
            rows_max: request.limit as usize,
            bytes_max: PAGE_BYTES_MAX,
            witness: request.witness.clone(),
        };
        let page = self.journal.page_now(&ask).ok_or_else(|| self.replaced())?;
        let denial = Denial { reason_code: "policy_forbidden".to_owned(), message: "not yours".to_owned() };
        Ok(PullReply {
            mutations: page.rows,
            cursors: page.cursors,
            heads: page.heads,
            remaining: page.remaining,
            has_more: page.has_more,
            digests: page.digests,
            denied: refused.into_keys().map(|project| (project, denial.clone())).collect(),
            ..PullReply::default()
        })
    }

    /// Tells whether a pull that listens is to be answered: there is a row, or a denial, or it was told of a lost one.
    #[must_use]
    pub(super) fn has_news(&self, device: usize, request: &PullRequest) -> bool {
        if !self.is_meant(request.cloud_id.as_deref()) {
            return true;
        }
        let disk = self.journal.disk();
        if !disk.holds(request.witness.as_ref()) {
            return true;
        }
        let is_news = |(project, &since): (&ProjectName, &u64)| {
            self.ungranted.contains(&(device, project.clone())) || disk.end_of(project) > since
        };
        request.cursors.iter().any(is_news)
    }

    /// Copies what it holds, or puts the copy in its place; tells what it did, and of what it lost rows.
    pub(super) fn back_up_or_restore(&mut self) -> (&'static str, LostRows) {
        match self.backup.take() {
            Some(backup) => ("restored", self.replace(backup)),
            None => {
                self.backup = Some(self.journal.disk().clone());
                ("backed up", LostRows::new())
            }
        }
    }

    /// Makes it copy anew what it holds.
    pub(super) fn needs_new_backup(&mut self) {
        self.backup = None;
    }

    /// Lists the projects that are paused for everybody.
    #[must_use]
    pub(super) fn paused(&self) -> BTreeSet<String> {
        let disk = self.journal.disk();
        let paused = disk.controls.values().filter(|control| !control.is_sync_enabled);
        paused.map(|control| control.project.to_string()).collect()
    }

    /// Begins anew with nothing, as another data set; tells of what it lost rows.
    pub(super) fn empty(&mut self) -> LostRows {
        self.backup = None;
        let cloud_id = format!("{}-anew", self.journal.disk().cloud_id);
        self.replace(Disk::new(&cloud_id))
    }

    fn replace(&mut self, with: Disk) -> LostRows {
        self.is_restored = true;
        let mut disk = self.journal.disk();
        let before = std::mem::replace(&mut *disk, with);
        let is_here = |seq: u64| disk.rows.binary_search_by_key(&seq, |row| row.seq).is_ok();
        let lost = before.rows.iter().filter(|row| !is_here(row.seq));
        lost.map(|row| (row.name.project.to_string(), row.name.key.clone())).collect()
    }

    /// Pauses or resumes a project for everybody.
    pub(super) fn set_paused(&self, project: &ProjectName, is_paused: bool) {
        let control = Control {
            project: project.clone(),
            is_sync_enabled: !is_paused,
            reason: None,
            updated_by: "root".to_owned(),
            updated_at_us: 0,
        };
        self.journal.disk().controls.insert(project.clone(), control);
    }
}

fn told(fate: &Fate) -> Option<Told> {
    match fate {
        Fate::Accepted(told) | Fate::Duplicate(told) | Fate::Superseded(told) => Some(*told),
        Fate::Rejected(_) => None,
    }
}

fn receipt(entry: &PushEntry, fate: &Fate) -> Receipt {
    let status = match fate {
        Fate::Accepted(_) => ReceiptStatus::Accepted,
        Fate::Duplicate(_) => ReceiptStatus::Duplicate,
        Fate::Superseded(_) => ReceiptStatus::Superseded,
        Fate::Rejected(_) => ReceiptStatus::Rejected,
    };
    let told = told(fate);
    Receipt {
        mutation_id: entry.mutation_id.clone().unwrap_or_default(),
        status,
        seq: told.map(|told| told.seq),
        occurred_at: told.map(|told| rfc3339_us(told.occurred_at_us)),
        reason_code: None,
        field: None,
        message: None,
    }
}

/// What a status means to a device.
pub(super) fn refused(status: u16, of_batch: bool) -> Failure {
    let retry_after_ms = (status == 429).then_some(2_000);
    classify(&Refusal { status, retry_after_ms, host: "cloud".to_owned(), ..Refusal::default() }, of_batch)
}

/// No way there.
pub(super) fn unreachable() -> Failure {
    lost(Fault::Unreachable)
}

/// A conversation that ended early.
pub(super) fn lost(fault: Fault) -> Failure {
    Failure::Transport { code: ReasonCode::TransportFailed, message: "lost".to_owned(), fault, wait_ms: None }
}
