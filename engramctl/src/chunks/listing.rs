//! What a manifest says, whatever happened to it: one with conflict markers, duplicates or garbage gives what can still
//! be read of it, and the files are the truth (chunks.md 4).

use super::entries::Entries;
use engram_proto::chunk::{ChunkId, Manifest, ManifestEntry};
use engram_proto::time::RowTime;
use std::collections::{BTreeMap, BTreeSet};

/// How the lines of an entry begin, in their order.
const FIELDS: [&str; 6] = ["\"id\"", "\"created_by\"", "\"created_at\"", "\"sessions\"", "\"memories\"", "\"prompts\""];

/// What a manifest says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Listing {
    /// Its entries.
    pub(crate) entries: Entries,
    /// Entries whose id is none.
    pub(crate) refused: Vec<String>,
    /// Why it has to be written again, if it has.
    pub(crate) broken: Option<String>,
    /// Chunks of whose entries a merge may have mixed up lines: what they count is to be seen in the file.
    pub(crate) unsure: BTreeSet<ChunkId>,
}

impl Listing {
    /// Reads a manifest.
    pub(crate) fn read(bytes: impl Into<Vec<u8>>) -> Self {
        let text = String::from_utf8(bytes.into());
        let text = text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        match Entries::find(text) {
            Ok(entries) => Self { entries, ..Self::default() },
            Err(text) => Gathered::read(&text).listing(),
        }
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
    pub(crate) fn unite(before: &Self, ours: &Self, theirs: &Self) -> Self {
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

/// What is read of a manifest entry by entry.
#[derive(Default)]
struct Gathered {
    entries: BTreeMap<ChunkId, ManifestEntry>,
    refused: Vec<String>,
    broken: Option<String>,
    unsure: BTreeSet<ChunkId>,
}

impl Gathered {
    fn read(text: &str) -> Self {
        let mut gathered = Self::default();
        match serde_json::from_str::<Manifest>(text) {
            Ok(manifest) => {
                if manifest.version != Manifest::VERSION {
                    gathered.broken = Some(format!("it has version {}, which is not known", manifest.version));
                }
                manifest.chunks.into_iter().for_each(|entry| gathered.add(entry));
            }
            Err(error) => {
                let marked = text.lines().any(|line| line.starts_with("<<<<<<<"));
                let why = if marked { "a merge left conflict markers in it".to_owned() } else { error.to_string() };
                gathered.broken = Some(why);
                let sides = sides(text).map(|side| serde_json::from_str::<Manifest>(&side).ok());
                let sides = sides.map(|side| side.map(|side| side.chunks).unwrap_or_default());
                let on_both = |entry: &ManifestEntry| sides.iter().all(|side| side.contains(entry));
                let sure = sides[0].iter().filter(|entry| on_both(entry)).map(|entry| entry.id.clone());
                let sure: BTreeSet<String> = sure.collect();
                sides.iter().flatten().cloned().for_each(|entry| gathered.add(entry));
                let whole = gathered.entries.clone();
                salvage(text).into_iter().for_each(|entry| gathered.add(entry));
                gathered.entries.extend(whole);
                gathered.unsure = gathered.entries.keys().filter(|id| !sure.contains(id.as_str())).cloned().collect();
                gathered.refused.clear();
            }
        }
        gathered
    }

    fn add(&mut self, entry: ManifestEntry) {
        let Ok(id) = ChunkId::parse(&entry.id) else { return self.refused.push(entry.id) };
        match self.entries.get(&id) {
            Some(before) => {
                self.broken.get_or_insert_with(|| format!("it lists chunk {id} twice"));
                if rank(&entry) < rank(before) {
                    self.entries.insert(id, entry);
                }
            }
            None => {
                self.entries.insert(id, entry);
            }
        }
    }

    fn listing(self) -> Listing {
        let mut entries = Entries::default();
        entries.extend(&self.entries);
        Listing { entries, refused: self.refused, broken: self.broken, unsure: self.unsure }
    }
}

/// Two entries of one chunk: the one that everybody prefers is the smaller here.
fn rank(entry: &ManifestEntry) -> (bool, &str, &str, u64, u64, u64) {
    let ManifestEntry { created_at, created_by, sessions, memories, prompts, .. } = entry;
    (created_at.is_empty(), created_at, created_by, *sessions, *memories, *prompts)
}

/// Splits a text with conflict markers into what each side had.
fn sides(text: &str) -> [String; 2] {
    let mut sides = [String::new(), String::new()];
    let mut of = [true, true];
    for line in text.lines() {
        match line.get(..7) {
            Some("<<<<<<<") => of = [true, false],
            // What both had before, where git is told to show it.
            Some("|||||||") => of = [false, false],
            Some("=======") => of = [false, true],
            Some(">>>>>>>") => of = [true, true],
            _ => {
                for (side, _) in sides.iter_mut().zip(of).filter(|(_, has)| *has) {
                    side.extend([line, "\n"]);
                }
            }
        }
    }
    sides
}

/// Reads entries line by line, as both programs write them, whatever stands between. Only those that stand in one piece
/// count: of two that git mixed up nothing is known, and each is listed again from its file.
fn salvage(text: &str) -> Vec<ManifestEntry> {
    let lines: Vec<&str> = text.lines().map(|line| line.trim().trim_end_matches(',')).collect();
    let is_one = |lines: &&[&str]| lines.iter().zip(FIELDS).all(|(line, name)| line.starts_with(name));
    let entries = lines.windows(FIELDS.len()).filter(is_one).map(|lines| {
        let entry = serde_json::from_str::<ManifestEntry>(&format!("{{{}}}", lines.join(",")));
        entry.ok().filter(|entry| !entry.created_at.is_empty())
    });
    entries.flatten().collect()
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
        let mut gathered = Gathered::default();
        entries.iter().cloned().for_each(|entry| gathered.add(entry));
        gathered.listing()
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
        let twice = listing(&[entry("aaaaaaaa", 2), entry("aaaaaaaa", 1)]);
        assert!(twice.broken.is_some() && twice.entries.len() == 1);
        let refused = listing(&[entry("../../etc/passwd", 1)]);
        assert_eq!((refused.entries.len(), refused.refused.len()), (0, 1));
    }
}
