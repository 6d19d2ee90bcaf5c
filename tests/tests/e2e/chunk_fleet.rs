//! Everybody on one server of ours, on either store: two daemons, a Go client that syncs by chunks (`sync --cloud`) and one
//! that syncs by mutations. Nobody halts, and all see the same truth (peers.md, chunks.md).

use crate::mixed::{now, shown};
use engram_proto::id::ProjectName;
use engram_tests::go::{GoClient, Remote};
use engram_tests::postgres::Database;
use engram_tests::processes::{Cloud, Device, TOKEN};
use engramd::store::Store;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PROJECT: &str = "shared";
/// Rounds after which everybody has everything; more of them would mean that one append begets another.
const ROUNDS_MAX: usize = 12;
const NAMES: [&str; 2] = ["by-chunks", "by-mutations"];

struct Fleet {
    devices: Vec<Device>,
    by_chunks: GoClient,
    by_mutations: GoClient,
    remote: Remote,
    runtime: Runtime,
    temp: TempDir,
    _cloud: Cloud,
}

impl Fleet {
    fn start(database: Option<&Database>) -> Self {
        // A second one is refused, which is no fault.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let temp = tempfile::tempdir().expect("a directory");
        let cloud = Cloud::start_on(&temp.path().join("cloud"), database.map(Database::url));
        let devices = ["a", "b"].map(|name| Device::enrolled(&temp.path().join(name), &cloud, PROJECT)).into();
        let [by_chunks, by_mutations] = NAMES.map(|name| {
            let client = GoClient::open(&temp.path().join(format!("{name}.db")), now());
            client.enroll(PROJECT);
            client
        });
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let remote = Remote { url: cloud.url.clone(), token: TOKEN.to_owned(), http };
        let runtime = Runtime::new().expect("a runtime");
        Self { devices, by_chunks, by_mutations, remote, runtime, temp, _cloud: cloud }
    }

    fn stores(&self) -> Vec<Connection> {
        let paths = self.devices.iter().map(|device| device.dir.join("engram.db"));
        let go = NAMES.map(|name| self.temp.path().join(format!("{name}.db")));
        paths.chain(go).map(|path| Connection::open(path).expect("a store")).collect()
    }

    /// Lets everybody send and fetch until nothing changes any more, and compares what they have.
    fn settle(&mut self, after: &str) {
        let mut before = None;
        for _ in 0..ROUNDS_MAX {
            for device in &self.devices {
                let synced = device.ctl(&["sync"]);
                assert_eq!(synced.code, 0, "{after}: {synced:?}");
            }
            let sent = self.runtime.block_on(self.by_chunks.push_chunk(&self.remote, PROJECT));
            assert!(sent.is_ok(), "{after}: {sent:?}");
            let came = self.runtime.block_on(self.by_chunks.import_chunks(&self.remote, PROJECT));
            assert!(came.is_ok(), "{after}: {came:?}");
            let halt = self.runtime.block_on(self.by_mutations.cycle(&self.remote));
            assert!(halt.is_ok(), "{after}: {halt:?}");
            let listed = self.runtime.block_on(self.by_chunks.manifest(&self.remote, PROJECT));
            let state = (self.stores().iter().map(shown).collect::<Vec<_>>(), listed, self.by_mutations.cursor());
            if Some(&state) == before.as_ref() {
                for (at, shown) in state.0.iter().enumerate().skip(1) {
                    assert_eq!(shown, &state.0[0], "{after}: member {at}: {:#?}", self.times());
                }
                return;
            }
            before = Some(state);
        }
        panic!("{after}: they do not come to rest: {before:?}");
    }

    /// The memories of every store with their times, for a failure.
    fn times(&self) -> Vec<Vec<String>> {
        let of = |store: &Connection| {
            let sql = "SELECT title || ': ' || content || ' ' || updated_at || ' ' || revision_count FROM observations";
            let mut statement = store.prepare(sql).expect("a statement");
            let rows = statement.query_map([], |row| row.get(0)).expect("rows");
            rows.collect::<Result<Vec<String>, _>>().expect("rows")
        };
        self.stores().iter().map(of).collect()
    }

    fn pass_s(&mut self, seconds: i64) {
        self.by_chunks.pass_s(seconds);
        self.by_mutations.pass_s(seconds);
    }
}

fn done(device: &Device, args: &[&str]) {
    let answer = device.ctl(args);
    assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
}

fn live_together(database: Option<&Database>) {
    let mut fleet = Fleet::start(database);
    fleet.by_chunks.start_session("c", PROJECT, "/chunks");
    fleet.by_mutations.start_session("m", PROJECT, "/mutations");
    let by_chunks = ["kept", "edited", "softly", "for good"]
        .map(|title| fleet.by_chunks.save(PROJECT, "c", &format!("chunk {title}"), "a Go client by chunks", None));
    let by_mutations = ["kept", "edited", "softly", "for good"]
        .map(|title| fleet.by_mutations.save(PROJECT, "m", &format!("row {title}"), "a Go client by mutations", None));
    fleet.by_chunks.prompt(PROJECT, "c", "why?");
    fleet.by_chunks.relate(&by_chunks[0], &by_chunks[1]);
    let ours = ["kept", "edited", "softly", "for good"]
        .map(|title| fleet.devices[0].save(PROJECT, &format!("ours {title}"), "written on a"));
    done(&fleet.devices[0], &["relate", &ours[0], "related", &ours[1]]);
    fleet.settle("writes");

    // Each edits and deletes what another one wrote.
    fleet.pass_s(300);
    fleet.by_chunks.edit(&ours[1], "ours edited", "by the Go client by chunks");
    fleet.by_mutations.edit(&by_chunks[1], "chunk edited", "by the Go client by mutations");
    done(&fleet.devices[1], &["update", &by_mutations[1], "edited on b"]);
    fleet.settle("edits");
    fleet.pass_s(300);
    fleet.by_chunks.delete(&by_mutations[2], false);
    fleet.by_chunks.delete(&ours[3], true);
    fleet.by_mutations.delete(&by_chunks[3], true);
    done(&fleet.devices[0], &["delete", &by_chunks[2]]);
    done(&fleet.devices[1], &["delete", "--hard", &by_mutations[3]]);
    fleet.settle("deletes");

    // Two edit one memory without having seen each other, and one writes what was never there into the past.
    fleet.pass_s(300);
    fleet.by_chunks.edit(&ours[0], "ours kept", "at once, by chunks");
    done(&fleet.devices[0], &["update", &ours[0], "at once, on a"]);
    fleet.settle("two at once");

    let shown = shown(&fleet.stores()[0]);
    let live = |id: &str| shown.keys().any(|(_, _, known)| known == id);
    for all in [&by_chunks, &by_mutations] {
        assert_eq!(all.each_ref().map(|id| live(id)), [true, true, false, false]);
    }
    assert_eq!(ours.each_ref().map(|id| live(id)), [true, true, true, false]);
    let dumps = fleet.devices.iter_mut().map(|device| {
        assert_eq!(device.daemon.terminate(), Some(0));
        let store = Store::open(&device.dir.join("engram.db"), now()).expect("the store");
        store.canonical_dump(&ProjectName::parse(PROJECT).expect("a name")).expect("a dump")
    });
    let dumps: Vec<_> = dumps.collect();
    assert!(!dumps[0].is_empty());
    assert_eq!(dumps[0], dumps[1]);
}

#[test]
fn conv_1_chunks_and_mutations_tell_one_truth_on_the_embedded_store() {
    live_together(None);
}

#[test]
fn conv_1_chunks_and_mutations_tell_one_truth_on_postgres() {
    let Some(database) = Database::new() else { return };
    live_together(Some(&database));
}
