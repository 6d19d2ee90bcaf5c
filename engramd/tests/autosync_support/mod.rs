//! A store that pulled what a cloud holds, beside an autosync.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test file uses a part")]
#![expect(clippy::unwrap_used, reason = "tests")]

use crate::go_support::Go;
use crate::store_support::{CLOUD, Lab, at, observation, session, up};
use engram_proto::http::pull::PulledMutation;
use engramd::store::Store;
use serde_json::Value;
use std::path::PathBuf;

/// A store of ours and a Go process on it.
pub struct Two {
    pub lab: Lab,
    pub go: Go,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

pub fn second(seconds: i64) -> String {
    at(seconds).to_string()
}

pub fn revised(key: &str, title: &str, updated: i64, revision: i64) -> Value {
    let mut memory = observation(key, "s1", title, updated);
    memory["revision_count"] = revision.into();
    memory
}

/// What the cloud holds: a session, and a memory in three versions.
pub fn served() -> Vec<PulledMutation> {
    vec![
        up(8, "session", session("s1", "/a", 0)),
        up(16, "observation", revised("o1", "one", 100, 1)),
        up(24, "observation", revised("o1", "two", 200, 2)),
        up(32, "observation", revised("o1", "three", 300, 3)),
    ]
}

/// A store that pulled all of it, beside an autosync that had pulled two rows of it.
pub fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    let go = Go::open(&path);
    go.pull(&served()[..2]);
    lab.apply(served());
    let mut two = Two { lab, go, path, _dir: dir };
    two.read_to_head();
    two
}

impl Two {
    pub fn cursor(&self) -> u64 {
        self.lab.store.cursors(CLOUD, std::slice::from_ref(&self.lab.alpha)).unwrap()[&self.lab.alpha]
    }

    pub fn mark(&mut self) -> Option<i64> {
        self.lab.store.counts().unwrap().get(&self.lab.alpha).and_then(|counts| counts.reread)
    }

    /// Pulls what the cloud holds behind the cursor, as the loop does.
    pub fn read_to_head(&mut self) {
        self.take_up();
        let cursor = self.cursor();
        self.lab.apply(served().into_iter().filter(|row| row.seq > cursor).collect());
        if let Some(mark) = self.mark() {
            self.lab.store.clear_reread(&self.lab.fence, &self.lab.alpha, mark).unwrap();
        }
    }

    pub fn take_up(&mut self) {
        while self.lab.store.take_up(100, at(1_000)).unwrap() {}
    }

    /// Starts the daemon's part again, as another process would.
    pub fn reopened(self) -> Self {
        let Self { lab, go, path, _dir } = self;
        drop(lab);
        Self { lab: Lab::on(Store::open(&path, at(0)).unwrap()), go, path, _dir }
    }
}
