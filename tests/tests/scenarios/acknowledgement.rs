//! Situation 2: Acknowledge only what the server proved it stored. 3. A pull does not wait for a push.

use crate::queue::{self, Row};
use engram_tests::gateway::{Fault, Gateway, Instead};
use engram_tests::processes::{Cloud, Device, TOKEN, until};

/// ACK-1, IDEM-1: an answer that is lost, cut, a web page, or names some rows or none acknowledges what it names; the
/// rest is sent again, and the server holds each row once.
#[test]
fn scenario_2_ack_1_answers_that_prove_less_acknowledge_less() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let gateway = Gateway::start(&cloud.url);
    let a = Device::enrolled_at(&temp.path().join("a"), &gateway.url, "demo");
    queue::add(&a, &[Row::session("demo", "s")]);
    until("it is there", || queue::number(&a, "SELECT count(*) FROM sync_mutations WHERE acked_at IS NULL") == 0);
    for fault in [Fault::NameSome, Fault::NameNothing, Fault::Html, Fault::Truncate, Fault::LoseAnswer] {
        gateway.inside().faults = vec![fault];
        let keys: Vec<_> = (0..20).map(|n| format!("{fault:?}-{n}")).collect();
        queue::add(&a, &keys.iter().map(|key| Row::memory("demo", key, "s")).collect::<Vec<_>>());
        until(&format!("all are acknowledged after {fault:?}"), || {
            let _ = a.ctl(&["sync"]);
            queue::number(&a, "SELECT count(*) FROM sync_mutations WHERE acked_at IS NULL") == 0
        });
        assert!(gateway.inside().faults.is_empty(), "{fault:?} was met");
        let stored = format!("SELECT entity_key FROM cloud_mutations WHERE entity_key LIKE '{fault:?}-%'");
        assert_eq!(queue::cloud(&dir, &stored).len(), 20, "{fault:?}: each once");
    }
    assert!(queue::held(&a).is_empty());
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
    let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
    queue::add(&b, &[Row::session("demo", "s")]);
    queue::add(&b, &(0..50).map(|n| Row::memory("demo", &format!("m-{n}"), "s")).collect::<Vec<_>>());
    until("all 50 arrive", || a.titles("text").len() == 50);
    assert!(a.finds_reason("policy_forbidden"), "and the push problem is still said");
    let seen = gateway.inside().seen.iter().any(|seen| format!("{seen:?}").contains("private-"));
    assert!(!seen, "SCOPE-1: not even a name of the others was sent");
}
