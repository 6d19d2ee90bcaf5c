//! A client without a daemon, that pushes what belongs to something before that: relations, then the memories they
//! speak of, then the session of those. Every device puts such rows aside, and applies them when the other comes.

use crate::course::{PROJECT, relation};
use crate::ledger::Ledger;
use engram_tests::go::{Remote, Wire as _};
use engram_tests::processes::{TOKEN, until};
use serde_json::{Value, json};
use std::path::Path;

/// Relations of one push.
const RELATIONS: u64 = 6;

pub(crate) struct Plain {
    remote: Remote,
    runtime: tokio::runtime::Runtime,
    pub(crate) ledger: Ledger,
    number: u64,
}

impl Plain {
    pub(crate) fn new(url: &str, ledger: &Path) -> Self {
        let mut remote = Remote::new(url, TOKEN);
        // No connection outlives its request: the server does not either.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build();
        remote.http = http.expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { remote, runtime, ledger: Ledger::new(ledger), number: 0 }
    }

    /// Pushes new relations, the memories of those before the last, and the session of those before them.
    pub(crate) fn step(&mut self) {
        self.number += 1;
        self.relations(self.number);
        if let Some(before) = self.number.checked_sub(2) {
            self.memories(before);
        }
        if let Some(before) = self.number.checked_sub(3) {
            self.session(before);
        }
    }

    /// Pushes what is missing: nothing waits any more.
    pub(crate) fn finish(&mut self) {
        for number in [self.number.saturating_sub(1), self.number] {
            self.memories(number);
        }
        for number in self.number.saturating_sub(2)..=self.number {
            self.session(number);
        }
    }

    fn relations(&mut self, number: u64) {
        let ends = |n: u64| (memory(number, n), memory(number, n + 1));
        let rows = (0..RELATIONS).map(|n| {
            let (source, target) = ends(n);
            let id = format!("rel-plain-{number}-{n}");
            let payload = json!({"sync_id": id, "source_id": source, "target_id": target, "relation": "related",
                "reason": "plain", "judgment_status": "judged", "marked_by_actor": "plain", "marked_by_kind": "agent",
                "created_at": "2026-11-22 10:00:02", "updated_at": "2026-11-22 10:00:02", "project": PROJECT});
            entry("relation", &id, payload)
        });
        self.push(rows.collect());
        for (source, target) in (0..RELATIONS).map(ends) {
            self.ledger.book(&relation(&source, &target), Some("plain".to_owned()), Some("plain"));
        }
    }

    fn memories(&mut self, number: u64) {
        let rows = (0..=RELATIONS).map(|n| {
            let id = memory(number, n);
            let payload = json!({"sync_id": id, "session_id": session(number), "type": "note", "title": id,
                "content": "plain", "scope": "project", "revision_count": 1, "duplicate_count": 1,
                "created_at": "2026-11-22 10:00:01", "updated_at": "2026-11-22 10:00:01", "project": PROJECT});
            entry("observation", &id, payload)
        });
        self.push(rows.collect());
        for n in 0..=RELATIONS {
            self.ledger.book(&memory(number, n), Some("plain".to_owned()), Some("plain"));
        }
    }

    fn session(&mut self, number: u64) {
        let id = session(number);
        let payload = json!({"id": id, "directory": "/plain", "started_at": "2026-11-22 10:00:00", "project": PROJECT});
        self.push(vec![entry("session", &id, payload)]);
        self.ledger.book(&id, Some("open".to_owned()), Some("plain"));
    }

    /// Pushes until the server has taken it: where it was not answered, the same is said once more.
    fn push(&self, entries: Vec<Value>) {
        let body = json!({"entries": entries, "created_by": "plain"}).to_string();
        until("the server takes a plain push", || {
            let (status, answer) = self.runtime.block_on(self.remote.push(body.clone()));
            assert!(status == 200 || status >= 500, "{status}: {answer}");
            status == 200
        });
    }
}

fn memory(number: u64, n: u64) -> String {
    format!("obs-plain-{number}-{n}")
}

fn session(number: u64) -> String {
    format!("session-plain-{number}")
}

fn entry(entity: &str, key: &str, payload: Value) -> Value {
    json!({"project": PROJECT, "entity": entity, "entity_key": key, "op": "upsert", "payload": payload})
}
