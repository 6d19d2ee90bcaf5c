//! The lease on the store: one sync worker per target across all processes (OWN-2).

use crate::backoff::Trouble;
use crate::event::{Effect, Now, StoreTrouble};
use crate::machine::Machine;
use crate::rows::{Fence, LeaseOutcome};
use engram_proto::reason::ReasonCode;

/// A lease held elsewhere is asked for again after this long, should nothing wake us before.
const ELSEWHERE_PROBE_MS: u64 = 5_000;

/// How we stand to the lease.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    state: State,
    /// Why it is not ours, if it is not.
    pub(crate) trouble: Option<Trouble>,
    /// Who has it, and until when in Unix milliseconds.
    pub(crate) shown: Option<(String, i64)>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    Asking,
    Held {
        fence: Fence,
        renew_at_ms: u64,
        renewing: bool,
    },
    Elsewhere {
        ask_at_ms: u64,
    },
}

impl Lease {
    pub(crate) fn fence(&self) -> Option<&Fence> {
        if let State::Held { fence, .. } = &self.state { Some(fence) } else { None }
    }

    pub(crate) fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking)
    }

    /// Hears that a fence counts no more; tells whether it is the one that we have. Several answers may tell of one, also
    /// after the next one was granted.
    pub(crate) fn lost(&mut self, number: i64) -> bool {
        let is_ours = self.fence().is_some_and(|fence| fence.number == number);
        if is_ours {
            *self = Self::default();
        }
        is_ours
    }

    pub(crate) fn give_back(&mut self) -> Option<Fence> {
        match std::mem::take(self).state {
            State::Held { fence, .. } => Some(fence),
            _ => None,
        }
    }

    pub(crate) fn wake(&mut self) {
        if let State::Elsewhere { ask_at_ms } = &mut self.state {
            *ask_at_ms = 0;
        }
    }

    pub(crate) fn abort(&mut self) {
        match &mut self.state {
            State::Asking => self.state = State::Free,
            State::Held { renewing, .. } => *renewing = false,
            State::Free | State::Elsewhere { .. } => {}
        }
    }

    pub(crate) fn due_ms(&self) -> u64 {
        match self.state {
            State::Held { renew_at_ms, .. } => renew_at_ms,
            State::Elsewhere { ask_at_ms } => ask_at_ms,
            State::Free | State::Asking => 0,
        }
    }

    fn elsewhere(&mut self, code: ReasonCode, message: String, now: Now) {
        self.trouble = Some(Trouble::renewed(self.trouble.as_ref(), code, message, now));
        self.state = State::Elsewhere { ask_at_ms: now.mono_ms + ELSEWHERE_PROBE_MS };
    }
}

impl Machine {
    /// Asks for the lease or renews it; returns the fence while it is ours.
    pub(crate) fn advance_lease(&mut self) -> Option<Fence> {
        let now_ms = self.now.mono_ms;
        match &mut self.lease.state {
            State::Free => self.ask_for_lease(),
            State::Elsewhere { ask_at_ms } if *ask_at_ms <= now_ms => self.ask_for_lease(),
            State::Held { fence, renew_at_ms, renewing } => {
                if *renew_at_ms <= now_ms && !*renewing {
                    *renewing = true;
                    self.out.push(Effect::RenewLease(fence.clone()));
                }
                return Some(fence.clone());
            }
            State::Asking | State::Elsewhere { .. } => {}
        }
        None
    }

    fn ask_for_lease(&mut self) {
        self.lease.state = State::Asking;
        self.out.push(Effect::AcquireLease);
    }

    pub(crate) fn lease_answered(&mut self, answer: Result<LeaseOutcome, StoreTrouble>) {
        if !self.lease.is_asking() {
            return;
        }
        let now = self.now;
        match answer {
            Ok(LeaseOutcome::Granted { fence, until_ms }) => {
                self.lease.shown = Some((fence.owner.clone(), until_ms));
                self.lease.trouble = None;
                let renew_at_ms = now.mono_ms + self.settings.lease_ttl_ms / 3;
                self.lease.state = State::Held { fence, renew_at_ms, renewing: false };
            }
            Ok(LeaseOutcome::HeldElsewhere { owner, until_ms }) => {
                let until = engram_proto::time::rfc3339_from_ms(until_ms);
                let message = format!("{owner} holds the lease on this store until {until}");
                self.lease.shown = Some((owner, until_ms));
                self.lease.elsewhere(ReasonCode::LeaseHeldElsewhere, message, now);
            }
            Err(StoreTrouble::LeaseLost { .. }) => self.lease.state = State::Free,
            Err(StoreTrouble::Failed { code, message }) => self.lease.elsewhere(code, message, now),
        }
    }

    pub(crate) fn lease_renewed(&mut self, answer: Result<i64, StoreTrouble>) {
        let renew_ms = self.now.mono_ms + self.settings.lease_ttl_ms / 3;
        let State::Held { fence, renew_at_ms, renewing } = &mut self.lease.state else { return };
        match answer {
            Ok(until_ms) => {
                self.lease.shown = Some((fence.owner.clone(), until_ms));
                (*renew_at_ms, *renewing) = (renew_ms, false);
            }
            Err(trouble @ StoreTrouble::LeaseLost { .. }) => self.store_failed(trouble, true),
            // The lease still runs for two thirds of its time: the next tick tries again.
            Err(StoreTrouble::Failed { .. }) => (*renew_at_ms, *renewing) = (self.now.mono_ms + 1_000, false),
        }
    }
}
