//! Situation 25: Nothing leaves that should not.

use crate::queue::{self, Row};
use engram_tests::gateway::Gateway;
use engram_tests::processes::{Cloud, Device, TOKEN, until};

/// SCOPE-1, SECRET-1: everything that passes between two devices and two servers in a mixed day, looked through.
#[test]
fn scenario_25_scope_1_secret_1_nothing_leaves_that_should_not() {
    let temp = tempfile::tempdir().expect("a directory");
    let (work, home) = (Cloud::start(&temp.path().join("work")), Cloud::start(&temp.path().join("home")));
    let (at_work, at_home) = (Gateway::start(&work.url), Gateway::start(&home.url));
    let a = Device::enrolled_at(&temp.path().join("a"), &at_work.url, "office");
    let b = Device::enrolled_at(&temp.path().join("b"), &at_home.url, "garden");
    for device in [&a, &b] {
        // Both know all three projects, and a fourth that only a Go process wrote to.
        for project in ["office", "garden", "diary"] {
            let id = device.save(project, &format!("{project} title"), &format!("{project} text"));
            assert_eq!(device.ctl(&["update", &id, &format!("{project} edited")]).code, 0);
            assert_eq!(device.ctl(&["prompt", "--project", project, &format!("{project} question")]).code, 0);
        }
        queue::add(device, &[Row::session("attic", "s-attic"), Row::memory("attic", "attic-1", "s-attic")]);
        let secret = device.save("diary", "gone", "diary again");
        assert_eq!(device.ctl(&["delete", &secret, "--hard"]).code, 0);
        until("it is sent", || device.ctl(&["sync"]).code == 0);
    }
    assert_eq!(a.ctl(&["enroll", "nothing-there"]).code, 0);
    assert_eq!(a.ctl(&["unenroll", "nothing-there"]).code, 0);
    let _ = a.save("nothing-there", "late", "too late");
    until("it is at rest", || a.ctl(&["sync"]).code == 0);
    for (gateway, own, others) in [
        (&at_work, "office", ["garden", "diary", "attic", "too late"]),
        (&at_home, "garden", ["office", "diary", "attic", "nothing-there"]),
    ] {
        let seen = gateway.inside().seen.clone();
        let all: String = seen.iter().map(|seen| format!("{} {} {}\n", seen.line, seen.headers, seen.body)).collect();
        assert!(all.contains(own) && all.contains("edited"), "the capture sees what goes");
        for other in others {
            assert!(!all.contains(other), "{other} left");
        }
        assert!(seen.iter().all(|seen| !seen.line.contains(TOKEN)), "the token is in no address");
        let bodies: String = seen.iter().map(|seen| seen.body.as_str()).collect();
        assert!(!bodies.contains(TOKEN), "nor in a body");
    }
    for device in [&a, &b] {
        let log = std::fs::read_to_string(device.log()).expect("a log");
        assert!(!log.contains(TOKEN), "nor in the log");
        let said = format!("{:?} {:?}", device.ctl(&["status", "--json"]), device.ctl(&["events"]));
        assert!(!said.contains(TOKEN), "nor in what is said");
        let line = std::fs::read(format!("/proc/{}/cmdline", device.daemon.pid())).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(TOKEN), "nor among the arguments");
    }
}
