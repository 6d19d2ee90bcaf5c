//! The corpora of `fuzz/corpus`, and a few thousand mutations of them, as ordinary tests: no crash, no hang, no growth.
//!
//! `ENGRAM_FUZZ_ROUNDS` multiplies the mutations, `ENGRAM_FUZZ_SEED` gives others.

use engram_tests::fuzz;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Mutations of all corpora together.
const MUTATIONS: u64 = 4_000;
/// No input may take more of the processor.
const BUSY_MS_MAX: i64 = 5_000;
/// So much of an input that failed is shown.
const SHOWN_BYTES: usize = 2_000;
/// Nor may all of them need more memory than this on top.
const GROWTH_KIB_MAX: u64 = 64 << 10;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).expect("64 bits") % end.max(1)
    }
}

/// What breaks readers: ends of numbers, of strings, of UTF-8, depth.
const PIECES: &[&[u8]] = &[
    b"\0",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"-1",
    b"1e309",
    b"18446744073709551615",
    b"9223372036854775808",
    b"null",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
    b"]",
    b"}",
    b"'",
    b"*",
    b" OR ",
    b"\xf0\x9f\x98\x80",
    b"\xe2\x80\x8b",
    b"\n",
    b"9999-99-99 99:99:99",
    b"\xff\xff\xff\xff",
];

fn mutated(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(input.len() + 1);
        match dice.below(6) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 => input.truncate(at),
            2 => {
                let piece = PIECES[dice.below(PIECES.len())];
                input.splice(at..at, piece.iter().copied());
            }
            3 => {
                let end = (at + dice.below(16)).min(input.len());
                let piece = PIECES[dice.below(PIECES.len())];
                input.splice(at..end, piece.iter().copied());
            }
            4 => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let end = (at + dice.below(64)).min(input.len());
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
        }
    }
    input
}

/// The most memory that this process ever had, in KiB; zero where the system does not tell.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0)
}

/// The processor time that this process took so far, in milliseconds.
fn busy_ms() -> i64 {
    let busy = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    busy.tv_sec * 1_000 + busy.tv_nsec / 1_000_000
}

fn timed(name: &str, input: &[u8]) {
    let began_ms = busy_ms();
    let ran = std::panic::catch_unwind(|| fuzz::run(name, input));
    let took_ms = busy_ms() - began_ms;
    let shown =
        || input.iter().take(SHOWN_BYTES).flat_map(|byte| byte.escape_ascii()).map(char::from).collect::<String>();
    assert!(ran.is_ok(), "{name} failed for {}", shown());
    assert!(took_ms < BUSY_MS_MAX, "{name} took {took_ms} ms for {}", shown());
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The versions of every package in a lock file.
fn locked(path: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut versions = BTreeMap::<_, BTreeSet<_>>::new();
    let (text, mut name) = (read(path), String::new());
    for (key, value) in text.lines().filter_map(|line| line.split_once(" = ")) {
        match key {
            "name" => value.clone_into(&mut name),
            "version" => drop(versions.entry(name.clone()).or_default().insert(value.to_owned())),
            _ => {}
        }
    }
    versions
}

/// `fuzz/` is a workspace of its own, which nothing else builds.
#[test]
fn every_target_has_its_program_and_runs_what_we_build() {
    let manifest = read("fuzz/Cargo.toml");
    for (name, _) in fuzz::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no {name}");
        assert!(read(&format!("fuzz/fuzz_targets/{name}.rs")).contains(&format!("run(\"{name}\", input)")), "{name}");
    }
    let ours = locked("Cargo.lock");
    for (name, versions) in locked("fuzz/Cargo.lock") {
        let same = ours.get(&name).is_none_or(|ours| versions.is_subset(ours));
        assert!(
            same,
            "{name} {versions:?}: copy Cargo.lock to fuzz/, then `cargo metadata --manifest-path fuzz/Cargo.toml`"
        );
    }
}

#[test]
fn no_input_crashes_hangs_or_fills_the_memory() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let all: Vec<(&str, Vec<Vec<u8>>)> = fuzz::TARGETS
        .iter()
        .map(|(name, _)| {
            let files = std::fs::read_dir(corpora.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
            paths.sort();
            (*name, paths.iter().map(|path| std::fs::read(path).expect("a file")).collect::<Vec<_>>())
        })
        .collect();
    let before_kib = peak_kib();
    let mutations = MUTATIONS * number("ENGRAM_FUZZ_ROUNDS", 1) / all.len() as u64;
    let seed = number("ENGRAM_FUZZ_SEED", 1);
    // Each target has a thread, so that what one breaks stands in no other's way, and all that fail are named.
    let passes = |(name, corpus): &(&str, Vec<Vec<u8>>)| {
        assert!(corpus.len() >= 3, "{name} has a corpus of {}", corpus.len());
        corpus.iter().for_each(|input| timed(name, input));
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ seed.wrapping_mul(0xD134_2543_DE82_EF95));
        (0..mutations).for_each(|_| timed(name, &mutated(corpus, &mut dice)));
    };
    let fails = |one| std::thread::scope(|scope| scope.spawn(|| passes(one)).join().is_err());
    let failed: Vec<&str> = all.iter().filter(|one| fails(one)).map(|(name, _)| *name).collect();
    assert!(failed.is_empty(), "{failed:?} failed");
    let grown_kib = peak_kib() - before_kib;
    assert!(grown_kib < GROWTH_KIB_MAX, "{grown_kib} KiB more than before");
}
