//! Trouble with the store. What commands meet is in the report until it works again, whether a cloud is configured or not (LOUD-1).

use crate::backoff::Trouble;
use crate::event::{Effect, StoreTrouble};
use crate::machine::Machine;
use engram_proto::reason::ReasonCode;

/// How the store does, as commands and looks at it found it.
#[derive(Debug, Default)]
pub(crate) struct StoreHealth {
    /// What somebody met last, if it is not over.
    trouble: Option<Trouble>,
    /// Looks in a row that found it still so.
    failures: u32,
    /// When it is looked at again, on the monotonic clock in milliseconds.
    look_at_ms: u64,
    /// Whether a look is under way.
    looking: bool,
}

impl StoreHealth {
    /// Returns what is wrong.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Returns when it is looked at again; what nobody waits for is long past.
    pub(crate) fn due_ms(&self) -> u64 {
        self.look_at_ms
    }

    /// Looks again at once: somebody may have mended it (REC-1).
    pub(crate) fn wake(&mut self) {
        (self.failures, self.look_at_ms) = (0, 0);
    }
}

impl Machine {
    /// Records trouble with the store in one lane; a lost lease is asked for again.
    pub(crate) fn store_failed(&mut self, trouble: StoreTrouble, out: bool) {
        match trouble {
            StoreTrouble::LeaseLost { fence } => {
                // What was begun with an earlier one says nothing of this one.
                if self.lease.lost(fence) {
                    self.note("lease_lost", None, "another worker was granted the lease".to_owned());
                }
            }
            StoreTrouble::Failed { code, message } => self.lane_failed(code, message, None, out),
        }
    }

    /// Hears how a command fared. A write that works shows that there is room; of damage only a look at all of it can
    /// tell that it is gone.
    pub(crate) fn store_met(&mut self, met: Result<(), StoreTrouble>) {
        match met {
            Err(StoreTrouble::Failed { code, message }) => {
                if self.store.trouble.is_none() {
                    self.store.look_at_ms = self.now.mono_ms + self.settings.tick_ms;
                }
                self.store.trouble = Some(Trouble::renewed(self.store.trouble.as_ref(), code, message, self.now));
            }
            Err(StoreTrouble::LeaseLost { .. }) => {}
            Ok(()) => {
                if self.store.trouble.as_ref().is_some_and(|trouble| trouble.code == ReasonCode::StoreFull) {
                    self.store.trouble = None;
                }
            }
        }
    }

    /// Looks whether it is over, where it is time to.
    pub(crate) fn advance_store(&mut self) {
        let Some(trouble) = &self.store.trouble else { return };
        if !self.store.looking && self.now.mono_ms >= self.store.look_at_ms {
            self.store.looking = true;
            self.out.push(Effect::LookAtStore { whole: trouble.code == ReasonCode::StoreCorrupt });
        }
    }

    /// Hears what a look found.
    pub(crate) fn store_looked(&mut self, answer: Result<(), StoreTrouble>) {
        self.store.looking = false;
        match answer {
            Ok(()) => self.store.trouble = None,
            Err(trouble) => {
                self.store.failures = self.store.failures.saturating_add(1);
                self.store.look_at_ms =
                    self.now.mono_ms + self.settings.tick_ms.max(self.backoff_ms(self.store.failures));
                self.store_met(Err(trouble));
            }
        }
    }
}
