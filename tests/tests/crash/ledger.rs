//! What was asked of a device, and what it answered: the measure of what must be there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// Every content that a memory may have now; `None` stands for its absence.
type Possible = BTreeSet<Option<String>>;

/// A file of lines, and what follows from them.
pub(crate) struct Ledger {
    file: File,
    memories: BTreeMap<String, Memory>,
    pub(crate) answered: u64,
    pub(crate) unanswered: u64,
}

#[derive(Default)]
struct Memory {
    id: Option<String>,
    possible: Possible,
}

impl Ledger {
    pub(crate) fn new(path: &Path) -> Self {
        let file = File::create(path).expect("a file");
        Self { file, memories: BTreeMap::new(), answered: 0, unanswered: 0 }
    }

    /// Books an operation that was asked of a memory and would leave this content; `id` where it was answered as done.
    pub(crate) fn book(&mut self, title: &str, content: Option<String>, answer: Option<&str>) {
        let word = if answer.is_some() { "done" } else { "asked" };
        writeln!(self.file, "{word} {title} {content:?}").expect("written");
        let memory = self
            .memories
            .entry(title.to_owned())
            .or_insert_with(|| Memory { possible: Possible::from([None]), ..Memory::default() });
        match answer {
            Some(id) => {
                self.answered += 1;
                memory.id = Some(id.to_owned());
                memory.possible = Possible::from([content]);
            }
            None => {
                self.unanswered += 1;
                memory.possible.insert(content);
            }
        }
    }

    /// Lists the memories whose identity was told, and that are there for sure.
    pub(crate) fn known(&self) -> Vec<(String, String)> {
        let there = self.memories.iter().filter(|(_, memory)| !memory.possible.contains(&None));
        there.filter_map(|(title, memory)| Some((title.clone(), memory.id.clone()?))).collect()
    }

    /// Compares with what a device shows: everything answered is there, once, as answered last.
    pub(crate) fn faults(&self, shown: &[(String, String)]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut there: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (title, content) in shown {
            there.entry(title).or_default().push(content);
        }
        for (title, memory) in &self.memories {
            let now = there.remove(title.as_str()).unwrap_or_default();
            let fits = match now[..] {
                [] => memory.possible.contains(&None),
                [content] => memory.possible.contains(&Some(content.to_owned())),
                _ => false,
            };
            if !fits {
                faults.push(format!("{title}: may be {:?}, is {now:?}", memory.possible));
            }
        }
        faults.extend(there.keys().map(|title| format!("{title}: nobody wrote it")));
        faults
    }
}
