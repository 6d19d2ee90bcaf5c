//! Do the laws hold under any schedule? The real machine and the real store under virtual time and every fault.
//!
//! `ENGRAM_SIM_SECONDS` is how long new seeds are tried, `ENGRAM_SIM_SEEDS` a range that is run in their place, such as
//! `0-10000`, `ENGRAM_SIM_KIND` which of them (`plain`, `shared`, `clouds`, `go`), and `ENGRAM_SIM_PLAN` a plan to run alone,
//! with its tape, which ends with what the devices' books say of the key in `ENGRAM_SIM_KEY`.

use engram_tests::sim::{Kind, Plan, run, run_about, run_without_forgetting};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Runs take many small pieces of memory; linked like this, SQLite takes its own from here too.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds that every build runs.
const FIXED_SEEDS: std::ops::Range<u64> = 0..48;

/// Steps before the calm.
const STEPS: u32 = 120;

/// How long new seeds are tried where nothing else is said, in seconds.
const SECONDS: u64 = 5;

/// Runs that may be spent on making a failing plan small.
const SHRINK_RUNS: usize = 400;

fn found_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim-found.txt")
}

fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Runs a plan; one that fails is made small, kept, and told.
fn hold(plan: Plan) {
    let Err(first) = run(&plan).result else { return };
    eprintln!("seed {} fails: {first}\nit is being made smaller", plan.seed);
    let law = |text: &str| text.split([':', '\n']).next().map(str::to_owned);
    // The same law: another fault on the way is another plan's.
    let small = plan.shrunk(SHRINK_RUNS, |smaller| run(smaller).result.is_err_and(|told| law(&told) == law(&first)));
    let ended = run(&small);
    let told = ended.result.err().unwrap_or_default();
    let kept = std::fs::OpenOptions::new().append(true).open(found_file());
    let line = format!("{small} # not explained yet: {}\n", told.lines().next().unwrap_or_default());
    let kept = kept.and_then(|mut file| file.write_all(line.as_bytes()));
    let where_ = if kept.is_ok() { "kept in" } else { "to be added to" };
    let tape = ended.tape.join("\n");
    panic!("{told}\n\nthe tape:\n{tape}\n\nthe plan, {where_} {}:\n{small}", found_file().display());
}

/// ACK-1, ACK-2, CUR-1, CONV-4, SCOPE-1 and OWN-2 after every event; CONV-1, liveness (REC-1) and latency in the calm.
#[test]
fn ack_1_ack_2_cur_1_conv_1_conv_4_own_2_scope_1_rec_1_hold_under_any_schedule() {
    if let Some(plan) = given("ENGRAM_SIM_PLAN") {
        let key = given("ENGRAM_SIM_KEY");
        let ended = run_about(&plan.parse().expect("ENGRAM_SIM_PLAN is a plan"), key.as_deref());
        eprintln!("{}\n{:?}", ended.tape.join("\n"), ended.result);
        return;
    }
    FIXED_SEEDS.for_each(|seed| hold(Plan::whole(seed, STEPS)));
}

/// What was found once is run again by every build.
#[test]
fn what_was_found_stays_mended() {
    let found = std::fs::read_to_string(found_file()).expect("the file");
    for line in found.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let (plan, what) = line.split_once('#').expect("a plan and what it found");
        let parsed: Plan = plan.parse().expect("a plan");
        for run in [run, run_without_forgetting] {
            assert_eq!(run(&parsed).result, Ok(()), "{plan} is back: {what}");
        }
    }
}

/// New seeds, as many as the time allows; the first is printed.
#[test]
#[expect(clippy::disallowed_methods, reason = "a budget of time")]
fn new_schedules_hold_too() {
    let number = |text: &str| text.trim().parse::<u64>().expect("a number");
    let began = Instant::now();
    let (first, end, budget) = match given("ENGRAM_SIM_SEEDS") {
        Some(range) => {
            let (first, end) = range.split_once('-').unwrap_or((&range, ""));
            (number(first), if end.is_empty() { number(first) + 1 } else { number(end) }, Duration::MAX)
        }
        None => {
            let first = u64::from(rand::random::<u32>()) << 16;
            (first, u64::MAX, Duration::from_secs(given("ENGRAM_SIM_SECONDS").map_or(SECONDS, |text| number(&text))))
        }
    };
    let wanted = given("ENGRAM_SIM_KIND");
    let mut seed = first;
    while seed < end && began.elapsed() < budget {
        let is_wanted = match &wanted {
            Some(kind) => format!("{:?}", Kind::of(seed)).eq_ignore_ascii_case(kind),
            None => true,
        };
        if is_wanted {
            hold(Plan::whole(seed, STEPS));
        }
        seed += 1;
    }
    eprintln!("ENGRAM_SIM_SEEDS={first}-{seed}: {} seeds in {:?}", seed - first, began.elapsed());
}

/// The same plan writes the same tape, in every kind of world: a failure can be looked at again.
#[test]
fn the_same_plan_is_the_same_run() {
    let mut kinds = Vec::new();
    for seed in 0..20 {
        let plan = Plan::whole(seed, STEPS);
        assert_eq!(run(&plan).tape, run(&plan).tape, "seed {seed}, {:?}", Kind::of(seed));
        kinds.push(Kind::of(seed));
    }
    assert!([Kind::Plain, Kind::Shared, Kind::Clouds, Kind::Go].iter().all(|kind| kinds.contains(kind)));
}
