//! How much memory the client and the daemon need for a manifest, whatever stands in it (chunks.md 6).

use crate::harness::{Person, lay_fixture};
use engram_tests::processes::program;
use std::io::Write as _;
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

/// Packs one part, which is repeated so many times without being packed again.
fn packed(parts: &[(&[u8], usize)]) -> Vec<u8> {
    let mut all = Vec::new();
    for &(part, times) in parts {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(part).expect("packed");
        all.extend(gz.finish().expect("packed").repeat(times));
    }
    all
}

#[test]
fn nothing_that_a_newer_program_put_into_a_chunk_takes_more_memory() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    // Each with some noise: what unpacks to much more than its size is refused for that.
    let noisy = |text: &[u8], noise: &[u8; 4]| {
        let mut dice = 1_u64;
        let noise = (0..32 << 10).map(|_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise[usize::try_from(dice >> 62).expect("two bits")]
        });
        text.repeat((1 << 20) / text.len()).into_iter().chain(noise).collect::<Vec<u8>>()
    };
    let (deep, objects) = (noisy(b"[", b" \n\t\r"), noisy(br#"{"a":"#, b" \n\t\r"));
    let (text, values) = (noisy(b"a", b"bcde"), noisy(br#"[{"a":"b"},1],"#, b" \n\t\r"));
    for (what, parts, words) in [
        ("lists in lists", [(&br#"{"x":"#[..], 1), (&deep, 100), (b"", 0)], "recursion limit"),
        ("objects in objects", [(br#"{"x":"#, 1), (&objects, 100), (b"", 0)], "recursion limit"),
        ("one text", [(br#"{"x":""#, 1), (&text, 100), (br#""}"#, 1)], "larger than"),
        ("many values", [(br#"{"sessions":[],"x":["#, 1), (&values, 20), (b"0]}", 1)], "has the hash"),
    ] {
        let path = ana.place().join("chunks/0000000e.jsonl.gz");
        std::fs::create_dir_all(path.parent().expect("above")).expect("a directory");
        std::fs::write(path, packed(&parts)).expect("written");
        for args in [&["verify"][..], &["import"]] {
            let (code, said, peak_kib) = measured(&ana, args);
            assert!(code == 5 && said.contains(words), "{what}, {args:?}: {code} {said}");
            assert!(peak_kib < PEAK_KIB, "{what}, {args:?}: {peak_kib} KiB");
        }
    }
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
