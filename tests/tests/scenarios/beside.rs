//! Situation 8: It lives peacefully beside the Go processes. 9. Unenrolled means inert.

use crate::queue::{self, Row, memory, reached, session};
use crate::size::part;
use engram_tests::gateway::Gateway;
use engram_tests::go::saver::{Failure, Saver, thinks};
use engram_tests::go::{Remote, Wire as _};
use engram_tests::processes::{Cloud, Device, TOKEN, until};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// How much of the situation is played.
struct Size {
    /// Go processes.
    writers: usize,
    /// Saves of each.
    saves: usize,
    /// Rows that come in meanwhile.
    pulled: usize,
    /// Rows that go out.
    pushed: usize,
}

fn size() -> Size {
    Size { writers: 4, saves: part(1_000, 250), pulled: part(20_000, 5_000), pushed: part(5_000, 1_250) }
}

/// Pushes memories to a server as a Go client does, a thousand at once.
fn fill(cloud: &Cloud, rows: usize) {
    let remote = Remote::new(&cloud.url, TOKEN);
    let mut entries = vec![json!({"project": "demo", "entity": "session", "entity_key": "s", "op": "upsert",
        "payload": session("demo", "s")})];
    entries.extend((0..rows).map(|n| {
        let key = format!("in-{n}");
        json!({"project": "demo", "entity": "observation", "entity_key": key, "op": "upsert",
            "payload": memory("demo", &key, "s")})
    }));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for part in entries.chunks(1_000) {
        let body = json!({"entries": part, "created_by": "go"}).to_string();
        let (status, answer) = runtime.block_on(remote.push(body));
        assert_eq!(status, 200, "{answer}");
    }
}

/// What the daemon must leave as it is: every table, index and trigger, and the number that counts their changes.
fn form(device: &Device) -> (i64, String) {
    let conn = queue::store(device);
    let number = conn.query_row("PRAGMA schema_version", [], |row| row.get(0)).expect("a number");
    let all = "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_master ORDER BY name)";
    (number, conn.query_row(all, [], |row| row.get(0)).expect("a text"))
}

/// The variable that says what a process of these tests has to do as a Go process.
const ORDER: &str = "ENGRAM_SAVER";

/// How the line begins in which it tells how that went.
const ENDED: &str = "a saver has ended: ";

/// What a Go process does.
#[derive(Serialize, Deserialize)]
struct Order {
    store: PathBuf,
    writer: usize,
    saves: usize,
}

impl Order {
    fn start(&self) -> Child {
        Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "beside::a_process_saves_if_it_was_started_for_that", "--nocapture"])
            .env(ORDER, serde_json::to_string(self).expect("a text"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process")
    }
}

/// The daemon refuses one attempt in so many saves at most, also where the machine is busy.
const REFUSED_MAX: usize = 5;

/// How many attempts each process refused, and which saves failed.
type Ended = (BTreeMap<u32, u64>, Vec<Failure>);

/// Waits for its end.
fn ended(saver: Child) -> Ended {
    let output = saver.wait_with_output().expect("its end");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once(ENDED)).unwrap_or_else(|| panic!("{text}"));
    serde_json::from_str(line.1).expect("what became of it")
}

/// Does nothing where nobody started it as a Go process.
#[test]
fn a_process_saves_if_it_was_started_for_that() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let Order { store, writer, saves } = serde_json::from_str(&order).expect("an order");
    let (mut go, mut failures) = (Saver::open(&store), Vec::new());
    for n in 0..saves {
        failures.extend(go.save("demo", "s-go", &format!("go-{writer}-{n}")));
        std::thread::sleep(thinks());
    }
    println!("{ENDED}{}", json!([go.refused, failures]));
}

/// OWN-3: Go processes save, reading first, while the daemon pulls and pushes thousands of rows: no save fails, all
/// arrive, and nobody changes a table. A save is excused where somebody who had the lock then had no processor.
#[test]
fn scenario_8_own_3_writers_beside_a_busy_daemon_never_fail() {
    let Size { writers, saves, pulled, pushed } = size();
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    fill(&cloud, pulled);
    let stored = || queue::cloud_number(&dir, "SELECT count(*) FROM cloud_mutations");
    assert_eq!(stored(), pulled + 1);

    let a = Device::start(&temp.path().join("a"));
    let go = queue::store(&a);
    go.execute_batch("INSERT INTO sessions (id, project, directory, started_at) VALUES ('s-go', 'demo', '/d', '2026-11-22 10:00:00')")
        .expect("a session");
    drop(go);
    queue::add(&a, &[Row { payload: session("demo", "s-go").to_string(), ..Row::session("demo", "s-go") }]);
    queue::add(&a, &(0..pushed).map(|n| Row::memory("demo", &format!("out-{n}"), "s-go")).collect::<Vec<_>>());
    assert_eq!(a.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN).code, 0);
    let before = form(&a);
    assert_eq!(a.ctl(&["enroll", "demo"]).code, 0);
    let order = |writer| Order { store: a.dir.join("engram.db"), writer, saves };
    let savers: Vec<Child> = (0..writers).map(|writer| order(writer).start()).collect();
    let ended: Vec<Ended> = savers.into_iter().map(ended).collect();
    let (excused, failed): (Vec<_>, Vec<_>) =
        ended.iter().flat_map(|(_, failures)| failures).partition(|f| f.is_the_machines());
    let refused = ended.iter().flat_map(|(refused, _)| refused).fold([0; 2], |[ours, others], (&by, &count)| {
        let count = usize::try_from(count).expect("a count");
        if by == a.daemon.pid() { [ours + count, others] } else { [ours, others + count] }
    });
    let daemon = a.daemon.pid();
    println!("attempts refused by the daemon ({daemon}) and by others: {refused:?}; excused: {excused:?}");
    assert!(failed.is_empty(), "saves that failed beside the daemon ({daemon}): {failed:?}; attempts: {refused:?}");
    // Who has the lock for a twelfth of the time refuses not many more of the attempts.
    assert!(refused[0] * REFUSED_MAX < writers * saves, "the daemon ({daemon}) refused too many: {refused:?}");
    reached("all is sent", pulled + pushed + writers * saves + 2, stored);
    let here = |sql: &str| usize::try_from(queue::number(&a, sql)).expect("a number");
    reached("all is received", pulled, || here("SELECT count(*) FROM observations WHERE sync_id LIKE 'in-%'"));
    assert_eq!(here("SELECT count(*) FROM observations WHERE sync_id LIKE 'go-%'"), writers * saves);
    let journal = "SELECT count(*) FROM sync_mutations WHERE entity_key LIKE 'go-%' AND source = 'local'";
    assert_eq!(here(journal), writers * saves);
    until("all is acknowledged", || here("SELECT count(*) FROM sync_mutations WHERE acked_at IS NULL") == 0);
    let twice = "SELECT count(*) FROM (SELECT 1 FROM cloud_mutations GROUP BY entity_key HAVING count(*) > 1)";
    assert_eq!(queue::cloud_number(&dir, twice), 0, "nothing was sent twice");
    let log = std::fs::read_to_string(a.log()).expect("a log");
    for words in ["database is locked", "another process is writing", "busy"] {
        assert!(!log.contains(words), "{log}");
    }
    assert_eq!(form(&a), before, "the daemon changed a table");
}

/// The tables of a device's store in which a text occurs, but for the search index, which is made of them.
fn naming(device: &Device, text: &str) -> BTreeSet<String> {
    let conn = queue::store(device);
    let columns = "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
        WHERE t.type = 'table' AND t.name NOT LIKE '%\\_fts%' ESCAPE '\\' AND t.name NOT LIKE 'sqlite%'";
    let mut statement = conn.prepare(columns).expect("a statement");
    let columns = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
    let holds = |(table, column): &(String, String)| {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM \"{table}\" WHERE instr(\"{column}\", ?1))");
        conn.query_row(&sql, [text], |row| row.get::<_, bool>(0)).expect("an answer")
    };
    columns.expect("rows").map(|row| row.expect("a row")).filter(holds).map(|(table, _)| table).collect()
}

/// Projects that nobody enrolled.
const PRIVATE: usize = 20;

/// SCOPE-1, LOUD-1: projects that are not enrolled are information; the daemon adds no row for them, and enrolling one
/// later delivers it exactly once.
#[test]
fn scenario_9_scope_1_what_is_not_enrolled_is_inert() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let alone = Device::start(&temp.path().join("alone"));
    let _ = alone.save("demo", "t", "on its own");
    let status = alone.ctl(&["status"]);
    assert_eq!(status.code, 0, "no cloud is no fault: {status:?}");

    let cloud = Cloud::start(&dir);
    let gateway = Gateway::start(&cloud.url);
    let a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    // The daemon saves, and a Go process beside it.
    let (saves, by_daemon) = (part(500, 50), part(250, 2));
    let mut go = Saver::open(&a.dir.join("engram.db"));
    let mut failures = Vec::new();
    let name = |n: usize| (format!("private-{n}"), format!("s-{n}"));
    for (project, session) in (0..PRIVATE).map(name) {
        assert_eq!(a.ctl(&["session", "start", "--id", &session, "--project", &project]).code, 0);
        for m in 0..by_daemon {
            let title = format!("{project}-{m}");
            let _ = a.save(&project, &title, &format!("a text of {title}"));
        }
    }
    // Afterwards, for it does not think between two saves.
    for (project, session) in (0..PRIVATE).map(name) {
        failures.extend((by_daemon..saves).filter_map(|m| go.save(&project, &session, &format!("{project}-{m}"))));
    }
    assert!(failures.is_empty(), "{failures:?}");
    let _ = a.save("demo", "t", "shared");
    until("it is sent", || queue::cloud(&dir, "SELECT entity FROM cloud_mutations").len() == 2);
    until("they are counted", || a.report()["totals"]["not_enrolled_pending"] == PRIVATE * (saves + 1));
    let status = a.ctl(&["status"]);
    assert_eq!(status.code, 0, "{status:?}");
    until("it is healthy", || a.report()["sync"]["health"] == "healthy" && a.report()["totals"]["pending"] == 0);
    assert!(a.finds_reason("non_enrolled_pending_mutations"));
    let rows = "SELECT count(*) FROM sync_mutations WHERE project LIKE 'private-%'";
    assert_eq!(
        usize::try_from(queue::number(&a, rows)).expect("a count"),
        PRIVATE * (saves + 1),
        "nothing of its own was added"
    );
    let projects = a.json(&["projects"]);
    assert_eq!(projects["projects"].as_array().map(Vec::len), Some(PRIVATE + 1), "all are listed: {projects}");
    // A save says of its project that there is something to send, as a Go process' does; nothing else is known of it there.
    let saved = ["engramd_session", "observations", "sessions", "sync_mutations", "sync_state"];
    assert_eq!(naming(&a, "private-"), BTreeSet::from(saved.map(str::to_owned)));
    let targets =
        "SELECT count(*) FROM sync_state WHERE target_key LIKE 'cloud:private-%' AND (lifecycle, last_acked_seq,
        last_pulled_seq, consecutive_failures, coalesce(backoff_until, lease_owner, last_error, reason_code)) IS NOT
        ('pending', 0, 0, 0, NULL)";
    assert_eq!(queue::number(&a, targets), 0);
    // Where the daemon saved nothing, it wrote nothing: no journal row, no target.
    queue::add(&a, &[Row::session("attic", "s-attic"), Row::memory("attic", "attic-1", "s-attic")]);
    until("they are counted too", || a.report()["totals"]["not_enrolled_pending"] == PRIVATE * (saves + 1) + 2);
    assert_eq!(a.ctl(&["sync"]).code, 0);
    assert_eq!(naming(&a, "attic"), BTreeSet::from(["sync_mutations".to_owned()]));
    assert_eq!(queue::number(&a, "SELECT count(*) FROM sync_mutations WHERE project = 'attic'"), 2);
    assert!(!gateway.inside().seen.iter().any(|seen| format!("{seen:?}").contains("private-")), "not even a name");

    assert_eq!(a.ctl(&["enroll", "private-7"]).code, 0);
    let delivered = "SELECT entity_key FROM cloud_mutations WHERE project = 'private-7'";
    until("the backlog is delivered", || queue::cloud(&dir, delivered).len() > saves);
    assert_eq!(a.ctl(&["sync"]).code, 0);
    assert_eq!(queue::cloud(&dir, delivered).len(), saves + 1, "exactly once");
}
