//! The entries of a manifest as the text that they stand in: a list of ten thousand is looked through, and written with one
//! more, without taking apart what nobody asks for.

use super::form::{BEFORE, BEHIND, BETWEEN, EMPTY, Entry, Reader};
use super::ids::Head;
use engram_proto::chunk::{ChunkId, ManifestEntry};
use engram_proto::time::RowTime;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// Before each line of an entry.
const INDENT: &str = "    ";

/// A list has no more entries.
pub(super) const ENTRIES_MAX: usize = 100_000;

/// An entry has in no form fewer bytes than the first, and what is kept of it is seldom more than the second.
const SHORTEST_BYTES: usize = 16;
const KEPT_BYTES: usize = 200;

/// Times of this length that end in `Z` follow each other as their texts do: `YYYY-MM-DDTHH:MM:SSZ`.
const PLAIN_TIME_BYTES: usize = 20;

/// Entries of chunks, each id once.
#[derive(Clone, Default)]
pub struct Entries {
    /// Whatever they stood in, and what was added.
    text: String,
    /// In the order in which they stood there.
    all: Vec<Entry>,
    /// The same in the order of their ids.
    by_id: Vec<usize>,
}

impl Entries {
    /// Finds the entries of a manifest in the form that both programs write, to the byte; gives any other text back.
    pub(crate) fn find(text: String) -> Result<Self, String> {
        let Some(all) = Reader::of(text.as_bytes()).manifest() else { return Err(text) };
        let mut found = Self { text, all, by_id: Vec::new() };
        found.sort();
        let is_twice = |pair: &[usize]| found.id(pair[0]) == found.id(pair[1]);
        let is_one = found.all.len() <= ENTRIES_MAX && !found.by_id.windows(2).any(is_twice);
        if is_one { Ok(found) } else { Err(found.text) }
    }

    /// Adds entries of chunks that have none.
    pub(crate) fn extend<'e>(&mut self, entries: impl IntoIterator<Item = (&'e ChunkId, &'e ManifestEntry)>) {
        for (id, entry) in entries {
            self.push(id.as_str(), entry);
        }
        // Those that were there are in order, and looked at once.
        let mut by_id = std::mem::take(&mut self.by_id);
        by_id.extend(by_id.len()..self.all.len());
        by_id.sort_by(|&a, &b| self.compare(a, b));
        self.by_id = by_id;
    }

    /// Makes room for as many as may stand in so many bytes; what grows step by step is in memory twice while it does.
    pub(super) fn reserve(&mut self, bytes: usize) {
        let count = ENTRIES_MAX.min(bytes / SHORTEST_BYTES);
        self.text.reserve(count * KEPT_BYTES);
        self.all.reserve(count);
    }

    /// Adds an entry that is found, and may be one of several of its id, until [`choose`](Self::choose) looks at them.
    pub(super) fn push(&mut self, id: &str, entry: &ManifestEntry) {
        // Texts and numbers alone always have a JSON form.
        let lines = serde_json::to_string_pretty(entry).unwrap_or_default();
        let from = self.text.len();
        for (at, line) in lines.lines().enumerate() {
            self.text.extend([if at == 0 { "" } else { "\n" }, INDENT, line]);
        }
        let lines = from..self.text.len();
        // What is looked up stands by itself, for in the lines it may be written with escapes.
        let (id, created_at) = (self.keep(id), self.keep(&entry.created_at));
        self.all.push(Entry { head: Head::of(&self.text[id.clone()]), id, created_at, lines });
    }

    /// Takes those back that were pushed behind so many.
    pub(super) fn truncate(&mut self, len: usize) {
        if let Some(first) = self.all.get(len) {
            self.text.truncate(first.lines.start);
            self.all.truncate(len);
        }
    }

    /// Leaves of those with one id the one that a closure says is not worse than another; returns an id that had several.
    pub(super) fn choose(&mut self, is_better: impl Fn(&ManifestEntry, &ManifestEntry) -> bool) -> Option<String> {
        self.sort();
        let (mut worse, mut twice, mut best) = (BTreeSet::new(), None, None);
        for &at in &self.by_id {
            if let Some(before) = best.replace(at).filter(|&before| self.id(before) == self.id(at)) {
                twice.get_or_insert_with(|| self.id(at).to_owned());
                let is_better = self.read(at).zip(self.read(before)).is_some_and(|(new, old)| is_better(&new, &old));
                worse.insert(if is_better { before } else { at });
                best = Some(if is_better { at } else { before });
            }
        }
        let mut at = 0..;
        self.all.retain(|_| at.next().is_some_and(|at| !worse.contains(&at)));
        self.sort();
        twice
    }

    fn keep(&mut self, text: &str) -> Range<usize> {
        let from = self.text.len();
        self.text.push_str(text);
        from..self.text.len()
    }

    /// Keeps those whose ids a closure wants.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        let text = &self.text;
        self.all.retain(|entry| wanted(&text[entry.id.clone()]));
        self.sort();
    }

    fn sort(&mut self) {
        let mut by_id: Vec<usize> = (0..self.all.len()).collect();
        by_id.sort_unstable_by(|&a, &b| self.compare(a, b));
        self.by_id = by_id;
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        self.all[a].head.compare(self.all[b].head, || self.id(a), || self.id(b))
    }

    /// Counts them.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Lists their ids in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.by_id.iter().map(|&at| self.id(at))
    }

    /// Tells whether a chunk has one.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.at(id).is_some()
    }

    /// Returns when a chunk was made, in its entry's words.
    pub(crate) fn created_at(&self, id: &str) -> Option<&str> {
        self.at(id).map(|at| self.made(at))
    }

    /// Reads the entry of a chunk.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<ManifestEntry> {
        self.at(id).and_then(|at| self.read(at))
    }

    pub(super) fn read(&self, at: usize) -> Option<ManifestEntry> {
        serde_json::from_str(self.lines(at)).ok()
    }

    /// Tells whether two lists have the same to say of a chunk.
    pub(crate) fn agree(&self, other: &Self, id: &str) -> bool {
        self.at(id).map(|at| self.lines(at)) == other.at(id).map(|at| other.lines(at))
    }

    /// Finds the latest of the times when they were made.
    pub(crate) fn latest(&self) -> Option<RowTime> {
        let is_plain = |text: &&str| text.len() == PLAIN_TIME_BYTES && text.ends_with('Z');
        let times = || (0..self.all.len()).map(|at| self.made(at));
        // Of those that follow each other as their texts do, one is read; where that is no time, all are.
        match times().filter(is_plain).max().map(RowTime::parse) {
            Some(Some(plain)) => times().filter(|text| !is_plain(text)).filter_map(RowTime::parse).chain([plain]).max(),
            _ => times().filter_map(RowTime::parse).max(),
        }
    }

    /// Lists the ids in the order in which the chunks were made.
    #[cfg(test)]
    pub(super) fn in_order(&self) -> impl Iterator<Item = &str> {
        self.order().into_iter().map(|at| self.id(at))
    }

    /// Writes the manifest, oldest chunk first: the same entries give the same bytes, which are the Go program's form.
    #[must_use]
    pub fn write(&self) -> String {
        self.pieces().concat()
    }

    /// Does the same in pieces: entries that stand one behind the other already are one.
    pub(crate) fn pieces(&self) -> Vec<&str> {
        if self.all.is_empty() {
            return vec![EMPTY];
        }
        let mut runs: Vec<Range<usize>> = Vec::new();
        for at in self.order() {
            let lines = &self.all[at].lines;
            match runs.last_mut() {
                Some(run) if self.text.get(run.end..lines.start) == Some(BETWEEN) => run.end = lines.end,
                _ => runs.push(lines.clone()),
            }
        }
        let mut pieces = vec![BEFORE];
        for (nth, run) in runs.into_iter().enumerate() {
            pieces.extend([if nth == 0 { "" } else { BETWEEN }, &self.text[run]]);
        }
        pieces.push(BEHIND);
        pieces
    }

    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        // They mostly stand in this order already, which makes this one look at each.
        order.sort_by(|&a, &b| (self.made(a), self.id(a)).cmp(&(self.made(b), self.id(b))));
        order
    }

    pub(super) fn at(&self, id: &str) -> Option<usize> {
        let head = Head::of(id);
        let compare = |&at: &usize| self.all[at].head.compare(head, || self.id(at), || id);
        self.by_id.binary_search_by(compare).ok().map(|place| self.by_id[place])
    }

    pub(super) fn id(&self, at: usize) -> &str {
        &self.text[self.all[at].id.clone()]
    }

    fn made(&self, at: usize) -> &str {
        &self.text[self.all[at].created_at.clone()]
    }

    fn lines(&self, at: usize) -> &str {
        &self.text[self.all[at].lines.clone()]
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        let lines =
            |entries: &'_ Self| entries.by_id.iter().map(|&at| entries.lines(at).to_owned()).collect::<Vec<_>>();
        lines(self) == lines(other)
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.write())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use engram_proto::chunk::Manifest;
    use std::collections::BTreeMap;

    fn entry(id: &str, created_at: &str) -> ManifestEntry {
        let (id, created_by, created_at) = (id.to_owned(), "ána\u{7f} 1".to_owned(), created_at.to_owned());
        ManifestEntry { id, created_by, created_at, sessions: 0, memories: 12, prompts: 3 }
    }

    fn written(chunks: &[ManifestEntry]) -> String {
        serde_json::to_string_pretty(&Manifest { version: Manifest::VERSION, chunks: chunks.to_vec() }).unwrap()
    }

    #[test]
    fn what_is_found_in_a_text_is_written_as_a_reader_of_json_would() {
        let mut chunks = vec![entry("bbbbbbbb", "2026-11-22T14:00:01Z"), entry("aaaaaaaa", "2026-11-22T14:00:02Z")];
        let mut found = Entries::find(written(&chunks)).unwrap();
        assert_eq!(found.write(), written(&chunks));
        assert_eq!(found.ids().collect::<Vec<_>>(), ["aaaaaaaa", "bbbbbbbb"]);
        assert_eq!(found.get("bbbbbbbb").as_ref(), Some(&chunks[0]));
        // An odd author and an odd time are written with escapes, and looked up as what they are.
        let odd = ManifestEntry { created_by: "a\"\n\\".to_owned(), ..entry("aaaaaaaabb", "\u{1}") };
        found.extend([(&ChunkId::parse(&odd.id).unwrap(), &odd)]);
        assert_eq!((found.created_at("aaaaaaaabb"), found.get("aaaaaaaabb").as_ref()), (Some("\u{1}"), Some(&odd)));
        chunks.insert(0, odd);
        assert_eq!(found.write(), written(&chunks), "in order");
        assert!(Entries::find(written(&chunks)).is_err(), "escapes are left to the reader of JSON");
        found.retain(|id| id != "aaaaaaaabb");
        assert_eq!(found.write(), written(&chunks[1..]));
        found.retain(|_| false);
        assert_eq!(found.write(), written(&[]));
        assert_eq!(Entries::find(written(&[])), Ok(found));
    }

    #[test]
    fn a_text_that_differs_in_one_byte_is_another_form_or_says_the_same() {
        let text = written(&[entry("aaaaaaaa", "2026-11-22T14:00:01Z"), entry("bbbbbbbb", "2026-11-22T14:00:02Z")]);
        assert!(Entries::find(format!("{text}\n")).is_ok());
        assert!(Entries::find(text.replace("bbbbbbbb", "aaaaaaaa")).is_err(), "an id that stands there twice");
        for at in 0..text.len() {
            for byte in [b' ', b'"', b'\\', b'\n', b'0', b'}', b'a', 0x1f] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = byte;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let Ok(found) = Entries::find(changed.clone()) else { continue };
                let read: Manifest = serde_json::from_str(&changed).unwrap();
                assert_eq!(found.len(), read.chunks.len());
                assert!(read.chunks.iter().all(|entry| found.get(&entry.id).as_ref() == Some(entry)), "{changed}");
            }
        }
    }

    #[test]
    fn the_latest_is_found_among_times_of_any_form() {
        let latest = |times: &[&str]| {
            let named: BTreeMap<_, _> = (0..).zip(times).map(|(n, at)| (n, entry(&format!("{n:08x}"), at))).collect();
            let ids: Vec<_> = named.values().map(|entry| ChunkId::parse(&entry.id).unwrap()).collect();
            let mut entries = Entries::default();
            entries.extend(ids.iter().zip(named.values()));
            entries.latest().map(RowTime::rfc3339)
        };
        let at = |text: &str| Some(text.to_owned());
        assert_eq!(latest(&[]), None);
        assert_eq!(latest(&["2026-11-22T14:00:01Z", "2026-11-22T14:00:03Z", ""]), at("2026-11-22T14:00:03Z"));
        assert_eq!(latest(&["2026-11-22T14:00:03Z", "2026-11-22T15:00:04+01:00"]), at("2026-11-22T14:00:04Z"));
        assert_eq!(latest(&["2026-11-22T14:00:03Z", "9999-99-99T99:99:99Z"]), at("2026-11-22T14:00:03Z"));
    }
}
