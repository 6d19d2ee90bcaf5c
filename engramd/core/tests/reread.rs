//! A project of which the store says that it must be read again: the machine reads it to the head, tells the store, and
//! pushes then (peers.md, "Autosync ran while we did not").
#![expect(clippy::unwrap_used, reason = "tests")]

use engram_proto::canonical::Object;
use engram_proto::http::health::{HealthReply, capability};
use engram_proto::http::pull::PullReply;
use engram_proto::id::ProjectName;
use engram_proto::mutation::Op;
use engram_proto::reason::ReasonCode;
use engramd_core::classify::{Failure, Fault};
use engramd_core::event::{Projects, StoreTrouble};
use engramd_core::rows::{Applied, Batch, Belonging, Counts, Fence, LeaseOutcome, PendingRow, ProjectCounts};
use engramd_core::{Cloud, Effect, Event, Machine, Now, Settings};
use std::collections::BTreeMap;

/// A machine that syncs, and the effects that nobody answered yet.
struct Loop {
    machine: Machine,
    open: Vec<Effect>,
    mono_ms: u64,
}

fn alpha() -> ProjectName {
    ProjectName::parse("alpha").unwrap()
}

fn counts(pending: u64, reread: Option<i64>) -> Counts {
    Counts::from([(alpha(), ProjectCounts { pending, reread, ..ProjectCounts::default() })])
}

fn page(cursor: u64, head: u64) -> PullReply {
    PullReply {
        cursors: [(alpha(), cursor)].into(),
        heads: [(alpha(), head)].into(),
        remaining: [(alpha(), u64::from(cursor < head))].into(),
        has_more: cursor < head,
        ..PullReply::default()
    }
}

impl Loop {
    fn tell(&mut self, event: Event) {
        self.mono_ms += 1;
        let now = Now { mono_ms: self.mono_ms, wall_ms: 1_790_000_000_000 };
        let effects = self.machine.handle(event, now, 0.5);
        self.open.extend(effects.into_iter().filter(|effect| !matches!(effect, Effect::Note { .. })));
    }

    /// Takes the one effect of a kind, and leaves the others.
    fn take(&mut self, what: &str, is: impl Fn(&Effect) -> bool) -> Effect {
        let at = self.open.iter().position(is);
        self.open.remove(at.unwrap_or_else(|| panic!("no {what} among {:?}", self.open)))
    }

    fn has(&self, is: impl Fn(&Effect) -> bool) -> bool {
        self.open.iter().any(is)
    }

    fn pushes(&self) -> bool {
        self.has(|effect| matches!(effect, Effect::LoadBatch { .. }))
    }

    /// Boots, and is granted everything; the store says what it says.
    fn boot(counted: Counts) -> Self {
        let settings = Settings {
            ladder_ms: vec![1_000],
            lease_ttl_ms: 120_000,
            tick_ms: 30_000,
            recheck_ms: 86_400_000,
            block_probe_ms: 300_000,
            wait_seconds: 25,
            request_bytes_max: 1 << 20,
        };
        let mut this = Self { machine: Machine::new(settings), open: Vec::new(), mono_ms: 0 };
        this.tell(Event::ProjectsChanged(Projects { enrolled: vec![alpha()], ..Projects::default() }));
        this.tell(Event::Counted(counted));
        this.tell(Event::CloudChanged(Cloud::Configured { host: "cloud".to_owned() }));
        this.take("AcquireLease", |effect| matches!(effect, Effect::AcquireLease));
        let fence = Fence { number: 1, owner: "engramd".to_owned() };
        this.tell(Event::LeaseAnswered(Ok(LeaseOutcome::Granted { fence, until_ms: i64::MAX })));
        this.take("Probe", |effect| matches!(effect, Effect::Probe));
        let capabilities = [capability::MUTATION_IDS, capability::PROJECT_PULL, capability::LONG_POLL];
        let reply = serde_json::json!({"status": "ok", "service": "engram-cloud", "cloud_id": "c", "capabilities": capabilities});
        let reply: HealthReply = serde_json::from_value(reply).unwrap();
        this.tell(Event::Probed(Ok(reply)));
        this
    }

    fn load_cursors(&mut self, cursor: u64) {
        if self.has(|effect| matches!(effect, Effect::LoadBelonging { .. })) {
            self.take("LoadBelonging", |effect| matches!(effect, Effect::LoadBelonging { .. }));
            let belonging = Belonging { cloud_id: "c".to_owned(), ..Belonging::default() };
            self.tell(Event::Belonging(Ok(belonging)));
        }
        self.take("LoadCursors", |effect| matches!(effect, Effect::LoadCursors { .. }));
        self.tell(Event::CursorsLoaded(Ok([(alpha(), cursor)].into())));
    }

    /// Answers the pull that is open with a page that ends at a cursor; applies it.
    fn pull(&mut self, cursor: u64, head: u64) {
        let Effect::Pull(request) = self.take("Pull", |effect| matches!(effect, Effect::Pull(_))) else {
            unreachable!("it was asked for")
        };
        let moves = request.cursors[&alpha()] != cursor;
        self.tell(Event::Pulled(Ok(page(cursor, head))));
        if moves {
            self.take("Apply", |effect| matches!(effect, Effect::Apply { .. }));
            self.tell(Event::Applied(Ok([(alpha(), Applied { received: 1, ..Applied::default() })].into())));
        }
    }

    fn clear(&mut self) -> i64 {
        let effect = self.take("ClearReread", |effect| matches!(effect, Effect::ClearReread { .. }));
        let Effect::ClearReread { mark, .. } = effect else { unreachable!("it was asked for") };
        mark
    }
}

#[test]
fn nothing_is_pushed_before_the_project_was_read_to_the_head() {
    let mut looped = Loop::boot(counts(3, Some(7)));
    assert!(!looped.pushes(), "with mutation ids too");
    looped.load_cursors(8);
    looped.pull(16, 24);
    assert!(!looped.pushes() && !looped.has(|effect| matches!(effect, Effect::ClearReread { .. })), "not at the head");
    looped.pull(24, 24);
    assert_eq!(looped.clear(), 7);
    assert!(!looped.pushes(), "the store does not know yet");
    looped.tell(Event::Counted(counts(3, None)));
    looped.tell(Event::RereadCleared(Ok(())));
    assert!(looped.pushes());
}

#[test]
fn cur_1_cursors_that_were_taken_back_are_loaded_again_and_a_page_under_way_moves_none() {
    let mut looped = Loop::boot(counts(1, None));
    looped.load_cursors(8);
    let batch = looped.take("LoadBatch", |effect| matches!(effect, Effect::LoadBatch { .. }));
    drop(batch);
    // The store finds out while it loads a batch, and gives none; a pull from the old cursor is under way.
    looped.tell(Event::Counted(counts(1, Some(1))));
    looped.tell(Event::BatchLoaded(Ok(Batch { project: alpha(), rows: Vec::new(), more: false })));
    looped.pull(24, 24);
    assert!(!looped.has(|effect| matches!(effect, Effect::ClearReread { .. })), "that page began too late");
    looped.load_cursors(4);
    looped.pull(24, 24);
    assert_eq!(looped.clear(), 1);
}

#[test]
fn a_mark_that_was_set_again_meanwhile_is_read_for_again() {
    let mut looped = Loop::boot(counts(1, Some(1)));
    looped.load_cursors(8);
    looped.pull(24, 24);
    assert_eq!(looped.clear(), 1);
    looped.tell(Event::Counted(counts(1, Some(2))));
    looped.tell(Event::RereadCleared(Ok(())));
    assert!(!looped.pushes());
    looped.load_cursors(16);
    looped.pull(24, 24);
    assert_eq!(looped.clear(), 2);
    let none: BTreeMap<_, _> = counts(1, None);
    looped.tell(Event::Counted(none));
    looped.tell(Event::RereadCleared(Ok(())));
    assert!(looped.pushes());
}

#[test]
fn loud_1_rows_that_name_no_project_are_said_until_none_is_left() {
    let mut looped = Loop::boot(counts(0, None));
    let nameless = |looped: &Loop| {
        let report = looped.machine.report(&engramd_core::health::Who::default());
        let findings = report.findings.into_iter().filter(|finding| finding.code == ReasonCode::RowRejected);
        findings.map(|finding| (finding.message, finding.hint.unwrap_or_default())).collect::<Vec<_>>()
    };
    let told = |rows: u64| {
        let counted = [ReasonCode::RowRejected, ReasonCode::RowUndeliverable].map(|code| (code, rows));
        Event::NamelessCounted(counted.into_iter().filter(|(_, rows)| *rows > 0).collect())
    };
    looped.tell(told(2));
    let said = ("2 rows name no project and are held".to_owned(), "engramctl held list".to_owned());
    assert_eq!(nameless(&looped), [said]);
    looped.tell(told(0));
    assert_eq!(nameless(&looped), []);
}

#[test]
fn loud_2_a_push_that_failed_is_no_trouble_once_nothing_waits_any_more() {
    let mut looped = Loop::boot(counts(1, None));
    let is_said = |looped: &Loop| {
        let report = looped.machine.report(&engramd_core::health::Who::default());
        report.findings.iter().any(|finding| finding.code == ReasonCode::TransportFailed)
    };
    looped.load_cursors(8);
    looped.take("LoadBatch", |effect| matches!(effect, Effect::LoadBatch { .. }));
    let row = PendingRow {
        seq: 1,
        entity: "observation".to_owned(),
        entity_key: "o1".to_owned(),
        op: Op::Upsert,
        payload: Object::new(),
        mutation_id: "d:1:0".to_owned(),
        base: None,
        body_bytes: 100,
    };
    looped.tell(Event::BatchLoaded(Ok(Batch { project: alpha(), rows: vec![row], more: false })));
    looped.take("Send", |effect| matches!(effect, Effect::Send { .. }));
    let lost = Failure::Transport {
        code: ReasonCode::TransportFailed,
        message: "lost".to_owned(),
        fault: Fault::Garbled,
        wait_ms: None,
    };
    looped.tell(Event::Sent(Err(lost)));
    looped.mono_ms += 20_000;
    looped.tell(Event::Tick);
    assert!(is_said(&looped));
    // A pull shows that it had arrived.
    looped.tell(Event::Counted(counts(0, None)));
    assert!(!is_said(&looped));
}

/// OWN-2: what was begun with one lease fails with it, and says nothing of the next.
#[test]
fn own_2_late_answers_lose_no_lease_but_their_own() {
    let mut looped = Loop::boot(counts(1, None));
    looped.load_cursors(8);
    let is_asked = |looped: &Loop| looped.has(|effect| matches!(effect, Effect::AcquireLease));
    looped.take("LoadBatch", |effect| matches!(effect, Effect::LoadBatch { .. }));
    looped.take("Recheck", |effect| matches!(effect, Effect::Recheck { .. }));
    let lost = StoreTrouble::LeaseLost { fence: 1 };
    looped.tell(Event::BatchLoaded(Err(lost.clone())));
    looped.take("AcquireLease", |effect| matches!(effect, Effect::AcquireLease));
    looped.tell(Event::Rechecked(Err(lost.clone())));
    assert!(!is_asked(&looped), "it is asked for already");
    let fence = Fence { number: 2, owner: "engramd".to_owned() };
    looped.tell(Event::LeaseAnswered(Ok(LeaseOutcome::Granted { fence, until_ms: i64::MAX })));
    assert!(looped.has(|effect| matches!(effect, Effect::Recheck { .. })), "a pass goes on with the next lease");
    looped.tell(Event::Rechecked(Err(lost)));
    assert!(!is_asked(&looped), "that was the lease before");
    looped.tell(Event::Rechecked(Err(StoreTrouble::LeaseLost { fence: 2 })));
    assert!(is_asked(&looped));
}
