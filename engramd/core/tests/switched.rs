//! Another server is to be talked to while something is under way: what comes of it counts no more (CUR-3).
#![expect(clippy::unwrap_used, reason = "tests")]

use engram_proto::http::health::{HealthReply, Limits, capability};
use engram_proto::http::pull::{PullReply, PullRequest};
use engram_proto::http::push::{PushReply, Receipt, ReceiptStatus};
use engram_proto::id::ProjectName;
use engram_proto::mutation::Op;
use engram_proto::reason::ReasonCode;
use engramd_core::classify::{Failure, Refusal, classify};
use engramd_core::event::Projects;
use engramd_core::health::Who;
use engramd_core::rows::{Batch, Belonging, Counts, Elsewhere, Fence, LeaseOutcome, PendingRow, ProjectCounts};
use engramd_core::{Cloud, Effect, Event, Machine, Now, Settings};
use serde_json::json;
use std::sync::Arc;

/// A machine that syncs with one of two clouds, and the effects that nobody answered yet.
struct Loop {
    machine: Machine,
    open: Vec<Effect>,
    mono_ms: u64,
}

fn alpha() -> ProjectName {
    ProjectName::parse("alpha").unwrap()
}

fn rows() -> Vec<PendingRow> {
    let row = |seq: i64| PendingRow {
        seq,
        mutation_id: format!("m{seq}"),
        entity: "observation".to_owned(),
        entity_key: format!("o{seq}"),
        op: Op::Upsert,
        payload: json!({"sync_id": format!("o{seq}")}).as_object().unwrap().clone(),
        base: None,
        body_bytes: 100,
    };
    (1..=2).map(row).collect()
}

fn named(rows: &[Arc<PendingRow>]) -> PushReply {
    let receipt = |row: &Arc<PendingRow>| Receipt {
        mutation_id: row.mutation_id.clone(),
        status: ReceiptStatus::Accepted,
        seq: Some(800),
        occurred_at: None,
        reason_code: None,
        field: None,
        message: None,
    };
    PushReply { receipts: rows.iter().map(receipt).collect(), ..PushReply::default() }
}

impl Loop {
    fn tell(&mut self, event: Event) {
        self.mono_ms += 1;
        let now = Now { mono_ms: self.mono_ms, wall_ms: 1_790_000_000_000 };
        let effects = self.machine.handle(event, now, 0.5);
        self.open.extend(effects.into_iter().filter(|effect| !matches!(effect, Effect::Note { .. })));
    }

    fn take(&mut self, what: &str, is: impl Fn(&Effect) -> bool) -> Effect {
        let at = self.open.iter().position(is);
        self.open.remove(at.unwrap_or_else(|| panic!("no {what} among {:?}", self.open)))
    }

    fn has(&self, is: impl Fn(&Effect) -> bool) -> bool {
        self.open.iter().any(is)
    }

    /// Boots and syncs with the cloud `a`.
    fn boot() -> Self {
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
        let counts = Counts::from([(alpha(), ProjectCounts { pending: 2, ..ProjectCounts::default() })]);
        this.tell(Event::Counted(counts));
        this.configured("a");
        this.take("AcquireLease", |effect| matches!(effect, Effect::AcquireLease));
        let fence = Fence { number: 1, owner: "engramd".to_owned() };
        this.tell(Event::LeaseAnswered(Ok(LeaseOutcome::Granted { fence, until_ms: i64::MAX })));
        this.greeted("a", false);
        this
    }

    fn configured(&mut self, host: &str) {
        self.tell(Event::CloudChanged(Cloud::Configured { host: host.to_owned() }));
    }

    /// Lets a cloud greet, and the store say whether the project belongs to another one.
    fn greeted(&mut self, cloud_id: &str, is_elsewhere: bool) {
        self.take("Probe", |effect| matches!(effect, Effect::Probe));
        let capabilities = [capability::MUTATION_IDS, capability::PROJECT_PULL, capability::LONG_POLL];
        let reply =
            json!({"status": "ok", "service": "engram-cloud", "cloud_id": cloud_id, "capabilities": capabilities});
        let reply: HealthReply = serde_json::from_value(reply).unwrap();
        let limits = Limits { push_bytes: 1 << 20, push_entries: 10, pull_entries: 10 };
        self.tell(Event::Probed(Ok(HealthReply { limits: Some(limits), ..reply })));
        self.take("LoadBelonging", |effect| matches!(effect, Effect::LoadBelonging { .. }));
        let mut belonging = Belonging { cloud_id: cloud_id.to_owned(), ..Belonging::default() };
        if is_elsewhere {
            belonging.elsewhere.insert(alpha(), Elsewhere { cloud_id: "a".to_owned(), since_ms: 0 });
        }
        self.tell(Event::Belonging(Ok(belonging)));
    }

    /// Lets the store say, as often as it is asked, that everything belongs to the cloud `a`.
    fn placed(&mut self) {
        while self.has(|effect| matches!(effect, Effect::LoadBelonging { .. })) {
            self.take("LoadBelonging", |effect| matches!(effect, Effect::LoadBelonging { .. }));
            self.tell(Event::Belonging(Ok(Belonging { cloud_id: "a".to_owned(), ..Belonging::default() })));
        }
    }

    fn load_cursors(&mut self, cursor: u64) {
        self.take("LoadCursors", |effect| matches!(effect, Effect::LoadCursors { .. }));
        self.tell(Event::CursorsLoaded(Ok([(alpha(), cursor)].into())));
    }

    fn load_batch(&mut self) {
        self.take("LoadBatch", |effect| matches!(effect, Effect::LoadBatch { .. }));
        self.tell(Event::BatchLoaded(Ok(Batch { project: alpha(), rows: rows(), more: false })));
    }

    fn sent(&mut self) -> Vec<Arc<PendingRow>> {
        match self.take("Send", |effect| matches!(effect, Effect::Send { .. })) {
            Effect::Send { rows, .. } => rows,
            _ => unreachable!("it was asked for"),
        }
    }

    fn pull(&mut self) -> PullRequest {
        match self.take("Pull", |effect| matches!(effect, Effect::Pull(_))) {
            Effect::Pull(request) => request,
            _ => unreachable!("it was asked for"),
        }
    }

    fn writes(&self) -> bool {
        self.has(|effect| matches!(effect, Effect::Settle { .. } | Effect::Apply { .. }))
    }
}

#[test]
fn cur_3_ack_1_a_late_reply_of_a_server_that_was_left_acknowledges_nothing() {
    let mut looped = Loop::boot();
    looped.load_batch();
    let rows = looped.sent();
    looped.configured("b");
    looped.greeted("b", true);
    looped.tell(Event::Sent(Ok(named(&rows))));
    assert!(!looped.writes(), "the witness of one cloud would name a row of another");
    looped.configured("a");
    looped.greeted("a", false);
    looped.load_batch();
    assert_eq!(looped.sent(), rows, "they are still pending");
}

#[test]
fn cur_3_cur_1_a_late_page_of_a_server_that_was_left_moves_no_cursor() {
    let mut looped = Loop::boot();
    looped.load_cursors(8);
    let request = looped.pull();
    assert_eq!(request.cursors[&alpha()], 8);
    looped.configured("b");
    looped.take("CancelPull", |effect| matches!(effect, Effect::CancelPull));
    looped.greeted("b", false);
    // It was here before it could be given up.
    let page = PullReply { cursors: [(alpha(), 80)].into(), heads: [(alpha(), 80)].into(), ..PullReply::default() };
    looped.tell(Event::Pulled(Ok(page)));
    assert!(!looped.writes());
    looped.load_cursors(0);
    assert_eq!(looped.pull().cursors[&alpha()], 0);
}

#[test]
fn cur_3_cursors_that_were_read_for_a_server_that_was_left_are_read_again() {
    let mut looped = Loop::boot();
    looped.configured("b");
    looped.greeted("b", false);
    looped.load_cursors(800);
    assert!(!looped.has(|effect| matches!(effect, Effect::Pull(_))));
    looped.load_cursors(0);
    assert_eq!(looped.pull().cursors[&alpha()], 0);
}

#[test]
fn cur_3_a_batch_that_was_loaded_for_a_server_that_was_left_is_not_sent_to_another() {
    let mut looped = Loop::boot();
    looped.configured("b");
    looped.load_batch();
    assert!(!looped.has(|effect| matches!(effect, Effect::Send { .. })));
    looped.greeted("b", true);
    assert!(!looped.has(|effect| matches!(effect, Effect::LoadBatch { .. })), "it belongs to the other one");
}

#[test]
fn scope_1_a_project_that_is_left_while_a_part_is_under_way_is_sent_no_more() {
    let mut looped = Loop::boot();
    looped.tell(Event::ProjectsChanged(Projects::default()));
    looped.load_batch();
    assert!(!looped.has(|effect| matches!(effect, Effect::Send { .. })));
    looped.tell(Event::ProjectsChanged(Projects { enrolled: vec![alpha()], ..Projects::default() }));
    looped.placed();
    looped.load_batch();
    let rows = looped.sent();
    let refusal = Refusal { status: 500, host: "a".to_owned(), ..Refusal::default() };
    looped.tell(Event::Sent(Err(classify(&refusal, true))));
    let half = looped.sent();
    assert_eq!(half, rows[..1], "the other half is still to be sent");
    looped.tell(Event::ProjectsChanged(Projects {
        enrolled: vec![alpha()],
        paused: [(alpha(), (None, 0))].into(),
        ..Projects::default()
    }));
    looped.tell(Event::Sent(Ok(named(&half))));
    assert!(looped.writes(), "what was answered counts");
    looped.take("Settle", |effect| matches!(effect, Effect::Settle { .. }));
    looped.tell(Event::Settled(Ok(engramd_core::rows::Settled::default())));
    assert!(!looped.has(|effect| matches!(effect, Effect::Send { .. })));
}

/// What something on the way found too large is not tried again with every batch, until another conversation begins.
#[test]
fn iso_1_a_limit_that_was_learnt_holds_for_the_next_batch() {
    let mut looped = Loop::boot();
    let load = |looped: &mut Loop| {
        let effect = looped.take("LoadBatch", |effect| matches!(effect, Effect::LoadBatch { .. }));
        let Effect::LoadBatch { limits, .. } = effect else { unreachable!("a batch is loaded") };
        looped.tell(Event::BatchLoaded(Ok(Batch { project: alpha(), rows: rows(), more: false })));
        limits.body_bytes_max
    };
    assert_eq!(load(&mut looped), 1 << 20);
    looped.sent();
    let refusal = Refusal { status: 413, host: "a".to_owned(), ..Refusal::default() };
    looped.tell(Event::Sent(Err(classify(&refusal, true))));
    for _ in 0..2 {
        let half = looped.sent();
        looped.tell(Event::Sent(Ok(named(&half))));
        looped.take("Settle", |effect| matches!(effect, Effect::Settle { .. }));
        looped.tell(Event::Settled(Ok(engramd_core::rows::Settled::default())));
    }
    assert_eq!(load(&mut looped), 100, "half of two rows of 100 bytes");
    looped.sent();
    looped.configured("b");
    looped.tell(Event::Sent(Ok(PushReply::default())));
    looped.greeted("b", false);
    looped.placed();
    assert_eq!(load(&mut looped), 1 << 20);
}

/// A server is restored, and emptied before both lanes have heard of it: one thing is wrong, and it is the last.
#[test]
fn loud_1_a_cloud_that_lost_rows_and_is_another_one_by_now_is_told_once() {
    let lost = |cloud_id: &str| Failure::Replaced { cloud_id: Some(cloud_id.to_owned()), message: "lost".to_owned() };
    for (pushed, pulled) in [("a", "a, emptied"), ("a, emptied", "a")] {
        let mut looped = Loop::boot();
        looped.load_batch();
        looped.sent();
        looped.load_cursors(8);
        looped.pull();
        looped.tell(Event::Sent(Err(lost(pushed))));
        looped.tell(Event::Pulled(Err(lost(pulled))));
        let report = looped.machine.report(&Who::default());
        let told: Vec<_> = report.findings.iter().filter(|one| one.code == ReasonCode::CloudReplaced).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(!looped.has(|effect| matches!(effect, Effect::NoteRestored { .. })), "the former one answers no more");
    }
}

#[test]
fn scope_1_what_was_left_is_not_asked_for_when_everything_is_read_anew() {
    let mut looped = Loop::boot();
    looped.load_cursors(8);
    looped.pull();
    let refusal = Refusal { status: 500, host: "a".to_owned(), ..Refusal::default() };
    looped.tell(Event::Pulled(Err(classify(&refusal, false))));
    looped.open.clear();
    // A look at the configuration ends every waiting: it must not do so for a project that is left since.
    looped.tell(Event::Reloaded(Cloud::Configured { host: "a".to_owned() }, Projects::default()));
    assert!(!looped.has(|effect| matches!(effect, Effect::Pull(_) | Effect::Send { .. })), "{:?}", looped.open);
}

#[test]
fn cur_3_a_project_that_is_enrolled_later_is_not_spoken_of_before_the_store_says_where_it_belongs() {
    let mut looped = Loop::boot();
    looped.tell(Event::ProjectsChanged(Projects::default()));
    looped.load_batch();
    looped.placed();
    looped.open.clear();
    looped.tell(Event::ProjectsChanged(Projects { enrolled: vec![alpha()], ..Projects::default() }));
    let speaks = |effect: &Effect| matches!(effect, Effect::Pull(_) | Effect::LoadBatch { .. } | Effect::Send { .. });
    assert!(!looped.has(speaks), "{:?}", looped.open);
    looped.take("LoadBelonging", |effect| matches!(effect, Effect::LoadBelonging { .. }));
    let elsewhere = [(alpha(), Elsewhere { cloud_id: "b".to_owned(), since_ms: 0 })].into();
    looped.tell(Event::Belonging(Ok(Belonging { cloud_id: "a".to_owned(), elsewhere, ..Belonging::default() })));
    assert!(!looped.has(speaks), "it belongs to the other one");
}
