//! Situation 12: Replicas converge, whatever the order. Three daemons at once, behind a gateway that delays, repeats and
//! loses, whose clocks are a day apart (where libfaketime is installed; elsewhere clocks are the simulator's).

use crate::queue;
use crate::size::part;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engram_tests::clocks::set_clock;
use engram_tests::gateway::Gateway;
use engram_tests::processes::{Cloud, Device, TOKEN, daemon, until};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

const STEPS: usize = 45;

/// So many seeds share processes; each has a project of its own.
const SEEDS_OF_WORLD: u64 = 25;

/// Which seeds are run: `ENGRAM_SCENARIO_SEEDS=FROM-TO` says it, else a few, or a thousand.
fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("ENGRAM_SCENARIO_SEEDS") else {
        return 1..1 + u64::try_from(part(1_000, 3)).expect("a number");
    };
    let (from, to) = text.split_once('-').expect("FROM-TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// Numbers that look random and are the same at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % u64::try_from(sides).expect("sides")).expect("a side")
    }
}

/// Does something on a device; what it has not heard of yet, or nobody has any more, is refused.
fn act(device: &Device, project: &str, ids: &mut Vec<String>, dice: &mut Dice, step: usize) {
    let one = ids.get(dice.roll(ids.len().max(1))).cloned();
    let text = format!("text {step}");
    let answer = match (dice.roll(10), one) {
        (0..=4, Some(id)) => device.ctl(&["update", &id, &text]),
        (5, Some(id)) => device.ctl(&["delete", &id]),
        (6, Some(id)) if step > STEPS / 2 => device.ctl(&["delete", &id, "--hard"]),
        (7, Some(id)) => device.ctl(&["relate", &ids[0], "refines", &id]),
        (8, _) => device.ctl(&["prompt", "--project", project, &text]),
        _ => return ids.push(device.save(project, &format!("title {step}"), &text)),
    };
    assert!([0, 1].contains(&answer.code), "{answer:?}");
}

/// Starts a daemon whose clock is off.
fn start(dir: &Path, off_s: i64) -> Device {
    let clock = dir.with_extension("clock");
    std::fs::create_dir(dir).expect("a directory");
    std::fs::write(&clock, format!("{off_s:+}")).expect("written");
    let mut command = daemon(dir);
    if !set_clock(&mut command, &clock) && off_s > 0 {
        let _ = writeln!(std::io::stderr(), "SKIPPED: clocks that are off: libfaketime is not installed");
    }
    Device::start_by(dir, command)
}

/// What a device wrote about memories: key, hash, the hash it was made over, and the payload.
fn edits(device: &Device, project: &str) -> Vec<(String, String, Option<String>, String)> {
    let sql = "SELECT m.entity_key, m.op, m.payload, j.base FROM sync_mutations m
               LEFT JOIN engramd_journal j ON j.seq = m.seq
               WHERE m.project = ?1 AND m.entity = 'observation' AND (j.void IS NULL OR j.void = 'superseded')";
    let store = queue::store(device);
    let mut statement = store.prepare(sql).expect("a statement");
    let rows = statement.query_map([project], |row| {
        let (key, op, text): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let payload = engram_proto::mutation::payload_text(&text).expect("an object");
        let op = Op::parse(&op).expect("an operation");
        // Of what was deleted for good the journal keeps no text.
        let kept = payload.get("engramd_kept").map(|kept| serde_json::from_value(kept.clone()).expect("a version"));
        let read = || Version::read(Entity::Observation, &key, op, &payload).expect("a version");
        let version: Version = kept.unwrap_or_else(read);
        Ok((key, version.hash().to_string(), row.get(3)?, text))
    });
    rows.expect("rows").collect::<Result<_, _>>().expect("rows")
}

/// Everything that a device has of a memory.
fn books(device: &Device, key: &str) -> String {
    let sql =
        "SELECT m.seq || ' ' || m.op || ' acked ' || coalesce(m.acked_at, '-') || ' void ' || coalesce(j.void, '-')
                   || ' cloud ' || coalesce(j.cloud_seq, '-') || ' over ' || coalesce(j.base, '-') || ' ' || m.payload
               FROM sync_mutations m LEFT JOIN engramd_journal j ON j.seq = m.seq WHERE m.entity_key = ?1
               UNION ALL SELECT 'lost ' || hash || ' ' || payload FROM engramd_conflict WHERE entity_key = ?1
               UNION ALL SELECT 'known ' || head FROM engramd_version WHERE entity_key = ?1";
    let store = queue::store(device);
    let mut statement = store.prepare(sql).expect("a statement");
    let rows = statement.query_map([key], |row| row.get::<_, String>(0)).expect("rows");
    rows.map(|row| row.expect("a row")).fold(format!("\n{}:", device.dir.display()), |all, row| all + "\n  " + &row)
}

/// What a device lists as lost.
fn lost(device: &Device, project: &str) -> BTreeSet<(String, String)> {
    let store = queue::store(device);
    let sql = "SELECT entity_key, hash FROM engramd_conflict WHERE project = ?1";
    let mut statement = store.prepare(sql).expect("a statement");
    let rows = statement.query_map([project], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

/// A server, a gateway, and three devices that seeds use one after the other.
struct World {
    gateway: Gateway,
    devices: [Device; 3],
    _cloud: Cloud,
    _temp: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let cloud = Cloud::start(&temp.path().join("cloud"));
        let gateway = Gateway::start(&cloud.url);
        let devices =
            [("a", 0), ("b", 86_000), ("c", -86_000)].map(|(name, off_s)| start(&temp.path().join(name), off_s));
        for device in &devices {
            let login = device.ctl_with(&["cloud", "login", "--server", &gateway.url, "--token-stdin"], TOKEN);
            assert_eq!(login.code, 0, "{login:?}");
        }
        Self { gateway, devices, _cloud: cloud, _temp: temp }
    }

    /// Everybody works in a storm, in a project of its own; then all must come to agree.
    fn run(&self, seed: u64) {
        let devices = &self.devices;
        let (mut dice, project) = (Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), format!("demo-{seed}"));
        for device in devices {
            let enroll = device.ctl(&["enroll", &project]);
            assert_eq!(enroll.code, 0, "{enroll:?}");
        }
        let mut ids = vec![devices[0].save(&project, "first", "text of the beginning")];
        self.gateway.inside().storm = Some(seed);
        for step in 0..STEPS {
            act(&devices[dice.roll(3)], &project, &mut ids, &mut dice, step);
        }
        self.gateway.inside().storm = None;
        let dumps = || devices.iter().map(|device| device.dump(&project)).collect::<BTreeSet<String>>();
        until(&format!("all are drained and agree, seed {seed}"), || {
            devices.iter().all(|device| device.ctl(&["sync"]).code == 0) && dumps().len() == 1
        });
        for device in devices {
            let report = device.report();
            let findings = report["findings"].as_array().expect("a list");
            assert!(findings.iter().all(|finding| finding["code"] == "clock_skew"), "seed {seed}: {findings:?}");
        }
        self.check_traces(seed, &project);
        // What is over costs the next seed nothing.
        for device in devices {
            assert_eq!(device.ctl(&["unenroll", &project]).code, 0);
        }
        self.gateway.inside().seen.clear();
    }

    fn check_traces(&self, seed: u64, project: &str) {
        let devices = &self.devices;
        let all: Vec<_> = devices.iter().flat_map(|device| edits(device, project)).collect();
        let seen: BTreeSet<(&str, &str)> = all
            .iter()
            .filter_map(|(key, hash, base, _)| Some((key.as_str(), base.as_deref().filter(|b| b != hash)?)))
            .collect();
        let listed: BTreeSet<_> = devices.iter().flat_map(|device| lost(device, project)).collect();
        let ends = ends(&devices[0], project);
        for (key, hash, _, payload) in &all {
            let is_kept = ends.get(key).is_some_and(|ends| ends.contains(hash))
                || seen.contains(&(key, hash))
                || listed.contains(&(key.clone(), hash.clone()));
            let told = || devices.iter().map(|device| books(device, key)).collect::<String>();
            assert!(is_kept, "seed {seed}: lost without a trace: {payload}\nends {:?}{}", ends.get(key), told());
        }
    }

    /// Ends the daemons; the files alone must agree, too.
    fn end(mut self, seeds: std::ops::Range<u64>) {
        self.devices.iter_mut().for_each(|device| assert_eq!(device.daemon.terminate(), Some(0)));
        for seed in seeds {
            let project = format!("demo-{seed}");
            let dumps: BTreeSet<String> = self.devices.iter().map(|device| device.dump(&project)).collect();
            assert!(dumps.len() == 1 && dumps.first().is_some_and(|dump| dump.len() > STEPS), "seed {seed}");
        }
    }
}

/// CONV-1, CONV-6: the dumps are one, to the byte, and whatever was written ends as the version that all show, as one that
/// another was made over, or in a list of conflicts.
#[test]
fn scenario_12_conv_1_conv_6_three_daemons_in_a_storm_agree() {
    let seeds = seeds();
    let mut from = seeds.start;
    while from < seeds.end {
        let to = seeds.end.min(from + SEEDS_OF_WORLD);
        let world = World::start();
        (from..to).for_each(|seed| world.run(seed));
        world.end(from..to);
        from = to;
    }
    println!("{} seeds agree", seeds.end - seeds.start);
}

/// The hashes of what a device ends with.
fn ends(device: &Device, project: &str) -> BTreeMap<String, BTreeSet<String>> {
    let store = queue::store(device);
    let sql = "SELECT entity_key, head FROM engramd_version WHERE project = ?1 AND entity = 'observation'";
    let mut statement = store.prepare(sql).expect("a statement");
    let rows = statement.query_map([project], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).expect("rows");
    let mut ends = BTreeMap::<String, BTreeSet<String>>::new();
    for row in rows {
        let (key, head) = row.expect("a row");
        let version: Version = serde_json::from_str(&head).expect("a version");
        ends.entry(key).or_default().insert(version.hash().to_string());
    }
    ends
}
