//! Daemons that are killed while their clients export and import chunks: at random moments, and at named failpoints.

use crate::course::PROJECT;
use crate::storm::{DEVICE_POINTS, dies, moment, named};
use crate::{Dice, books, child, ledger, rounds};
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engram_tests::processes::{Answer, Device, Process, ctl_in, program};
use engramd::store::Store;
use rusqlite::Connection;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Person {
    device: Device,
    work: PathBuf,
}

impl Person {
    fn chunks(&self, args: &[&str]) -> Answer {
        let args: Vec<&str> = ["chunks"].iter().chain(args).copied().collect();
        ctl_in(&self.device.dir, &self.work, &args)
    }

    /// Runs a command while the daemon is killed; tells whether it was cut off.
    fn cut(&mut self, args: &[&str], dice: &mut Dice) -> bool {
        let mut client = Command::new(program("engramctl"));
        client.env_clear().env("ENGRAM_DATA_DIR", &self.device.dir).current_dir(&self.work).arg("chunks").args(args);
        client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let answer = if dice.below(2) == 0 {
            let client = client.spawn().expect("it starts");
            moment(dice);
            self.device.daemon.kill();
            client.wait_with_output()
        } else {
            let point = DEVICE_POINTS[usize::try_from(dice.below(2)).expect("few")];
            self.device.daemon.kill();
            let mut child = Process::new(child::daemon_with(&self.device.dir, &named(point, dice)));
            let output = client.spawn().expect("it starts").wait_with_output();
            if output.as_ref().is_ok_and(|output| output.status.code() != Some(0)) {
                dies(&mut child);
            }
            child.kill();
            output
        };
        let answer = Answer::of(&answer.expect("it ends"));
        match answer.code {
            0 => {}
            // The one or the other: it was never there, or it ended in the middle.
            4 => {
                let words =
                    ["ended in the middle of it; what was done stays", "no daemon answers", "did not say Hello"];
                assert!(words.iter().any(|words| answer.err.contains(words)), "{answer:?}");
                assert!(answer.err.contains("Run: ") && answer.err.lines().count() == 1, "{answer:?}");
            }
            _ => panic!("{args:?}: {answer:?}"),
        }
        answer.code == 4
    }

    /// Looks at what a killed daemon left: what it says of chunks is in files that are there, and the store is sound.
    fn examine(&self, place: &Path, context: &str) {
        let conn = Connection::open(self.device.dir.join("engram.db")).expect("the store");
        assert_eq!(books::faults(&conn), Vec::<String>::new(), "{context}");
        let sql = "SELECT DISTINCT p.id, c.hash FROM engramd_place_chunk AS p JOIN engramd_chunk AS c USING (chunk)";
        let mut statement = conn.prepare(sql).expect("a statement");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        for (id, hash) in rows.collect::<Result<Vec<(String, String)>, _>>().expect("rows") {
            assert!(hash.starts_with(&id), "{context}: {id} is no name of {hash}");
            assert!(place.join(format!("chunks/{id}.jsonl.gz")).is_file(), "{context}: {id} is not there");
        }
        if let Ok(bytes) = std::fs::read(place.join("manifest.json")) {
            let manifest: Value = serde_json::from_slice(&bytes).expect("no manifest is torn");
            for entry in manifest["chunks"].as_array().expect("a list") {
                let id = entry["id"].as_str().expect("an id");
                assert!(place.join(format!("chunks/{id}.jsonl.gz")).is_file(), "{context}: {id} is listed, not there");
            }
        }
    }

    fn dump(&self) -> String {
        let now = RowTime::parse("2026-11-22 15:00:00").expect("a time");
        let store = Store::open(&self.device.dir.join("engram.db"), now).expect("the store");
        store.canonical_dump(&ProjectName::parse(PROJECT).expect("a name")).expect("a dump")
    }
}

/// DUR-1, chunks.md 5: whatever moment ends a daemon, the same command then ends the work; nothing is lost or doubled.
#[test]
fn dur_1_a_daemon_that_is_killed_in_the_middle_of_chunks_loses_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let work = temp.path().join("work");
    std::fs::create_dir(&work).expect("a directory");
    let person = |name: &str| Person { device: Device::start(&temp.path().join(name)), work: work.clone() };
    let (mut ana, mut bob) = (person("ana"), person("bob"));
    let (place, mut dice) = (work.join(".engram"), Dice::new(11));
    let (mut saved, mut kills, mut cut) = (0, 0, 0);
    for round in 0..8 * rounds() {
        for n in 0..4 {
            let id = ana.device.save(PROJECT, &format!("round {round} {n}"), "a text to export");
            saved += 1;
            if n == 3 {
                assert_eq!(ana.device.ctl(&["update", &id, "--title", &format!("edited {round}")]).code, 0);
            }
        }
        for (person, args) in [(&mut ana, &["export", "--project", PROJECT][..]), (&mut bob, &["import"])] {
            if args == ["import"] && !place.is_dir() {
                continue;
            }
            cut += u64::from(person.cut(args, &mut dice));
            kills += 1;
            person.examine(&place, &format!("kill {kills}, {args:?}"));
            person.device.boot();
            // Every other time the rest is left for later rounds.
            if dice.below(2) == 0 {
                let again = person.chunks(args);
                assert_eq!(again.code, 0, "kill {kills}: {again:?}");
            }
        }
    }
    for _ in 0..2 {
        for (person, args) in [(&ana, &["export", "--project", PROJECT][..]), (&bob, &["import"])] {
            let done = person.chunks(args);
            assert_eq!(done.code, 0, "{done:?}");
        }
    }
    let nothing = ana.chunks(&["export", "--project", PROJECT, "--json"]);
    assert_eq!((nothing.code, &nothing.json()["outcome"]), (0, &"nothing".into()), "{nothing:?}");
    assert_eq!(ana.chunks(&["verify"]).code, 0);
    assert_eq!(bob.dump(), ana.dump());
    assert_eq!(bob.dump().matches("\"entity\":\"observation\"").count(), saved, "0 lost, 0 doubled");
    ledger::add_up("chunks", kills, saved as u64);
    println!("chunks: {kills} kills, {cut} commands cut off, {saved} memories");
}
