//! See `engram_tests::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engram_tests::fuzz::run("chunk", input));
