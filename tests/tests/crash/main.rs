//! Does a crash lose anything? Stores whose disk stops, fails, fills up or loses power at every step, and real
//! processes under `kill -9` (verification.md).
//!
//! There are no hooks in the programs. What is durable goes through SQLite, and SQLite asks its file system for each
//! step: [`engram_tests::disk`] stands there; for the few files beside it `calls` asks the same. So the named
//! failpoints are the durable steps themselves (`FILE STEP N before|after`), in this process for the sweeps, and in a child that
//! links the same library (`child`) for the storms.
//!
//! `ENGRAM_CRASH_ROUNDS` multiplies what runs here (1 in continuous integration); `ENGRAM_CRASH_SEED` gives another
//! course; `ENGRAM_CRASH_STEP` shows the one step of a sweep that failed; `ENGRAM_CRASH_LEDGER` names a
//! file that every storm adds two lines of counts to.

mod books;
mod broken;
#[cfg(target_os = "linux")]
mod calls;
mod child;
mod chunk_course;
mod chunk_kills;
mod closed;
mod course;
mod ledger;
mod migration;
mod plain;
mod script;
mod server_disk;
mod storm;
mod storms;
mod sweeps;

/// How many times more than in continuous integration.
fn rounds() -> u64 {
    std::env::var("ENGRAM_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The one step that a sweep looks at, where a failure is to be seen again.
fn one_step() -> Option<u64> {
    std::env::var("ENGRAM_CRASH_STEP").ok()?.parse().ok()
}

/// A course of random numbers that a seed decides.
struct Dice(u64);

impl Dice {
    /// Starts one; `ENGRAM_CRASH_SEED` gives all of them another course.
    fn new(seed: u64) -> Self {
        let other = std::env::var("ENGRAM_CRASH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
        Self(
            0x9E37_79B9_7F4A_7C15
                ^ seed.wrapping_mul(0xD134_2543_DE82_EF95)
                ^ other.wrapping_mul(0xA24B_AED4_963E_E407),
        )
    }

    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }
}
