//! How much memory the client and the daemon need for a manifest, a directory and a chunk, whatever stands in them
//! (chunks.md 6).

use crate::harness::{Person, lay_chunk, lay_fixture, lay_names, lay_packed};
use engram_tests::processes::program;
use std::io::Write as _;
use std::process::Command;

/// Neither program needs more, in KiB, besides the bytes of a chunk's file, of which the client reads one into memory.
const PEAK_KIB: u64 = 64 << 10;

/// More takes a row as large as it may be, of which the daemon has several forms at a time while the next one comes.
const LARGE_ROWS_KIB: u64 = 192 << 10;

/// So does a directory of as many broken chunks as there may be, each of which the client names.
const NAMES_KIB: u64 = 128 << 10;

/// A chunk's file is no larger, in bytes.
const CHUNK_BYTES_MAX: u64 = 64 << 20;

/// What is run where all of it is tried.
const ALL: [&[&str]; 4] = [&["verify"], &["import"], &["status", "--all"], &["export", "--all"]];

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

/// Some text of these four bytes: what unpacks to much more than its size is refused for that.
fn noise(of: &[u8; 4]) -> Vec<u8> {
    let mut dice = 1_u64;
    let noise = (0..32 << 10).map(|_| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        of[usize::try_from(dice >> 62).expect("two bits")]
    });
    noise.collect()
}

/// One session with these memories; each has its number as its title.
fn chunk(contents: impl Iterator<Item = String>) -> String {
    let at = "2026-11-22 10:00:00";
    let memories = contents.enumerate().map(|(n, content)| {
        format!(
            r#"{{"sync_id":"obs-{n}","session_id":"s","type":"note","title":"{n}","content":"{content}","project":"app","scope":"project","created_at":"{at}","updated_at":"{at}"}}"#
        )
    });
    let memories: Vec<String> = memories.collect();
    format!(
        r#"{{"sessions":[{{"id":"s","project":"app","directory":"/d","started_at":"{at}"}}],"observations":[{}]}}"#,
        memories.join(",")
    )
}

/// Runs commands on what lies there: each ends with exit code 5 and names what is not as it should be, and neither client
/// nor daemon needs more memory than this, in KiB.
fn need(person: &Person, what: &str, (commands, words): (&[&[&str]], &str), (client_kib, daemon_kib_max): (u64, u64)) {
    for args in commands {
        let (code, said, peak_kib) = measured(person, args);
        assert!(code == 5 && said.contains(words), "{what}, {args:?}: {code} {}", &said[..said.len().min(1_000)]);
        assert!(peak_kib < client_kib, "{what}, {args:?}: {peak_kib} KiB");
    }
    let peak_kib = daemon_kib(person);
    assert!(peak_kib < daemon_kib_max, "{what}, the daemon: {peak_kib} KiB");
}

#[test]
fn no_bomb_of_rows_takes_more_memory() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let _ = ana.device.save("app", "mine", "to be exported");
    let path = ana.place().join("chunks/0000000e.jsonl.gz");
    std::fs::create_dir_all(path.parent().expect("above")).expect("a directory");
    let same = format!(r#"{{"title":"{}"}},"#, "the same again ".repeat(100)).repeat(700);
    std::fs::write(&path, packed(&[(&br#"{"observations":["#[..], 1), (same.as_bytes(), 200)])).expect("written");
    need(&ana, "the same row", (&ALL, "far more than its size"), (PEAK_KIB, PEAK_KIB));
    std::fs::remove_file(path).expect("removed");
    // Rows that are none, each of which is held.
    let _ = lay_chunk(&ana.place(), format!(r#"{{"sessions":[{}{{}}]}}"#, "{},".repeat(10_000)).as_bytes());
    need(&ana, "rows that are none", (&[&["import"]], "held"), (PEAK_KIB, PEAK_KIB));
    // As large as a row may be, and as many of them as make a large chunk.
    let content = [&b"text ".repeat((6 << 20) / 5 - (8 << 10))[..], &noise(b"abcd")].concat();
    let content = String::from_utf8(content).expect("a text");
    let _ = lay_chunk(&ana.place(), chunk((0..5).map(|n| format!("{n} {content}"))).as_bytes());
    need(&ana, "large rows", (&[&["import"]], "held"), (PEAK_KIB, LARGE_ROWS_KIB));
    assert_eq!(ana.one::<i64>("SELECT count(*) FROM observations"), 1 + 5);
}

#[test]
fn a_chunk_as_large_as_may_be_takes_its_own_size_once() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let count = (64 << 10) / 65;
    let text = chunk((0..count).map(|_| "text ".repeat((64 << 10) / 5)));
    let id = lay_packed(&ana.place(), text.as_bytes(), flate2::Compression::none());
    let size = ana.place().join(format!("chunks/{id}.jsonl.gz")).metadata().expect("a file").len();
    assert!((CHUNK_BYTES_MAX - (1 << 20)..=CHUNK_BYTES_MAX).contains(&size), "{size}");
    // So that there is something to be named.
    std::fs::write(ana.place().join("chunks/00000001.jsonl.gz"), "none").expect("written");
    need(&ana, "a large chunk", (&[&["import"]], "00000001"), (size / 1_024 + PEAK_KIB, PEAK_KIB));
    assert_eq!(ana.one::<i64>("SELECT count(*) FROM observations"), count);
}

#[test]
fn as_many_broken_chunks_as_may_be_take_no_more_memory() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let _ = ana.device.save("app", "mine", "to be exported");
    // With the two that every directory has, and the one that the export makes.
    lay_names(&ana.place(), (0..200_000 - 3).map(|n| format!("{n:08x}.jsonl.gz")));
    need(&ana, "names", (&ALL, "00000001"), (NAMES_KIB, PEAK_KIB));
    let listed = std::fs::read_to_string(ana.place().join("manifest.json")).expect("a manifest");
    assert_eq!(listed.matches("\"id\"").count(), 1, "what cannot be read is not listed: {listed}");
}

#[test]
fn nothing_that_a_newer_program_put_into_a_chunk_takes_more_memory() {
    let temp = tempfile::tempdir().expect("a directory");
    let ana = Person::new(temp.path(), "ana");
    let noisy = |text: &[u8], of: &[u8; 4]| [text.repeat((1 << 20) / text.len()), noise(of)].concat();
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
