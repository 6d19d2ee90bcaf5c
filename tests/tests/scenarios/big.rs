//! Situation 11: The first sync of a big history just works.

use crate::queue::{self, Row, held, pending, reached};
use crate::size::part;
use engram_tests::gateway::{Fault, Gateway, Seen};
use engram_tests::processes::{Cloud, Device, TOKEN, until, until_in};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use std::collections::BTreeSet;

/// How much of the situation is played.
struct Size {
    rows: usize,
    bulky: usize,
    /// Bytes of a row, of one of the bulky ones at the head, a hundred of which no request has room for, and of the one
    /// that is too large.
    row_bytes: usize,
    bulky_bytes: usize,
    huge_bytes: usize,
    /// What the proxy in between lets through.
    limit_bytes: usize,
    kills: usize,
}

fn size() -> Size {
    Size {
        rows: part(30_000, 2_000),
        bulky: part(1_000, 200),
        row_bytes: part(1_400, 1_000),
        bulky_bytes: part(20_000, 6_000),
        huge_bytes: part(6 << 20, 600 << 10),
        limit_bytes: part(1 << 20, 256 << 10),
        kills: part(20, 5),
    }
}

/// The most memory that a daemon ever had, in MiB, and the most that it may have.
#[cfg(target_os = "linux")]
fn memory_mib(device: &Device) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", device.daemon.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") / 1_024
}

#[cfg(not(target_os = "linux"))]
fn memory_mib(_device: &Device) -> usize {
    0
}

/// The daemon's memory at most, beside some copies of the one row that is larger than a request may be: as it is kept, as
/// it is read, and as it is sent.
const MEMORY_MIB_MAX: usize = 64;
const HUGE_COPIES: usize = 3;

/// The ids of the rows in a request.
fn ids(push: &Seen) -> Vec<String> {
    push.body.split("\"mutation_id\":\"").skip(1).map(|rest| rest.chars().take_while(|&c| c != '"').collect()).collect()
}

/// ISO-1, DUR-1: what a proxy cuts, whose limit is below what the daemon sends, goes in halves, and the one row above it is
/// held by name. Each kill anywhere, and each answer that the proxy gave up waiting for, repeats one request at most. What
/// is left is told all the while, and memory does not grow with it.
#[test]
fn scenario_11_a_big_history_arrives_through_a_narrow_gate() {
    let Size { rows, bulky, row_bytes, bulky_bytes, huge_bytes, limit_bytes, kills } = size();
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let cloud = Cloud::start(&dir);
    let gateway = Gateway::start(&cloud.url);
    gateway.inside().body_bytes_max = Some(limit_bytes);
    let mut a = Device::start(&temp.path().join("a"));
    let text = |n: usize| {
        let bytes = if n < bulky { bulky_bytes } else { row_bytes };
        json!(format!("text {n} {}", "words and more ".repeat(bytes / 15)))
    };
    let mut all = vec![Row::session("demo", "s")];
    all.extend((0..rows).map(|n| Row::memory("demo", &format!("m-{n}"), "s").with("content", text(n))));
    all.insert(rows / 2, Row::memory("demo", "huge", "s").with("content", json!("x".repeat(huge_bytes))));
    queue::add_while_away(&mut a, &all);
    assert_eq!(a.ctl_with(&["cloud", "login", "--server", &gateway.url, "--token-stdin"], TOKEN).code, 0);
    assert_eq!(a.ctl(&["enroll", "demo"]).code, 0);

    let stored = || queue::cloud_number(&dir, "SELECT count(*) FROM cloud_mutations");
    let (mut rng, mut memory, mut lives) = (StdRng::seed_from_u64(11), 0, Vec::new());
    for kill in 0..kills {
        let lost = usize::from(kill % 4 == 3);
        gateway.inside().faults = vec![Fault::LoseAnswer; lost];
        let step = rows / (kills + 1);
        let goal = step * kill + rng.random_range(1..step);
        until_in(4, "more is there", || stored() >= goal);
        until("the report tells of it", || {
            let (most, told) = (all.len() - stored(), pending(&a));
            // All but the one that is held, and what was under way a moment ago.
            (all.len() - stored() - 1..=most + limit_bytes / row_bytes).contains(&told)
        });
        memory = memory.max(memory_mib(&a));
        a.daemon.kill();
        lives.push((gateway.inside().seen.len(), lost));
        a.boot();
    }
    reached("all but one are there", rows + 1, stored);
    until("the one is held by name", || held(&a).iter().any(|(key, _)| key == "huge"));
    until("nothing waits", || pending(&a) == 0);
    assert!(a.finds_reason("payload_too_large"));
    memory = memory.max(memory_mib(&a));
    assert!(memory < MEMORY_MIB_MAX + HUGE_COPIES * (huge_bytes >> 20), "{memory} MiB");

    let inside = gateway.inside();
    lives.push((inside.seen.len(), 0));
    // What is repeated may have been sent in the life before.
    let (mut taken, mut from, mut largest, mut repeated) = (BTreeSet::new(), 0, 0, Vec::new());
    for (end, lost) in lives {
        let pushes = inside.seen[from..end].iter().filter(|seen| seen.line.contains("/push") && seen.status != 413);
        let mut again = 0;
        for push in pushes {
            assert!(push.body.len() <= limit_bytes);
            let ids = ids(push);
            largest = largest.max(ids.len());
            again += ids.into_iter().filter(|id| !taken.insert(id.clone())).count();
        }
        assert!(again <= largest * (1 + lost), "{again} rows were repeated, {largest} at once at most: {repeated:?}");
        repeated.push(again);
        from = end;
    }
    let refused = inside.seen.iter().filter(|seen| seen.status == 413).count();
    println!("{rows} rows, {kills} kills: {memory} MiB at most, {refused} requests too large, repeated {repeated:?}");
}
