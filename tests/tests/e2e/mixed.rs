//! Go clients and daemons of ours together on our server, on either store (peers.md): nobody halts, the daemons end with
//! identical dumps, and Go clients show the same live memories.

use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engram_tests::go::{GoClient, Remote};
use engram_tests::postgres::Database;
use engram_tests::processes::{Cloud, Device, TOKEN};
use engramd::store::Store;
use rusqlite::Connection;
use std::collections::BTreeMap;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PROJECTS: [&str; 2] = ["shared", "late"];

/// Rounds after which everybody has everything; more of them would mean that one append begets another.
const ROUNDS_MAX: usize = 12;

/// What a user sees: kind, project and sync id, with the text.
pub(crate) type Shown = BTreeMap<(String, String, String), String>;

struct Fleet {
    cloud: Option<Cloud>,
    devices: Vec<Device>,
    go: Vec<GoClient>,
    remote: Remote,
    runtime: Runtime,
    temp: TempDir,
}

#[expect(clippy::disallowed_methods, reason = "Go clients live in the daemons' time")]
pub(crate) fn now() -> RowTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    RowTime::from_unix_s(i64::try_from(since.as_secs()).expect("a time")).expect("a time")
}

pub(crate) fn shown(store: &Connection) -> Shown {
    let sql = "SELECT 'observation', project, sync_id, title || char(10) || content FROM observations
               WHERE deleted_at IS NULL
               UNION ALL SELECT 'prompt', project, sync_id, content FROM user_prompts
               UNION ALL SELECT 'relation', o.project, r.sync_id, r.relation FROM memory_relations r
               JOIN observations o ON o.sync_id = r.source_id AND o.deleted_at IS NULL
               JOIN observations t ON t.sync_id = r.target_id AND t.deleted_at IS NULL";
    let mut statement = store.prepare(sql).expect("a statement");
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

impl Fleet {
    /// Two daemons; two Go clients, of which one has a clock that is ahead and one a clock that is behind.
    fn start(database: Option<&Database>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let temp = tempfile::tempdir().expect("a directory");
        let cloud = Cloud::start_on(&temp.path().join("cloud"), database.map(Database::url));
        let devices: Vec<Device> =
            ["a", "b"].map(|name| Device::enrolled(&temp.path().join(name), &cloud, PROJECTS[0])).into();
        for device in &devices {
            assert_eq!(device.ctl(&["enroll", PROJECTS[1]]).code, 0);
        }
        let go = [("ahead", 90), ("behind", -90)].map(|(name, by_s)| {
            let client = GoClient::open(&temp.path().join(format!("{name}.db")), now().plus_s(by_s));
            client.enroll(PROJECTS[0]);
            client
        });
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let remote = Remote { url: cloud.url.clone(), token: TOKEN.to_owned(), http };
        let runtime = Runtime::new().expect("a runtime");
        Self { cloud: Some(cloud), devices, go: go.into(), remote, runtime, temp }
    }

    /// Lets everybody push and pull until nothing changes any more.
    fn settle(&mut self, after: &str) {
        let mut before = None;
        for _ in 0..ROUNDS_MAX {
            for device in &self.devices {
                let synced = device.ctl(&["sync"]);
                assert_eq!(synced.code, 0, "{after}: {synced:?}");
            }
            for client in &mut self.go {
                let halt = self.runtime.block_on(client.cycle(&self.remote));
                assert!(halt.is_ok(), "{after}: {halt:?}");
            }
            let all: Vec<_> = self.stores().iter().map(shown).collect();
            let cursors: Vec<_> = self.go.iter().map(|client| (client.cursor(), client.pending_count())).collect();
            let state = Some((all, cursors));
            if state == before {
                return;
            }
            before = state;
        }
        panic!("{after}: they do not come to rest: {before:?}");
    }

    /// Opens the stores of the daemons and then of the Go clients, beside them.
    fn stores(&self) -> Vec<Connection> {
        let paths = self.devices.iter().map(|device| device.dir.join("engram.db"));
        let go = ["ahead", "behind"].map(|name| self.temp.path().join(format!("{name}.db")));
        paths.chain(go).map(|path| Connection::open(path).expect("a store")).collect()
    }

    fn regrant(&mut self, projects: &str) {
        self.cloud = self.cloud.take().map(|cloud| cloud.regrant(projects));
    }

    /// Ends the daemons, and compares what everybody has; `passed` is what no Go client can know.
    fn compare(mut self, passed: &[&str]) {
        let mut all: Vec<Shown> = self.stores().iter().map(shown).collect();
        for shown in &mut all[2..] {
            for id in passed {
                assert!(shown.keys().all(|(_, _, known)| known != id), "{id} was not passed after all");
            }
        }
        for shown in &mut all[..2] {
            shown.retain(|(_, _, id), _| !passed.contains(&id.as_str()));
        }
        for (at, shown) in all.iter().enumerate().skip(1) {
            assert_eq!(shown, &all[0], "member {at}");
        }
        for store in &self.stores()[..2] {
            let sql = "SELECT count(*) FROM observations WHERE session_id LIKE 'recovered-missing-session/%'";
            let stand_ins: i64 = store.query_row(sql, [], |row| row.get(0)).expect("a count");
            assert_eq!(stand_ins, 0, "a stand-in of the GET form stays with Go clients");
        }
        let dumps = self.devices.iter_mut().map(|device| {
            assert_eq!(device.daemon.terminate(), Some(0));
            let store = Store::open(&device.dir.join("engram.db"), now()).expect("the store");
            PROJECTS.map(|name| store.canonical_dump(&ProjectName::parse(name).expect("a name")).expect("a dump"))
        });
        let dumps: Vec<_> = dumps.collect();
        assert!(dumps[0].iter().all(|dump| !dump.is_empty()));
        assert_eq!(dumps[0], dumps[1]);
    }
}

fn done(device: &Device, args: &[&str]) {
    let answer = device.ctl(args);
    assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
}

fn live_together(database: Option<&Database>) {
    let mut fleet = Fleet::start(database);
    let (ahead, behind) = (0, 1);

    // Everybody writes.
    fleet.go[ahead].start_session("go-work", "shared", "/go");
    let by_go = fleet.go[ahead].save("shared", "go-work", "From Go", "written by a Go client", None);
    fleet.go[ahead].prompt("shared", "go-work", "why?");
    fleet.go[behind].start_session("short", "shared", "/short");
    let buried = fleet.go[behind].save("shared", "short", "Short-lived", "goes with its session", None);
    fleet.go[behind].prompt("shared", "short", "goes with its session");
    let [on_a, hard] = ["From a", "Secret"].map(|title| fleet.devices[0].save("shared", title, "written on a"));
    let [on_b, given_up] = ["From b", "Given up"].map(|title| fleet.devices[1].save("shared", title, "written on b"));
    fleet.settle("writes");

    // Everybody edits what another one wrote, two at once, and judges.
    for client in &mut fleet.go {
        client.pass_s(5);
    }
    fleet.go[ahead].edit(&on_a, "From a", "edited by a Go client");
    fleet.go[behind].edit(&on_b, "From b", "edited with a clock that is behind");
    fleet.go[behind].edit(&by_go, "From Go", "edited at once with b");
    done(&fleet.devices[1], &["update", &by_go, "edited on b"]);
    fleet.go[ahead].relate(&by_go, &on_a);
    done(&fleet.devices[0], &["relate", &on_a, "related", &on_b]);
    fleet.settle("edits");

    // Deletes of every kind, a session with what was in it; and every store of a Go client is opened again (D1).
    for client in &mut fleet.go {
        client.pass_s(5);
    }
    done(&fleet.devices[1], &["delete", &given_up]);
    done(&fleet.devices[0], &["delete", "--hard", &hard]);
    fleet.go[behind].delete(&buried, true);
    assert!(fleet.go[behind].delete_session("short"));
    let soft = fleet.go[ahead].save("shared", "go-work", "Soft", "deleted softly by a Go client", None);
    fleet.settle("hard deletes");
    fleet.go[ahead].pass_s(5);
    fleet.go[ahead].delete(&soft, false);
    fleet.go = fleet.go.drain(..).map(GoClient::reopened).collect();
    fleet.settle("deletes");

    // A project that is granted late: the one cursor of Go clients has passed what was there (peers.md leaves that).
    let passed = fleet.devices[0].save("late", "Passed", "before the grant");
    done(&fleet.devices[0], &["sync"]);
    fleet.regrant("shared");
    let _ = fleet.devices[1].save("shared", "Meanwhile", "moves the cursors on");
    done(&fleet.devices[1], &["sync", "--project", "shared"]);
    for client in &mut fleet.go {
        fleet.runtime.block_on(client.pull(&fleet.remote)).expect("no halt");
        client.enroll("late");
    }
    fleet.regrant("*");
    let seen = fleet.devices[0].save("late", "Seen", "after the grant, in a session from before it");
    fleet.settle("a late grant");
    fleet.go[behind].pass_s(200);
    fleet.go[behind].edit(&seen, "Seen", "edited by a Go client");
    fleet.settle("an edit after the late grant");

    // A memory in a session that only another project knows: Go clients have it under a stand-in, and send that back.
    let crossed = fleet.go[ahead].save("late", "go-work", "Crossed", "in a session of another project", None);
    fleet.settle("a session of another project");
    fleet.go[behind].pass_s(200);
    fleet.go[behind].edit(&crossed, "Crossed", "edited under the stand-in");
    fleet.go = fleet.go.drain(..).map(GoClient::reopened).collect();
    fleet.settle("an edit under a stand-in");
    fleet.compare(&[&passed]);
}

#[test]
fn conv_1_go_clients_and_daemons_live_together_on_the_embedded_store() {
    live_together(None);
}

#[test]
fn conv_1_go_clients_and_daemons_live_together_on_postgres() {
    let Some(database) = Database::new() else { return };
    live_together(Some(&database));
}
