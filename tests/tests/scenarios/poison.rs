//! Situation 1: A poison row never stops a healthy one.

use crate::queue::{self, Row, held, pending, reached};
use engram_tests::gateway::{Gateway, Seen};
use engram_tests::go::server::GoServer;
use engram_tests::processes::{Cloud, Device, TOKEN, until};
use serde_json::json;
use std::collections::BTreeSet;

/// Projects, and rows of each.
const PROJECTS: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];
const ROWS: usize = 600;

/// Rows of every project, with seven that nobody can take, of which the server alone knows three, at head, middle and tail, and one that only looks so: a session
/// without a directory, which goes with one. Returns the keys of the seven.
fn poisoned(device: &mut Device) -> Vec<&'static str> {
    let (mut bad, mut all) = (Vec::new(), Vec::new());
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
            "p1" => spoil(300, "bad-json", &|row| Row { payload: "{\"sync_id\":".to_owned(), ..row }),
            "p2" => spoil(299, "no-project", &|row| {
                let row = row.with("project", json!("")).with("session_id", json!("nowhere"));
                Row { project: String::new(), ..row }
            }),
            "p3" => {
                spoil(1, "bad-first", &|row| row.with("content", json!("a\u{0}b")));
                spoil(598, "bad-last", &|row| row.with("content", json!("a\u{0}b")));
            }
            _ => spoil(400, "bad-middle", &|row| row.with("title", json!("a\u{0}b"))),
        }
        if project == "p1" {
            rows[100] = Row::session(project, "no-directory").with("directory", json!(""));
        }
        all.append(&mut rows);
    }
    queue::add_while_away(device, &all);
    bad.sort_unstable();
    bad
}

fn enroll_all(device: &Device, url: &str) {
    assert_eq!(device.ctl_with(&["cloud", "login", "--server", url, "--token-stdin"], TOKEN).code, 0);
    let mut args = vec!["enroll"];
    args.extend(PROJECTS);
    assert_eq!(device.ctl(&args).code, 0);
}

/// The keys of a project's rows that somebody can take, in the order in which they were written.
fn good(device: &Device, project: &str, bad: &[&str]) -> Vec<String> {
    let sql = format!(
        "SELECT m.entity_key FROM sync_mutations AS m LEFT JOIN engramd_journal AS j ON j.seq = m.seq
         WHERE m.project = '{project}' AND j.void IS NOT 'mark' ORDER BY m.seq"
    );
    queue::texts(device, &sql).into_iter().filter(|key| !bad.contains(&key.as_str())).collect()
}

/// Counts the pushes that were refused, by what was in each.
fn refused(gateway: &Gateway, holding: &str) -> usize {
    let inside = gateway.inside();
    let refused = |seen: &&Seen| seen.line.contains("/push") && seen.status != 200 && seen.body.contains(holding);
    inside.seen.iter().filter(refused).count()
}

fn check_held(device: &Device, bad: &[&str]) {
    let all = PROJECTS.len() * ROWS;
    reached("nothing waits", all, || all.saturating_sub(pending(device)));
    until("the seven are held", || held(device).len() >= bad.len());
    let mut held = held(device);
    held.sort();
    assert_eq!(held.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), bad);
    assert!(held.iter().all(|(_, evidence)| !evidence.is_empty()), "{held:?}");
    let waiting = "SELECT count(*) FROM sync_mutations AS m WHERE acked_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM engramd_held AS h WHERE h.journal_seq = m.seq)";
    until("nothing else waits", || queue::number(device, waiting) == 0);
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
    gateway.inside().invalid = "bad-";
    let mut device = Device::start(&temp.path().join("a"));
    let bad = poisoned(&mut device);
    enroll_all(&device, &gateway.url);
    check_held(&device, &bad);
    let stored = queue::cloud_number(&dir, "SELECT count(*) FROM cloud_mutations");
    assert_eq!(stored, PROJECTS.len() * ROWS - bad.len());
    for project in PROJECTS {
        let sql = format!("SELECT entity_key FROM cloud_mutations WHERE project = '{project}' ORDER BY seq");
        assert_eq!(queue::cloud(&dir, &sql), good(&device, project, &bad), "in the order in which they were written");
    }
    // One request more for a batch that was refused: no row of it is refused a second time.
    let ids = |push: &Seen| -> Vec<String> {
        push.body
            .split("\"mutation_id\":\"")
            .skip(1)
            .map(|rest| rest.chars().take_while(|&c| c != '"').collect())
            .collect()
    };
    let pushes = gateway.pushes();
    let (taken, refused): (Vec<_>, Vec<_>) = pushes.iter().partition(|push| push.status == 200);
    let twice: Vec<_> = refused.iter().flat_map(|push| ids(push)).collect();
    assert_eq!(twice.iter().collect::<BTreeSet<_>>().len(), twice.len(), "refused twice");
    let sent: usize = taken.iter().map(|push| ids(push).len()).sum();
    assert_eq!(sent, stored, "each row went once in a request that was taken");
    println!("(a) {} requests were taken, {} refused for {} bad rows", taken.len(), refused.len(), bad.len());
}

/// ISO-1 (b): a server that answers an opaque 500 for a batch with a bad row: each is found by bisection.
#[test]
fn scenario_1_iso_1_bisection_finds_them_behind_an_opaque_server() {
    let temp = tempfile::tempdir().expect("a directory");
    let server = GoServer::start();
    let gateway = Gateway::start(&server.url);
    let mut device = Device::start(&temp.path().join("a"));
    let bad = poisoned(&mut device);
    enroll_all(&device, &gateway.url);
    check_held(&device, &bad);
    let inside = server.inside();
    assert_eq!(inside.rows.len(), PROJECTS.len() * ROWS - bad.len());
    for project in PROJECTS {
        let rows = inside.rows.iter().filter(|row| row.entry["project"] == project);
        let keys: Vec<_> = rows.map(|row| row.entry["entity_key"].as_str().unwrap_or_default()).collect();
        assert_eq!(keys, good(&device, project, &bad), "in the order in which they were written");
    }
    // A hundred rows, halved until one is left: eight requests with the row in it.
    let each: Vec<_> = bad.iter().map(|key| (key, refused(&gateway, &format!("\"{key}\"")))).collect();
    assert!(each.iter().all(|(_, requests)| *requests <= 8), "{each:?}");
    println!("(b) {} requests; refused for each: {each:?}", gateway.answered(200) + refused(&gateway, ""));
}

/// The queue that wedges the Go program: blank titles, missing directory, empty project, NUL, unknown entity, a payload
/// that is text of an object. Every good row arrives, and what is good in another form too.
#[test]
fn iso_1_the_queue_that_jams_a_go_client_is_delivered() {
    const BAD: [&str; 5] = ["bad-title", "bad-nul", "bad-key", "bad-list", "bad-relation"];
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
            memory("bad-key").with("sync_id", json!("another")),
            Row { payload: "[1, 2]".to_owned(), ..memory("bad-list") },
            Row { entity: "relation", ..memory("bad-relation") }
                .with("relation", json!("related"))
                .with("target_id", json!("good-1")),
            memory("good-3"),
        ],
    );
    assert_eq!(a.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN).code, 0);
    assert_eq!(a.ctl(&["enroll", "demo"]).code, 0);
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    until("every good row arrives", || b.titles("text").len() == 3);
    let keys = || held(&a).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    until("the bad ones are held", || BAD.iter().all(|bad| keys().iter().any(|key| key == bad)));
    let stored = queue::cloud(&dir, "SELECT entity_key FROM cloud_mutations ORDER BY entity_key");
    assert_eq!(stored, ["good-1", "good-2", "good-3", "m-1", "no-directory", "s"]);
    let newer = b.ctl(&["save", "--project", "demo", "--title", "after", "a text after it"]);
    assert_eq!(newer.code, 0, "{newer:?}");
    until("and the other way", || a.titles("after").len() == 1);
}
