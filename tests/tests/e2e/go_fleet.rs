//! Go clients and real daemons on one Go server: nobody halts, and all end with the same memories (CONV-1).

use crate::go_server::sync;
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engram_tests::go::server::GoServer;
use engram_tests::go::{GoClient, Remote};
use engram_tests::processes::{Device, TOKEN, until};
use engramd::store::Store;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::runtime::Runtime;

const PROJECT: &str = "demo";
const STEPS: usize = 60;

type Memories = BTreeMap<String, String>;

fn memories(db: &rusqlite::Connection) -> Memories {
    let sql = "SELECT sync_id, title FROM observations WHERE deleted_at IS NULL
               UNION ALL SELECT sync_id, content FROM user_prompts";
    let mut statement = db.prepare(sql).expect("a statement");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

fn without_prompts(db: &rusqlite::Connection) -> Memories {
    let mut memories = memories(db);
    memories.retain(|id, _| !id.starts_with("prompt"));
    memories
}

fn open(dir: &Path) -> rusqlite::Connection {
    let store = rusqlite::Connection::open(dir.join("engram.db")).expect("the store");
    store.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    store
}

fn pick(rng: &mut StdRng, all: &Memories) -> Option<String> {
    let keys: Vec<_> = all.keys().collect();
    (!keys.is_empty()).then(|| keys[rng.random_range(0..keys.len())].clone())
}

/// A fleet on one server.
struct Fleet {
    server: GoServer,
    remote: Remote,
    runtime: Runtime,
    go: Vec<GoClient>,
    devices: Vec<Device>,
    seed: u64,
}

impl Fleet {
    fn start(dir: &Path, seed: u64) -> Self {
        let server = GoServer::start();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let remote = Remote { url: server.url.clone(), token: TOKEN.to_owned(), http };
        // By the devices' clock, or nearly: who writes last wins.
        let now = RowTime::parse(&text(&rusqlite::Connection::open_in_memory().expect("memory"))).expect("a time");
        let go = (0..2).map(|at| GoClient::open(&dir.join(format!("go-{at}.db")), now.plus_s(at))).collect();
        let devices = ["a", "b"].map(|name| Device::enrolled_at(&dir.join(name), &server.url, PROJECT)).into();
        let fleet = Self { server, remote, runtime: Runtime::new().expect("a runtime"), go, devices, seed };
        for (at, client) in fleet.go.iter().enumerate() {
            client.enroll(PROJECT);
            client.start_session(&format!("session-{at}"), PROJECT, "/src");
        }
        fleet
    }

    /// One Go client's cycle; nothing that anybody did may halt it.
    fn cycle(&mut self, at: usize) {
        let halt = self.runtime.block_on(self.go[at].cycle(&self.remote));
        assert!(halt.is_ok(), "seed {}: {halt:?}", self.seed);
    }

    /// Something that a user of a Go client does.
    fn write(&mut self, at: usize, rng: &mut StdRng, step: usize) {
        let client = &mut self.go[at];
        client.pass_s(rng.random_range(0..3));
        let known = without_prompts(&client.db);
        let session = format!("session-{at}");
        match rng.random_range(0..10) {
            0..=2 => drop(client.save(PROJECT, &session, &format!("go {step}"), &format!("text {step}"), None)),
            3 | 4 => {
                pick(rng, &known).into_iter().for_each(|id| client.edit(&id, &format!("go edit {step}"), "a text"))
            }
            5 => pick(rng, &known).into_iter().for_each(|id| client.delete(&id, step.is_multiple_of(2))),
            6 => client.end_session(&session, &format!("summary {step}")),
            7 => drop(client.prompt(PROJECT, &session, &format!("prompt {step}"))),
            8 => {
                if let (Some(source), Some(target)) = (pick(rng, &known), pick(rng, &known)) {
                    let _ = client.relate(&source, &target);
                }
            }
            _ => {
                // One with nothing but prompts, which nobody else writes into: Go clients of others would halt (D14).
                let own = format!("short-{at}-{step}");
                client.start_session(&own, PROJECT, "/src");
                let _ = client.prompt(PROJECT, &own, "asked and forgotten");
                client.pass_s(1);
                assert!(client.delete_session(&own));
            }
        }
    }

    /// Something that a user of a device does.
    fn write_ours(&self, at: usize, rng: &mut StdRng, step: usize) {
        let device = &self.devices[at];
        let known = without_prompts(&open(&device.dir));
        let run = |args: &[&str]| {
            let done = device.ctl(args);
            // What another deleted meanwhile is not found.
            assert!([0, 1].contains(&done.code), "seed {}: {args:?}: {done:?}", self.seed);
        };
        match (rng.random_range(0..7), pick(rng, &known), pick(rng, &known)) {
            (0 | 1, ..) | (_, None, _) => drop(device.save(PROJECT, &format!("ours {step}"), &format!("text {step}"))),
            (2 | 3, Some(id), _) => run(&["update", &id, "--title", &format!("our edit {step}")]),
            (4, Some(id), _) => run(&["delete", &id]),
            (5, Some(id), _) => run(&["delete", &id, "--hard"]),
            (_, Some(source), Some(target)) => run(&["relate", &source, "related", &target]),
            (_, Some(_), None) => {}
        }
    }

    /// Lets everybody sync until nothing new comes.
    fn settle(&mut self) {
        until("all are at rest", || {
            let rows = self.server.inside().rows.len();
            self.devices.iter().for_each(sync);
            for at in 0..self.go.len() {
                self.cycle(at);
            }
            let shown: Vec<_> = self.go.iter().map(|client| memories(&client.db)).collect();
            let ours = memories(&open(&self.devices[0].dir));
            let pending = self.go.iter().any(|client| client.pending_count() > 0);
            rows == self.server.inside().rows.len() && !pending && shown.iter().all(|shown| *shown == ours)
        });
    }
}

fn text(db: &rusqlite::Connection) -> String {
    db.query_row("SELECT datetime('now')", [], |row| row.get(0)).expect("a time")
}

/// CONV-1: writes on both sides, edits, deletes, sessions, relations, stores opened again.
#[test]
fn conv_1_go_clients_and_devices_end_with_the_same_memories() {
    for seed in 0..2 {
        let temp = tempfile::tempdir().expect("a directory");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut fleet = Fleet::start(temp.path(), seed);
        for step in 0..STEPS {
            let at = rng.random_range(0..2);
            match rng.random_range(0..8) {
                0 | 1 => fleet.cycle(at),
                2 => {
                    let client = fleet.go.remove(at);
                    fleet.go.insert(at, client.reopened());
                }
                3..=5 => fleet.write(at, &mut rng, step),
                _ => fleet.write_ours(at, &mut rng, step),
            }
        }
        fleet.settle();
        let project = ProjectName::parse(PROJECT).expect("a name");
        let dumps = fleet.devices.iter_mut().map(|device| {
            device.daemon.kill();
            let store = Store::open(&device.dir.join("engram.db"), RowTime::from_unix_s(1).expect("a time"))
                .expect("the store");
            store.canonical_dump(&project).expect("a dump")
        });
        let dumps: Vec<String> = dumps.collect();
        assert_eq!(dumps[0], dumps[1], "seed {seed}");
        assert!(dumps[0].lines().count() > 10, "something was written: {}", dumps[0]);
    }
}
