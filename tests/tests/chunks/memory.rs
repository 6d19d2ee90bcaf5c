//! How much memory the client and the daemon need for a manifest, whatever stands in it (chunks.md 6).

use crate::harness::{Person, lay_fixture};
use engram_tests::processes::program;
use std::process::Command;

/// Neither program needs more for a directory of three chunks, in KiB.
const PEAK_KIB: u64 = 64 << 10;

/// A manifest is no larger.
const BYTES_MAX: usize = 16 << 20;

/// Runs the client, and returns its code, what it said, and the most memory that it ever had, in KiB.
fn measured(person: &Person, args: &[&str]) -> (i64, String, u64) {
    let script = "import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({'code': done.returncode, 'said': done.stdout.decode()[:100000], 'peak_kib': peak}))";
    let mut python = Command::new("python3");
    python
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("ENGRAM_DATA_DIR", &person.device.dir)
        .current_dir(&person.work);
    let output =
        python.args(["-c", script]).arg(program("engramctl")).arg("chunks").args(args).output().expect("it runs");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
    let said = found["said"].as_str().expect("a text").to_owned();
    (found["code"].as_i64().expect("a code"), said, found["peak_kib"].as_u64().expect("a number"))
}

/// The most memory that the daemon ever had, in KiB; zero where the system does not tell.
fn daemon_kib(person: &Person) -> u64 {
    let path = format!("/proc/{}/status", person.device.daemon.pid());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0)
}

/// Entries with nothing but an id, as many as there is room for.
fn short(count: usize) -> String {
    let entries: Vec<String> = (0..count).map(|n| format!(r#"{{"id":"{n:08x}"}}"#)).collect();
    format!(r#"{{"version":1,"chunks":[{}]}}"#, entries.join(","))
}

/// A manifest in the form that both programs write, as long as it may be.
fn long() -> String {
    let entry = |n: usize| {
        format!(
            "    {{\n      \"id\": \"{n:08x}\",\n      \"created_by\": \"ana\",\n      \"created_at\": \"2026-11-22T14:00:01Z\",\n      \"sessions\": 1,\n      \"memories\": 1,\n      \"prompts\": 1\n    }}"
        )
    };
    let count = BYTES_MAX / (entry(0).len() + 2) - 1;
    let entries: Vec<String> = (0..count).map(entry).collect();
    format!("{{\n  \"version\": 1,\n  \"chunks\": [\n{}\n  ]\n}}", entries.join(",\n"))
}

fn marked(text: &str) -> String {
    let middle = text.match_indices('\n').nth(400_000).map_or(0, |(at, _)| at + 1);
    let (ours, rest) = text.split_at(middle);
    let (one, theirs) = rest.split_at(rest.find('\n').map_or(0, |at| at + 1));
    format!("{ours}<<<<<<< HEAD\n{one}=======\n{one}>>>>>>> theirs\n{theirs}")
}

#[test]
fn no_manifest_takes_more_memory_than_there_is_for_it() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    lay_fixture(&ana.work);
    let path = ana.place().join("manifest.json");
    for (what, text, words) in [
        ("nine hundred thousand entries", short(900_000), "more than 100000 chunks"),
        ("a million entries", short(1_000_000), "larger than"),
        ("as many as there may be", short(100_000), "its file is missing"),
        ("as long as it may be", long(), "its file is missing"),
        ("as long, with marks of a conflict", marked(&long()), "its file is missing"),
        ("as many that are none", short(100_000).replace("\"id\":\"", "\"id\":\"../"), "no id of a chunk"),
        ("empty lines", "\n".repeat(BYTES_MAX), "EOF"),
        (
            "one id",
            format!(r#"{{"version":1,"chunks":[{{"id":"{}"}}]}}"#, "a/".repeat(BYTES_MAX / 2 - 40)),
            "no id of a chunk",
        ),
        ("a word for a version", format!(r#"{{"version":"{}"}}"#, "a".repeat(BYTES_MAX - 40)), "invalid type"),
    ] {
        std::fs::write(&path, text).expect("written");
        for args in [&["verify"][..], &["import", "--json"], &["export", "--all"]] {
            let (code, said, peak_kib) = measured(&ana, args);
            assert!(peak_kib < PEAK_KIB, "{what}, {args:?}: {peak_kib} KiB");
            // An export makes again what nobody can read, and only says of what was listed what is missing.
            let is_said = said.contains(words) || args[0] == "export";
            assert!([0, 5].contains(&code) && is_said, "{what}, {args:?}: {code} {said}");
            assert!(args.contains(&"--json") || said.len() < 10_000, "{what}, {args:?}: {said}");
        }
        let made: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).expect("a manifest")).expect("whole");
        assert_eq!(made["chunks"].as_array().map(Vec::len), Some(3), "{what}: it was made again");
    }
    let peak_kib = daemon_kib(&ana);
    assert!(peak_kib < PEAK_KIB, "the daemon: {peak_kib} KiB");
}
