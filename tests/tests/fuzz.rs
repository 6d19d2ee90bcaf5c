//! The corpora of `fuzz/corpus`, and a few thousand mutations of them, as ordinary tests: no crash, no hang, no growth.
//!
//! `ENGRAM_FUZZ_ROUNDS` multiplies the mutations, `ENGRAM_FUZZ_SEED` gives others.

use engram_tests::fuzz;
use std::path::Path;

/// Mutations of all corpora together.
const MUTATIONS: u64 = 4_000;
/// No input may take longer.
const MS_MAX: u128 = 5_000;
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

#[expect(clippy::disallowed_methods, reason = "an end for a hang")]
fn timed(name: &str, input: &[u8]) {
    let began = std::time::Instant::now();
    fuzz::run(name, input);
    let took = began.elapsed().as_millis();
    assert!(took < MS_MAX, "{name} took {took} ms for {}", String::from_utf8_lossy(input));
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
    for (name, corpus) in &all {
        assert!(corpus.len() >= 3, "{name} has a corpus of {}", corpus.len());
        corpus.iter().for_each(|input| timed(name, input));
    }
    let before_kib = peak_kib();
    let mutations = MUTATIONS * number("ENGRAM_FUZZ_ROUNDS", 1) / all.len() as u64;
    for (name, corpus) in &all {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ number("ENGRAM_FUZZ_SEED", 1).wrapping_mul(0xD134_2543_DE82_EF95));
        for _ in 0..mutations {
            timed(name, &mutated(corpus, &mut dice));
        }
    }
    let grown_kib = peak_kib() - before_kib;
    assert!(grown_kib < GROWTH_KIB_MAX, "{grown_kib} KiB more than before");
}
