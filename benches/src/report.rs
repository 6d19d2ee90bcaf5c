//! What was measured: a table for people, a page that grows, and a ledger of what must stay zero.

use crate::stopwatch::today;
use std::collections::BTreeMap;
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

/// Adds the ledger up, by the first word of what was counted: rows of R1, kills of the crash suite, its answered writes.
fn sums(ledger: &str) -> String {
    let mut sums = BTreeMap::<&str, [u64; 3]>::new();
    for row in ledger.lines().skip(1) {
        let mut fields = row.split('\t').skip(1);
        let Some(what) = fields.next().and_then(|what| what.split(' ').next()) else { continue };
        for (sum, field) in sums.entry(what).or_default().iter_mut().zip(fields) {
            *sum += field.parse::<u64>().unwrap_or(0);
        }
    }
    let told =
        |(what, [count, lost, doubled]): (&str, [u64; 3])| format!("{what} {count}, {lost} lost, {doubled} doubled");
    format!("ledger: {}", sums.into_iter().map(told).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_adds_up() {
        let text = "date\twhat\tcount\tlost\tdoubled\n2026-11-27\tR1 a\t10\t0\t1\n2026-11-28\tR1 b\t5\t2\t0\n\
                    2026-11-28\tkills a\t7\t0\t0\n";
        assert_eq!(sums(text), "ledger: R1 15, 2 lost, 1 doubled; kills 7, 0 lost, 0 doubled");
    }
}
