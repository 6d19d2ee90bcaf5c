//! What was measured: a table for people, a page that grows, and a ledger of what must stay zero.

use crate::stopwatch::today;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// One row of the table.
pub(crate) struct Line {
    id: &'static str,
    what: String,
    measured: String,
    goal: &'static str,
}

impl Line {
    /// Makes one; `goal` is what performance asks for at least.
    pub(crate) fn new(
        id: &'static str,
        what: impl Into<String>,
        measured: impl Into<String>,
        goal: &'static str,
    ) -> Self {
        Self { id, what: what.into(), measured: measured.into(), goal }
    }
}

/// What a count of the ledger says: of `count` things so many were lost, and so many came twice.
pub(crate) struct Counted {
    /// What is counted, on which store.
    pub(crate) what: String,
    /// How many there were.
    pub(crate) count: u64,
    /// How many never came.
    pub(crate) lost: u64,
    /// How many came again.
    pub(crate) doubled: u64,
}

/// Everything of one run.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
    counted: Vec<Counted>,
}

impl Report {
    /// Adds a row, and shows that something was done.
    pub(crate) fn add(&mut self, line: Line) {
        eprintln!("{}: {}: {}", line.id, line.what, line.measured);
        self.lines.push(line);
    }

    /// Adds to the ledger.
    pub(crate) fn count(&mut self, counted: Counted) {
        self.counted.push(counted);
    }

    /// Tells whether something was lost or came twice.
    pub(crate) fn failed(&self) -> bool {
        self.counted.iter().any(|counted| counted.lost + counted.doubled > 0)
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        print!("{}", self.table());
    }

    fn table(&self) -> String {
        let mut text = String::from("| | What | Measured | At least |\n|---|---|---|---|\n");
        for Line { id, what, measured, goal } in &self.lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {id} | {what} | {measured} | {goal} |");
        }
        text
    }

    /// Appends to `results.md` and `ledger.tsv`, and prints what the ledger adds up to.
    pub(crate) fn keep(&self, dir: &Path) -> io::Result<()> {
        let results = dir.join("results.md");
        let mut text = std::fs::read_to_string(&results)?;
        let _ = write!(text, "\n## {}\n\n{}", today(), self.table());
        std::fs::write(&results, text)?;
        if self.counted.is_empty() {
            return Ok(());
        }
        let ledger = dir.join("ledger.tsv");
        let mut text = std::fs::read_to_string(&ledger)?;
        for Counted { what, count, lost, doubled } in &self.counted {
            let _ = writeln!(text, "{}\t{what}\t{count}\t{lost}\t{doubled}", today());
        }
        std::fs::write(&ledger, &text)?;
        println!("{}", sums(&text));
        Ok(())
    }
}

/// Adds the ledger up.
fn sums(ledger: &str) -> String {
    let rows = ledger.lines().skip(1).map(|line| line.split('\t').skip(2).map(|field| field.parse().unwrap_or(0)));
    let mut sums = [0_u64; 3];
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    format!("ledger: {} rows so far, {} lost, {} doubled", sums[0], sums[1], sums[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_adds_up() {
        let text = "date\twhat\tcount\tlost\tdoubled\n2026-11-27\ta\t10\t0\t1\n2026-11-28\tb\t5\t2\t0\n";
        assert_eq!(sums(text), "ledger: 15 rows so far, 2 lost, 1 doubled");
    }
}
