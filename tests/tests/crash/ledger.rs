//! What was asked of a device, and what it answered: the measure of what must be there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

/// Every content that a thing may have now; `None` stands for its absence.
type Possible = BTreeSet<Option<String>>;

/// What a device shows: each content of each name.
pub(crate) type Shown = BTreeMap<String, Vec<String>>;

/// A file of lines, and what follows from them.
pub(crate) struct Ledger {
    file: File,
    things: BTreeMap<String, Thing>,
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
}

struct Thing {
    id: Option<String>,
    possible: Possible,
}

impl Ledger {
    pub(crate) fn new(path: &Path) -> Self {
        let file = File::create(path).expect("a file");
        Self { file, things: BTreeMap::new(), answered: 0, unanswered: 0 }
    }

    /// Books an operation that was asked of a thing and would leave this content; `id` where it was answered as done.
    pub(crate) fn book(&mut self, name: &str, content: Option<String>, answer: Option<&str>) {
        let word = if answer.is_some() { "done" } else { "asked" };
        writeln!(self.file, "{word} {name} {content:?}").expect("written");
        let none = || Thing { id: None, possible: Possible::from([None]) };
        let thing = self.things.entry(name.to_owned()).or_insert_with(none);
        match answer {
            Some(id) => {
                self.answered += 1;
                thing.id = Some(id.to_owned());
                thing.possible = Possible::from([content]);
            }
            None => {
                self.unanswered += 1;
                thing.possible.insert(content);
            }
        }
    }

    /// Lists the things of a kind whose identity was told, and that are there for sure: name and identity.
    pub(crate) fn known(&self, kind: &str) -> Vec<(String, String)> {
        let of_kind = self.things.iter().filter(|(name, _)| name.starts_with(kind));
        let there = of_kind.filter(|(_, thing)| !thing.possible.contains(&None));
        there.filter_map(|(name, thing)| Some((name.clone(), thing.id.clone()?))).collect()
    }

    /// Closes the book of one thing: says what it may be.
    pub(crate) fn close(&mut self, name: &str) -> Possible {
        self.things.remove(name).map_or_else(|| Possible::from([None]), |thing| thing.possible)
    }

    /// Compares with what a device shows, and takes out of that what is booked here: everything answered is there,
    /// once, as answered last.
    pub(crate) fn faults(&self, shown: &mut Shown) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, Thing { possible, .. }) in &self.things {
            let now = shown.remove(name).unwrap_or_default();
            let fits = match &now[..] {
                [] => possible.contains(&None),
                [content] => possible.contains(&Some(content.clone())),
                _ => false,
            };
            if !fits {
                faults.push(format!("{name}: may be {possible:?}, is {now:?}"));
            }
        }
        faults
    }
}

/// Adds two lines to the ledger of all storms, where one is kept; it has the form of `benches/ledger.tsv`.
///
/// What was lost or doubled has ended the storm before.
pub(crate) fn add_up(what: &str, kills: u64, answered: u64) {
    let Some(path) = std::env::var_os("ENGRAM_CRASH_LEDGER") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
    let today = engramd::clock::row_time().to_string()[..10].to_owned();
    let lines = format!("{today}\tkills {what}\t{kills}\t0\t0\n{today}\tanswered {what}\t{answered}\t0\t0\n");
    file.write_all(lines.as_bytes()).expect("written");
}
