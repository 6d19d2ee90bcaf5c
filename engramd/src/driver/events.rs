//! The daemon's recent events: a short memory for `engramctl events`, and a stream of what comes.

use engram_proto::ipc::reply::EventLine;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast;

/// So many events are remembered, and so many a slow listener may lag behind.
const EVENTS_MAX: usize = 256;

/// Recent events and their listeners.
#[derive(Debug)]
pub struct EventLog {
    recent: Mutex<VecDeque<EventLine>>,
    coming: broadcast::Sender<EventLine>,
}

/// Recent events, then coming ones.
#[derive(Debug)]
pub struct EventStream {
    /// Oldest first.
    pub recent: Vec<EventLine>,
    /// What comes after them, without a gap.
    pub coming: broadcast::Receiver<EventLine>,
}

impl EventLog {
    pub(super) fn new() -> Self {
        Self { recent: Mutex::new(VecDeque::with_capacity(EVENTS_MAX)), coming: broadcast::channel(EVENTS_MAX).0 }
    }

    pub(super) fn add(&self, event: EventLine) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == EVENTS_MAX {
            recent.pop_front();
        }
        recent.push_back(event.clone());
        // Nobody listening is no fault.
        let _ = self.coming.send(event);
    }

    pub(super) fn subscribe(&self) -> EventStream {
        // Under the lock, so that no event falls between the two.
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        EventStream { recent: recent.iter().cloned().collect(), coming: self.coming.subscribe() }
    }
}
