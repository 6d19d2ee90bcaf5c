//! Measures, prints a table, and keeps what was measured: `make bench`.
//!
//! Machines differ, so a figure is set against another of the same run; what must be zero is counted and adds up over
//! runs in the ledger.

mod apply;
mod chunks;
mod history;
mod lock;
mod memory;
mod order;
mod pull;
mod report;
mod socket;
mod stopwatch;
mod tally;
mod unsafe_writer;

use clap::{Parser, ValueEnum};
use report::{Line, Report};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures and keeps the results in benches/results.md and benches/ledger.tsv.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything without it.
    #[arg(value_enum)]
    only: Vec<Bench>,
    /// Rows of R1, both stores together.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Pushers of R1.
    #[arg(long, default_value_t = 64)]
    pushers: u64,
    /// Tailing readers of R1.
    #[arg(long, default_value_t = 16)]
    readers: usize,
    /// Rows of the memory bench, pending and deferred each.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    /// Rows of the history that is pulled.
    #[arg(long, default_value_t = 20_000)]
    history: u64,
    /// Chunks of each directory of the chunk bench.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000])]
    chunks: Vec<usize>,
    /// Prints only; keeps nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where results are kept.
    #[arg(long, default_value = "benches")]
    dir: PathBuf,
}

/// One subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Rows lost, pushers against tailing readers, on both stores.
    R1,
    /// What other processes feel of the daemon's writes while it pulls.
    Own3,
    /// Applying pulled rows, and searching meanwhile.
    Apply,
    /// Pulling over HTTP, and asking for the status meanwhile.
    Pull,
    /// The daemon's memory with a backlog.
    Memory,
    /// What imports and exports of chunks cost, by how many there are.
    Chunks,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wanted = |bench| arguments.only.is_empty() || arguments.only.contains(&bench);
    let mut report = Report::default();
    if wanted(Bench::R1) {
        order::bench(&mut report, arguments.rows, arguments.pushers, arguments.readers).await;
    }
    if wanted(Bench::Own3) {
        lock::bench(&mut report, arguments.history).await;
    }
    if wanted(Bench::Apply) {
        apply::bench(&mut report).await;
    }
    if wanted(Bench::Pull) {
        pull::bench(&mut report, arguments.history).await;
    }
    if wanted(Bench::Memory) {
        memory::bench(&mut report, arguments.backlog).await;
    }
    if wanted(Bench::Chunks) {
        chunks::bench(&mut report, &arguments.chunks);
    }
    report.add(Line::new("machine", "what it was measured on", stopwatch::machine(), ""));
    report.print();
    if !arguments.dry_run
        && let Err(error) = report.keep(&arguments.dir)
    {
        eprintln!("cannot keep the results in {}: {error}; run it from the project's root", arguments.dir.display());
        return ExitCode::FAILURE;
    }
    if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
