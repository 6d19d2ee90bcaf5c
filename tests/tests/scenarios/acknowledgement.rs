//! Situation 2: Acknowledge only what the server proved it stored. 3. A pull does not wait for a push.

use crate::queue::{self, Row};
use crate::size::part;
use engram_tests::gateway::{Fault, Gateway, Instead};
use engram_tests::processes::{Cloud, Device, TOKEN, until};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeSet;

const WAITING: &str = "SELECT count(*) FROM sync_mutations WHERE acked_at IS NULL";

/// Rows of one push.
const PUSH: usize = 100;

/// Each of them once, before chance has its way: what an answer may be short of.
const FAULTS: [Fault; 6] = [
    Fault::NameSome(0x5555_5555_5555_5555),
    Fault::TakeSome(0x9999_9999_9999_9999),
    Fault::NameSome(0),
    Fault::Html,
    Fault::Truncate,
    Fault::LoseAnswer,
];

fn fault(run: usize, rng: &mut StdRng) -> Fault {
    match FAULTS[if run < FAULTS.len() { run } else { rng.random_range(0..FAULTS.len()) }] {
        Fault::NameSome(places) if places > 0 => Fault::NameSome(rng.random()),
        Fault::TakeSome(_) => Fault::TakeSome(rng.random::<u64>() | 1),
        fault => fault,
    }
}

/// ACK-1, IDEM-1: one push after the other is answered by a loss (sometimes with the server's death), by half an answer, by
/// a web page, or by one that names some rows or none, or of which the server took some. What is acknowledged without
/// proof would never be sent again: in the end the server has every row, each once.
#[test]
fn scenario_2_ack_1_answers_that_prove_less_acknowledge_less() {
    let runs = part(1_000, 40);
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let mut cloud = Cloud::start(&dir);
    let gateway = Gateway::start(&cloud.url);
    let mut a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    let mut rng = StdRng::seed_from_u64(2);
    gateway.inside().faults = (0..runs).map(|run| fault(run, &mut rng)).collect();
    let memories = |from: usize| (from..from + PUSH).map(|n| Row::memory("demo", &format!("m-{n}"), "s"));
    let mut all = vec![Row::session("demo", "s")];
    all.extend(memories(0));
    queue::add_while_away(&mut a, &all);
    until("they are counted", || a.report()["totals"]["pending"].as_u64() > Some(0));
    let (left, mut deaths) = (|| gateway.inside().faults.len(), 0);
    for turn in 0.. {
        let report = a.report();
        let (dies, all_sent) = (turn % 10 == 9 && left() > 0, report["totals"]["pending"] == 0);
        if all_sent && left() == 0 {
            break;
        }
        assert!(turn < runs * 10, "it comes to no end: {report}");
        if dies {
            gateway.inside().faults.insert(0, Fault::LoseAnswer);
        }
        let before = left();
        if all_sent || dies {
            let more: Vec<_> = memories(all.len() - 1).collect();
            queue::add(&a, &more);
            all.extend(more);
        }
        if dies {
            std::thread::scope(|scope| {
                scope.spawn(|| a.ctl(&["sync"]));
                until("it is sent", || left() < before);
                cloud.process.kill();
            });
            cloud = cloud.restart();
            deaths += 1;
        }
        let _ = a.ctl(&["sync"]);
    }
    let stored = queue::cloud(&dir, "SELECT entity_key FROM cloud_mutations");
    let distinct: BTreeSet<_> = stored.iter().map(String::as_str).collect();
    let absent: Vec<_> = all.iter().map(|row| &row.key).filter(|key| !distinct.contains(key.as_str())).collect();
    assert!(absent.is_empty(), "acknowledged but absent: {absent:?}");
    assert_eq!(stored.len(), all.len(), "each once");
    assert_eq!(queue::number(&a, WAITING), 0);
    assert!(queue::held(&a).is_empty());
    println!("{runs} faults and {deaths} deaths of the server met {} rows: none is acknowledged but absent", all.len());
}

/// ACK-1, ISO-1: where another process has the store's lock when the answer comes, and for longer than the daemon waits for
/// it, nothing is written down: the rows are no fault's, go once more, and the server has each once.
#[test]
fn scenario_2_ack_1_a_lock_after_a_confirmed_send_is_no_rows_fault() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let gateway = Gateway::start(&cloud.url);
    let a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    queue::add(&a, &[Row::session("demo", "s")]);
    until("it is there", || queue::number(&a, WAITING) == 0);
    gateway.inside().keeps_answers = true;
    queue::add(&a, &(0..PUSH).map(|n| Row::memory("demo", &format!("m-{n}"), "s")).collect::<Vec<_>>());
    let stored = || queue::cloud_number(&dir, "SELECT count(*) FROM cloud_mutations WHERE entity_key LIKE 'm-%'");
    until("the server has some", || stored() > 0);
    let other = queue::store(&a);
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let before = gateway.answered(200);
    gateway.inside().keeps_answers = false;
    until("it was confirmed", || gateway.answered(200) > before);
    until("what is in the way is said", || a.finds_reason("store_busy"));
    let acked = "SELECT count(*) FROM sync_mutations WHERE entity_key LIKE 'm-%' AND acked_at IS NOT NULL";
    assert_eq!(queue::number(&a, acked), 0);
    other.execute_batch("ROLLBACK").expect("given back");
    until("they are acknowledged", || {
        let _ = a.ctl(&["sync"]);
        queue::number(&a, WAITING) == 0
    });
    assert!(queue::held(&a).is_empty(), "{:?}", queue::held(&a));
    assert_eq!(stored(), PUSH, "each once");
    until("nothing is wrong any more", || a.ctl(&["status"]).code == 0);
}

/// ACK-1: an answer that names nothing acknowledges nothing, at any moment.
#[test]
fn scenario_2_ack_1_an_empty_answer_acknowledges_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let gateway = Gateway::start(&cloud.url);
    let a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    let body = r#"{"accepted_seqs":[],"project":"demo","project_source":"request_body","project_path":""}"#.to_owned();
    gateway.inside().instead = vec![Instead { path: "/sync/mutations/push", holding: "", status: 200, body }];
    let _ = a.save("demo", "kept", "a text");
    until("it was answered twice", || {
        let _ = a.ctl(&["sync"]);
        gateway.pushes().len() >= 2
    });
    assert_eq!(queue::number(&a, "SELECT count(*) FROM sync_mutations WHERE acked_at IS NOT NULL"), 0);
    until("it is said", || a.ctl(&["status"]).code == 3);
    gateway.inside().instead.clear();
    until("it goes", || a.ctl(&["sync"]).code == 0);
}

/// ISO-2: while 35 projects wait that are not enrolled, and pushes of one are refused, all that comes is applied.
#[test]
fn scenario_3_iso_2_a_pull_waits_for_no_push() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let gateway = Gateway::start(&cloud.url);
    let a = Device::start(&temp.path().join("a"));
    for n in 0..35 {
        let project = format!("private-{n}");
        queue::add(
            &a,
            &[Row::session(&project, &format!("s-{n}")), Row::memory(&project, &project, &format!("s-{n}"))],
        );
    }
    assert_eq!(a.ctl_with(&["cloud", "login", "--server", &gateway.url, "--token-stdin"], TOKEN).code, 0);
    assert_eq!(a.ctl(&["enroll", "demo", "refused"]).code, 0);
    let body =
        r#"{"error":"forbidden: project is not allowed","error_class":"policy","error_code":"policy_forbidden"}"#;
    let (path, body) = ("/sync/mutations/push", body.to_owned());
    gateway.inside().instead = vec![Instead { path, holding: "\"refused\"", status: 403, body }];
    queue::add(&a, &[Row::session("refused", "s-refused")]);
    until("the refusal shows", || a.finds_reason("policy_forbidden"));
    // One that has nothing to push.
    let c = Device::enrolled(&temp.path().join("c"), &cloud, "demo");
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    let times = || {
        let report = a.report();
        let mut all = report["projects"].as_array().expect("a list").iter();
        let demo = all.find(|one| one["project"] == "demo").expect("it");
        [demo, &report["sync"]].map(|one| one["last_pull_at"].as_str().map(str::to_owned))
    };
    let before = times();
    queue::add(&b, &[Row::session("demo", "s")]);
    queue::add(&b, &(0..50).map(|n| Row::memory("demo", &format!("m-{n}"), "s")).collect::<Vec<_>>());
    until("all 50 arrive", || [&a, &c].iter().all(|device| device.titles("text").len() == 50));
    // Times are of whole seconds, and an answer comes with news.
    let mut late = 0;
    until("the last pull is a later one", || {
        queue::add(&b, &[Row::memory("demo", &format!("late-{late}"), "s")]);
        late += 1;
        times().iter().zip(&before).all(|(now, before)| now > before)
    });
    assert_eq!(
        queue::number(&a, "SELECT count(*) FROM sync_mutations WHERE project = 'refused' AND acked_at IS NULL"),
        1
    );
    assert!(a.finds_reason("policy_forbidden"), "and the push problem is still said");
    let seen = gateway.inside().seen.iter().any(|seen| format!("{seen:?}").contains("private-"));
    assert!(!seen, "SCOPE-1: not even a name of the others was sent");
}
