//! Situation 1: A poison row never stops a healthy one.

use crate::queue::{self, Row, held};
use engram_tests::gateway::Gateway;
use engram_tests::go::server::GoServer;
use engram_tests::processes::{Cloud, Device, TOKEN, until};
use serde_json::json;

/// Projects, and rows of each.
const PROJECTS: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];
const ROWS: usize = 600;

/// Rows of every project, with seven that nobody can take at head, middle and tail; returns the keys of those.
fn poisoned(device: &Device) -> Vec<&'static str> {
    let mut bad = Vec::new();
    for project in PROJECTS {
        let session = format!("s-{project}");
        let mut rows = vec![Row::session(project, &session)];
        rows.extend((1..ROWS).map(|n| Row::memory(project, &format!("{project}-{n}"), &session)));
        let mut spoil = |at: usize, key: &'static str, make: &dyn Fn(Row) -> Row| {
            rows[at] = make(Row::memory(project, key, &session));
            bad.push(key);
        };
        match project {
            "p0" => {
                spoil(1, "bad-title", &|row| row.with("title", json!("  ")));
                spoil(ROWS - 1, "bad-content", &|row| row.with("content", json!("")));
            }
            "p1" => spoil(300, "bad-list", &|row| Row { payload: "[1, 2]".to_owned(), ..row }),
            "p2" => spoil(299, "bad-json", &|row| Row { payload: "{\"sync_id\":".to_owned(), ..row }),
            "p3" => {
                spoil(1, "bad-nul", &|row| row.with("content", json!("a\u{0}b")));
                spoil(598, "bad-key", &|row| row.with("sync_id", json!("another")));
            }
            _ => spoil(400, "bad-relation", &|row| {
                Row { entity: "relation", ..row }.with("relation", json!("related")).with("target_id", json!("p4-1"))
            }),
        }
        queue::add(device, &rows);
    }
    bad.sort_unstable();
    bad
}

fn enroll_all(device: &Device, url: &str) {
    assert_eq!(device.ctl_with(&["cloud", "login", "--server", url, "--token-stdin"], TOKEN).code, 0);
    let mut args = vec!["enroll"];
    args.extend(PROJECTS);
    assert_eq!(device.ctl(&args).code, 0);
}

fn check_held(device: &Device, bad: &[&str]) {
    until("the seven are held", || held(device).len() >= bad.len());
    let mut held = held(device);
    held.sort();
    assert_eq!(held.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), bad);
    assert!(held.iter().all(|(_, evidence)| !evidence.is_empty()), "{held:?}");
    let pending = "SELECT count(*) FROM sync_mutations AS m WHERE acked_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM engramd_held AS h WHERE h.journal_seq = m.seq)";
    until("nothing else waits", || queue::number(device, pending) == 0);
    let sync = device.ctl(&["sync", "--json"]);
    assert_eq!((sync.code, &sync.json()["outcome"]), (5, &"partial".into()), "{sync:?}");
}

/// ISO-1 (a): a server that names them: 2,993 of 3,000 rows arrive, seven are held with their evidence.
#[test]
fn scenario_1_iso_1_a_poisoned_queue_delivers_every_good_row() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let gateway = Gateway::start(&cloud.url);
    let device = Device::start(&temp.path().join("a"));
    let bad = poisoned(&device);
    enroll_all(&device, &gateway.url);
    check_held(&device, &bad);
    let stored = queue::cloud(&dir, "SELECT entity_key FROM cloud_mutations");
    assert_eq!(stored.len(), PROJECTS.len() * ROWS - bad.len());
    assert!(bad.iter().all(|key| !stored.iter().any(|stored| stored == key)));
    let pushes = gateway.pushes();
    let sent: usize = pushes.iter().map(|push| push.body.matches("\"mutation_id\"").count()).sum();
    assert!(sent <= stored.len() + 2 * bad.len(), "{sent} rows sent for {} stored", stored.len());
}

/// ISO-1 (b): a server that answers an opaque 500 for a batch with a bad row: each is found by bisection.
#[test]
fn scenario_1_iso_1_bisection_finds_them_behind_an_opaque_server() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let device = Device::start(&temp.path().join("a"));
    let bad = poisoned(&device);
    enroll_all(&device, &server.url);
    check_held(&device, &bad);
    let inside = server.inside();
    assert_eq!(inside.rows.len(), PROJECTS.len() * ROWS - bad.len());
    let keys = |project: &str| -> Vec<String> {
        let rows = inside.rows.iter().filter(|row| row.entry["project"] == project);
        rows.map(|row| row.entry["entity_key"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(keys("p2")[0], "s-p2", "in the order in which they were written");
    // 2·log2(100)+1 requests for a row that only the server knows to be bad, and a batch has a hundred rows, or as many as
    // there is room for in one transaction beside whoever wrote the queue: half of that on a busy machine.
    let pushes = inside.requests["POST /sync/mutations/push"];
    assert!(pushes <= 2 * 30 + 15 + PROJECTS.len() as u64, "{pushes} requests");
}

/// The queue that wedges the Go program: blank titles, missing directory, empty project, NUL, unknown entity, a payload
/// that is text of an object. Every good row arrives, and what is good in another form too.
#[test]
fn iso_1_the_queue_that_jams_a_go_client_is_delivered() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let a = Device::start(&temp.path().join("a"));
    let memory = |key: &str| Row::memory("demo", key, "s");
    let as_text = |row: Row| Row { payload: json!(row.payload).to_string(), ..row };
    queue::add(
        &a,
        &[
            memory("bad-title").with("title", json!(" \n ")),
            Row { project: String::new(), ..memory("no-project").with("project", json!("")) },
            Row::session("demo", "s"),
            Row::session("demo", "no-directory").with("directory", json!("")),
            memory("good-1"),
            memory("bad-nul").with("title", json!("a\u{0}b")),
            Row::new("demo", "mystery", "m-1", &json!({"sync_id": "m-1", "color": "red"})),
            as_text(memory("good-2")),
            memory("good-3"),
        ],
    );
    assert_eq!(a.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN).code, 0);
    assert_eq!(a.ctl(&["enroll", "demo"]).code, 0);
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    until("every good row arrives", || b.titles("text").len() == 3);
    let keys = || held(&a).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    until("the bad ones are held", || ["bad-title", "bad-nul"].iter().all(|bad| keys().iter().any(|key| key == bad)));
    let stored = queue::cloud(&dir, "SELECT entity_key FROM cloud_mutations ORDER BY entity_key");
    assert_eq!(stored, ["good-1", "good-2", "good-3", "m-1", "no-directory", "s"]);
    let newer = b.ctl(&["save", "--project", "demo", "--title", "after", "a text after it"]);
    assert_eq!(newer.code, 0, "{newer:?}");
    until("and the other way", || a.titles("after").len() == 1);
}
