//! What commands meet in the store is in the report until it is over (LOUD-1).

use engram_proto::reason::{Health, ReasonCode};
use engramd_core::health::Who;
use engramd_core::{Cloud, Effect, Event, Machine, Now, Settings, StoreTrouble};

struct Loop {
    machine: Machine,
    mono_ms: u64,
}

impl Loop {
    /// One that has no cloud to talk to.
    fn new() -> Self {
        let settings = Settings {
            ladder_ms: vec![1_000, 300_000],
            lease_ttl_ms: 120_000,
            tick_ms: 30_000,
            recheck_ms: 86_400_000,
            block_probe_ms: 300_000,
            wait_seconds: 25,
            request_bytes_max: 1 << 20,
        };
        let mut this = Self { machine: Machine::new(settings), mono_ms: 1 };
        assert!(this.tell(Event::CloudChanged(Cloud::NotConfigured)).is_empty());
        this
    }

    /// Tells something, and returns whether all of the store is to be looked at, where it is to be looked at.
    fn tell(&mut self, event: Event) -> Vec<bool> {
        let now = Now { mono_ms: self.mono_ms, wall_ms: 1_790_000_000_000 };
        let effects = self.machine.handle(event, now, 0.5).into_iter();
        let looks = effects.filter_map(|effect| match effect {
            Effect::LookAtStore { whole } => Some(whole),
            _ => None,
        });
        looks.collect()
    }

    fn shown(&self) -> Vec<ReasonCode> {
        let report = self.machine.report(&Who::default());
        let shown = report.findings.iter().map(|finding| finding.code);
        let shown: Vec<_> = shown.filter(|&code| code != ReasonCode::CloudNotConfigured).collect();
        assert_eq!(report.sync.health == Health::Degraded, !shown.is_empty());
        shown
    }

    /// Lets time pass until something is due.
    fn pass(&mut self) -> Vec<bool> {
        self.mono_ms = self.machine.next_deadline_ms();
        self.tell(Event::Tick)
    }

    /// The same until the store is looked at.
    fn pass_to_look(&mut self) -> Vec<bool> {
        for _ in 0..100 {
            let looks = self.pass();
            if !looks.is_empty() {
                return looks;
            }
        }
        Vec::new()
    }
}

fn failed(code: ReasonCode) -> Result<(), StoreTrouble> {
    Err(StoreTrouble::Failed { code, message: "the store: words".to_owned() })
}

#[test]
fn loud_1_a_full_store_is_said_until_a_write_works() {
    let mut this = Loop::new();
    assert!(this.tell(Event::StoreMet(Ok(()))).is_empty());
    assert!(this.tell(Event::StoreMet(failed(ReasonCode::StoreFull))).is_empty(), "whoever met it knows");
    assert_eq!(this.shown(), [ReasonCode::StoreFull]);
    assert!(this.tell(Event::StoreMet(Ok(()))).is_empty());
    assert!(this.shown().is_empty());
    // Nobody writes any more: it is looked at, now and then, and once at a time.
    let _ = this.tell(Event::StoreMet(failed(ReasonCode::StoreFull)));
    assert_eq!(this.pass_to_look(), [false]);
    assert!(this.tell(Event::Tick).is_empty());
    assert!(this.tell(Event::StoreLooked(failed(ReasonCode::StoreFull))).is_empty());
    assert_eq!(this.shown(), [ReasonCode::StoreFull]);
    assert_eq!(this.pass_to_look(), [false]);
    let _ = this.tell(Event::StoreLooked(Ok(())));
    assert!(this.shown().is_empty());
    assert!(this.pass().is_empty(), "what works is not looked at");
}

#[test]
fn loud_1_damage_is_said_until_all_of_the_store_was_read() {
    let mut this = Loop::new();
    let _ = this.tell(Event::StoreMet(failed(ReasonCode::StoreCorrupt)));
    let _ = this.tell(Event::StoreMet(Ok(())));
    assert_eq!(this.shown(), [ReasonCode::StoreCorrupt], "a write elsewhere mends nothing");
    assert_eq!(this.tell(Event::Woken), [true], "somebody may have mended it");
    let _ = this.tell(Event::StoreLooked(failed(ReasonCode::StoreCorrupt)));
    assert_eq!(this.shown(), [ReasonCode::StoreCorrupt]);
    let before = this.mono_ms;
    assert_eq!(this.pass_to_look(), [true]);
    assert!(this.mono_ms >= before + 30_000, "reading all of it costs something");
    let _ = this.tell(Event::StoreLooked(Ok(())));
    assert!(this.shown().is_empty());
}
