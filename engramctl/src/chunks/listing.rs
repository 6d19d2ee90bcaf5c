//! What a manifest says, whatever happened to it: one with conflict markers, duplicates or garbage gives what can still
//! be read of it, and the files are the truth (chunks.md 4).

mod json;

use super::entries::{ENTRIES_MAX, Entries};
use super::read::cut;
use engram_proto::chunk::{ChunkId, Manifest, ManifestEntry};
use engram_proto::time::RowTime;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};

/// How the lines of an entry begin, in their order.
const FIELDS: [&str; 6] = ["\"id\"", "\"created_by\"", "\"created_at\"", "\"sessions\"", "\"memories\"", "\"prompts\""];

/// A line of an entry is no longer, in bytes.
const LINE_BYTES_MAX: usize = 4_096;

/// So much is kept of what stands where an id should.
const NAMED_CHARS: usize = 80;

/// What a manifest says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Its entries.
    pub entries: Entries,
    /// Entries whose id is none.
    pub refused: Vec<String>,
    /// Why it has to be written again, if it has.
    pub broken: Option<String>,
    /// Chunks of whose entries a merge may have mixed up lines: what they count is to be seen in the file.
    pub(crate) unsure: BTreeSet<ChunkId>,
    /// Whether it is something else, which has the same name and is not to be written over.
    pub(crate) is_another: bool,
}

impl Listing {
    /// Reads a manifest.
    #[must_use]
    pub fn read(bytes: impl Into<Vec<u8>>) -> Self {
        let text = String::from_utf8(bytes.into());
        let text = text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        match Entries::find(text) {
            Ok(entries) => Self { entries, ..Self::default() },
            Err(text) => Gathered::read(&text).listing(),
        }
    }

    /// Tells whether a text is a manifest, or what a merge left of one.
    pub(crate) fn is_ours(&self) -> bool {
        !self.is_another && (self.broken.is_none() || self.entries.len() > 0)
    }

    /// Makes the listing of a manifest that says nothing.
    pub(crate) fn unreadable(why: String) -> Self {
        Self { broken: Some(why), ..Self::default() }
    }

    /// Returns the time that a chunk made now carries, RFC 3339: later than every one that is listed, so that a reader that
    /// lets the last chunk win takes them in this order.
    pub(crate) fn after(&self, now_unix_s: i64) -> String {
        let now = RowTime::from_unix_s(now_unix_s);
        now.max(self.entries.latest().map(|listed| listed.plus_s(1))).map(RowTime::rfc3339).unwrap_or_default()
    }

    /// Unites two manifests that came from one: what one side took away stays away, everything else is kept.
    #[must_use]
    pub fn unite(before: &Self, ours: &Self, theirs: &Self) -> Self {
        // Of a manifest that could not be read, nothing is known to be missing on purpose.
        let sure = [before, ours, theirs].iter().all(|side| side.broken.is_none());
        let (before, ours, theirs) = (&before.entries, &ours.entries, &theirs.entries);
        let taken_away = |id: &str| sure && before.has(id) && !(ours.has(id) && theirs.has(id));
        let mut united = ours.clone();
        united.retain(|id| !taken_away(id) && (!theirs.has(id) || ours.agree(theirs, id)));
        let mut new = BTreeMap::new();
        for id in theirs.ids().filter(|id| !united.has(id) && !taken_away(id)) {
            let sides = [ours.get(id), theirs.get(id)].into_iter().flatten();
            let best = sides.min_by(|a, b| rank(a).cmp(&rank(b)));
            if let (Ok(id), Some(entry)) = (ChunkId::parse(id), best) {
                new.insert(id, entry);
            }
        }
        united.extend(&new);
        Self { entries: united, ..Self::default() }
    }
}

/// What is read of a manifest entry by entry: what it says besides them is not kept, and of no more than may be listed.
#[derive(Default)]
struct Gathered {
    entries: Entries,
    refused: Vec<String>,
    broken: Option<String>,
    unsure: BTreeSet<ChunkId>,
    is_full: bool,
    is_another: bool,
}

impl Gathered {
    fn read(text: &str) -> Self {
        let mut gathered = Self::default();
        gathered.entries.reserve(text.len());
        match json::read(text.as_bytes(), &mut |entry| gathered.add(entry)) {
            Ok(version) => {
                if version != Manifest::VERSION {
                    gathered.broken = Some(format!("it has version {version}, which is not known"));
                }
                if let Some(id) = gathered.entries.choose(is_better) {
                    gathered.broken.get_or_insert(format!("it lists chunk {id} twice"));
                }
            }
            Err(_) if gathered.is_full => {}
            Err(error) => {
                let marked = text.lines().any(|line| line.starts_with("<<<<<<<"));
                let why =
                    if marked { "a merge left conflict markers in it".to_owned() } else { cut(&error.to_string()) };
                gathered.entries.truncate(0);
                gathered.refused.clear();
                gathered.broken = Some(why);
                if marked {
                    gathered.add_sides(text);
                }
                gathered.salvage(text);
                gathered.refused.clear();
            }
        }
        if gathered.entries.len() + gathered.refused.len() == 0 && json::is_another(text) {
            gathered.broken = Some("it is no manifest of chunks".to_owned());
            gathered.is_another = true;
        }
        gathered
    }

    /// Adds an entry, unless there are too many.
    fn add(&mut self, entry: ManifestEntry) -> bool {
        self.is_full |= self.entries.len() + self.refused.len() >= ENTRIES_MAX;
        if self.is_full {
            return false;
        }
        match ChunkId::parse(&entry.id) {
            Ok(id) => self.entries.push(id.as_str(), &entry),
            Err(_) => self.refused.push(entry.id.chars().take(NAMED_CHARS).collect()),
        }
        true
    }

    /// Adds what the sides of a conflict had, of each if all of it can be read. Only what both say alike is sure.
    fn add_sides(&mut self, text: &str) {
        if json::read(Side::OURS.of(text), &mut |entry| self.add(entry)).is_err() {
            self.entries.truncate(0);
        }
        self.entries.choose(is_better);
        let ours = self.entries.len();
        let mut is_sure = vec![false; ours];
        let theirs = json::read(Side::THEIRS.of(text), &mut |entry| {
            let known = self.entries.at(&entry.id).and_then(|at| Some((at, self.entries.read(at)?)));
            let Some((at, known)) = known else { return self.add(entry) };
            is_sure[at] |= known == entry;
            !is_better(&entry, &known) || self.add(entry)
        });
        if theirs.is_err() {
            self.entries.truncate(ours);
            is_sure.fill(false);
        }
        let unsure = (0..self.entries.len()).filter(|&at| is_sure.get(at) != Some(&true));
        self.unsure = unsure.filter_map(|at| ChunkId::parse(self.entries.id(at)).ok()).collect();
        self.entries.choose(is_better);
    }

    /// Adds what can be read line by line, as both programs write entries, whatever stands between; what was read whole is
    /// better. Only those that stand in one piece count: of two that git mixed up nothing is known, and each is listed again
    /// from its file.
    fn salvage(&mut self, text: &str) {
        let (mut lines, mut found) = ([""; FIELDS.len()], 0);
        for line in text.lines().map(|line| line.trim().trim_end_matches(',')) {
            found = if line.starts_with(FIELDS[found]) { found } else { 0 };
            if line.len() > LINE_BYTES_MAX || !line.starts_with(FIELDS[found]) {
                found = 0;
                continue;
            }
            lines[found] = line;
            found += 1;
            if found == FIELDS.len() {
                found = 0;
                let entry = serde_json::from_str::<ManifestEntry>(&format!("{{{}}}", lines.join(",")));
                let entry = entry.ok().filter(|entry| !entry.created_at.is_empty() && !self.entries.has(&entry.id));
                let Some(entry) = entry else { continue };
                self.unsure.extend(ChunkId::parse(&entry.id));
                if !self.add(entry) {
                    return;
                }
            }
        }
        self.entries.choose(is_better);
    }

    fn listing(self) -> Listing {
        if self.is_full {
            return Listing::unreadable(format!("it lists more than {ENTRIES_MAX} chunks"));
        }
        let Self { entries, refused, broken, unsure, is_another, .. } = self;
        Listing { entries, refused, broken, unsure, is_another }
    }
}

fn is_better(new: &ManifestEntry, old: &ManifestEntry) -> bool {
    rank(new) < rank(old)
}

/// Two entries of one chunk: the one that everybody prefers is the smaller here.
fn rank(entry: &ManifestEntry) -> (bool, &str, &str, u64, u64, u64) {
    let ManifestEntry { created_at, created_by, sessions, memories, prompts, .. } = entry;
    (created_at.is_empty(), created_at, created_by, *sessions, *memories, *prompts)
}

/// What one side had of a text with conflict markers.
#[derive(Clone, Copy)]
struct Side(usize);

impl Side {
    const OURS: Self = Self(0);
    const THEIRS: Self = Self(1);

    fn of(self, text: &str) -> BufReader<Lines<'_, impl Iterator<Item = &[u8]>>> {
        let mut of = [true, true];
        let lines = text.split_inclusive('\n').filter(move |line| {
            let marks = match line.get(..7) {
                Some("<<<<<<<") => [true, false],
                // What both had before, where git is told to show it.
                Some("|||||||") => [false, false],
                Some("=======") => [false, true],
                Some(">>>>>>>") => [true, true],
                _ => return of[self.0],
            };
            of = marks;
            false
        });
        BufReader::new(Lines { lines: lines.map(str::as_bytes), rest: &[] })
    }
}

/// Lines as one stream.
struct Lines<'t, I> {
    lines: I,
    rest: &'t [u8],
}

impl<'t, I: Iterator<Item = &'t [u8]>> Read for Lines<'t, I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.lines.next().unwrap_or_default();
        }
        self.rest.read(buffer)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn entry(id: &str, second: u32) -> ManifestEntry {
        let created_at = format!("2026-11-22T14:00:{second:02}Z");
        ManifestEntry { id: id.to_owned(), created_by: "ana".to_owned(), created_at, memories: 1, ..Default::default() }
    }

    fn listing(entries: &[ManifestEntry]) -> Listing {
        let manifest = Manifest { version: Manifest::VERSION, chunks: entries.to_vec() };
        Gathered::read(&serde_json::to_string(&manifest).unwrap()).listing()
    }

    fn ids(listing: &Listing) -> Vec<&str> {
        listing.entries.in_order().collect()
    }

    #[test]
    fn the_go_programs_manifest_is_written_again_to_the_byte() {
        let text = include_str!("../../../tests/fixtures/chunks/two-people/manifest.json");
        let read = Listing::read(text.as_bytes());
        assert_eq!((read.entries.len(), &read.broken), (3, &None));
        assert_eq!(read.entries.write(), text);
    }

    #[test]
    fn a_new_chunk_is_later_than_all_that_are_listed() {
        let listed = listing(&[entry("aaaaaaaa", 7)]);
        let at = RowTime::parse("2026-11-22T14:00:07Z").unwrap().unix_s();
        assert_eq!(listed.after(at), "2026-11-22T14:00:08Z");
        assert_eq!(listed.after(at + 9), "2026-11-22T14:00:16Z");
    }

    #[test]
    fn both_sides_are_kept_and_what_one_took_away_stays_away() {
        let (a, b, c, d) = (entry("aaaaaaaa", 4), entry("bbbbbbbb", 3), entry("cccccccc", 2), entry("dddddddd", 1));
        let base = listing(&[a.clone(), b.clone()]);
        let (ours, theirs) = (listing(&[a.clone(), b.clone(), c.clone()]), listing(&[a.clone(), d]));
        let united = Listing::unite(&base, &ours, &theirs);
        assert_eq!(ids(&united), ["dddddddd", "cccccccc", "aaaaaaaa"], "in the order in which they were made");
        assert_eq!(united, Listing::unite(&base, &theirs, &ours), "whoever merges");
        let unsure = Listing::unite(&base, &ours, &Listing::read(b"<<<<<<< HEAD"));
        assert_eq!(ids(&unsure), ["cccccccc", "bbbbbbbb", "aaaaaaaa"]);
    }

    #[test]
    fn what_a_conflict_left_is_read_line_by_line() {
        let ours = listing(&[entry("aaaaaaaa", 1), entry("bbbbbbbb", 2)]).entries.write();
        let theirs = listing(&[entry("aaaaaaaa", 1), entry("cccccccc", 3)]).entries.write();
        let (head, tail) = ours.split_once("      \"id\": \"bbbbbbbb\"").unwrap();
        let (_, other) = theirs.split_once("      \"id\": \"cccccccc\"").unwrap();
        // Git puts the lines that differ side by side, in the middle of an entry.
        let torn = format!(
            "{head}<<<<<<< HEAD\n      \"id\": \"bbbbbbbb\"{}\n=======\n      \"id\": \"cccccccc\"{}\n>>>>>>> x\n    }}\n  ]\n}}",
            tail.split("\n    }").next().unwrap(),
            other.split("\n    }").next().unwrap()
        );
        let read = Listing::read(torn.as_bytes());
        assert!(read.broken.as_deref().is_some_and(|why| why.contains("conflict markers")), "{read:?}");
        assert_eq!(read.entries, listing(&[entry("aaaaaaaa", 1), entry("bbbbbbbb", 2), entry("cccccccc", 3)]).entries);
    }

    #[test]
    fn two_entries_that_git_mixed_up_keep_what_is_theirs() {
        let (ours, theirs) = (entry("bbbbbbbb", 2), entry("cccccccc", 3));
        let line = |entry: &ManifestEntry, field: &str| match field {
            "id" => format!("      \"id\": \"{}\",\n", entry.id),
            _ => format!("      \"created_at\": \"{}\",\n", entry.created_at),
        };
        let hunk =
            |field: &str| format!("<<<<<<< HEAD\n{}=======\n{}>>>>>>> x\n", line(&ours, field), line(&theirs, field));
        let (by, counts) = ("      \"created_by\": \"ana\",\n", "      \"sessions\": 0,\n      \"memories\": 1,\n");
        let head = "{\n  \"version\": 1,\n  \"chunks\": [\n    {\n";
        let tail = "      \"prompts\": 0\n    }\n  ]\n}";
        let torn = format!("{head}{}{by}{}{counts}{tail}", hunk("id"), hunk("created_at"));
        let read = Listing::read(torn.as_bytes());
        assert_eq!(read.entries, listing(&[ours.clone(), theirs.clone()]).entries);
        assert_eq!(read.unsure.len(), 2, "which of the counts are whose is to be seen in the files");
        // Where neither side is whole, neither is listed: what stands between two ids is nobody's for sure.
        let cut = torn.replace("  ]\n}", "");
        assert_eq!(Listing::read(cut.as_bytes()).entries, Entries::default());
    }

    #[test]
    fn no_manifest_is_an_error() {
        for (text, entries, broken) in [
            (r#"{"version":1,"chunks":null}"#, 0, false),
            (r#"{"version":2,"chunks":[]}"#, 0, true),
            ("", 0, true),
            ("\u{0}\u{fffd}[[[[", 0, true),
        ] {
            let read = Listing::read(text.as_bytes());
            assert_eq!((read.entries.len(), read.broken.is_some()), (entries, broken), "{text:?}");
        }
        let is_another = |text: &str| Listing::read(text.as_bytes()).is_another;
        for text in [
            r#"{"name": "an app", "version": "1.0.3", "manifest_version": 3}"#,
            r#"{"index.html": {"file": "assets/index-4889e940.js"}}"#,
            r#"{"version": 1, "files": []}"#,
            r#"["precached.js"]"#,
        ] {
            assert!(is_another(text), "{text}");
        }
        for text in
            ["{}", r#"{"version":2}"#, r#"{"version":"1","name":"app","chunks":[]}"#, "", "{\"name\":", "<<<<<<< a"]
        {
            assert!(!is_another(text), "{text}");
        }
        let twice = listing(&[entry("aaaaaaaa", 2), entry("aaaaaaaa", 1)]);
        assert!(twice.broken.is_some() && twice.entries.len() == 1);
        let refused = listing(&[entry("../../etc/passwd", 1)]);
        assert_eq!((refused.entries.len(), refused.refused.len()), (0, 1));
    }

    #[test]
    fn so_many_entries_are_read_and_no_more() {
        let many = |count: usize| {
            let entries: Vec<String> = (0..count).map(|n| format!(r#"{{"id":"{n:08x}"}}"#)).collect();
            format!(r#"{{"version":1,"chunks":[{}]}}"#, entries.join(","))
        };
        let read = Listing::read(many(ENTRIES_MAX));
        assert_eq!((read.entries.len(), read.broken), (ENTRIES_MAX, None));
        let read = Listing::read(many(ENTRIES_MAX + 1));
        assert_eq!(read.entries.len(), 0);
        assert!(read.broken.as_deref().is_some_and(|why| why.contains("more than 100000")), "{:?}", read.broken);
        // In the form that both programs write too.
        let entries: Vec<_> = (0..=ENTRIES_MAX).map(|n| entry(&format!("{n:08x}"), 1)).collect();
        let written = serde_json::to_string_pretty(&Manifest { version: 1, chunks: entries }).unwrap();
        let read = Listing::read(written);
        assert!(read.broken.is_some_and(|why| why.contains("more than 100000")) && read.entries.len() == 0);
    }
}
