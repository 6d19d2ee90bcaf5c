//! What a manifest says, whatever happened to it: one with conflict markers, duplicates or garbage gives what can still
//! be read of it, and the files are the truth (chunks.md 4).

use engram_proto::chunk::{ChunkId, Manifest, ManifestEntry};
use engram_proto::time::RowTime;
use std::collections::BTreeMap;

/// How the lines of an entry begin, in their order.
const FIELDS: [&str; 6] = ["\"id\"", "\"created_by\"", "\"created_at\"", "\"sessions\"", "\"memories\"", "\"prompts\""];

/// What a manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Its entries, by id.
    pub(crate) entries: BTreeMap<ChunkId, ManifestEntry>,
    /// Entries whose id is none.
    pub(crate) refused: Vec<String>,
    /// Why it has to be written again, if it has.
    pub(crate) broken: Option<String>,
}

impl Listing {
    /// Reads a manifest.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        match serde_json::from_str::<Manifest>(&text) {
            Ok(manifest) => {
                let mut listing = Self::default();
                if manifest.version != Manifest::VERSION {
                    listing.broken = Some(format!("it has version {}, which is not known", manifest.version));
                }
                manifest.chunks.into_iter().for_each(|entry| listing.add(entry));
                listing
            }
            Err(error) => {
                let marked = text.lines().any(|line| line.starts_with("<<<<<<<"));
                let why = if marked { "a merge left conflict markers in it".to_owned() } else { error.to_string() };
                let mut listing = Self::unreadable(why);
                let sides = sides(&text).map(|side| serde_json::from_str::<Manifest>(&side).ok());
                sides.into_iter().flatten().flat_map(|side| side.chunks).for_each(|entry| listing.add(entry));
                let whole = listing.entries.clone();
                salvage(&text).into_iter().for_each(|entry| listing.add(entry));
                listing.entries.extend(whole);
                listing.refused.clear();
                listing
            }
        }
    }

    /// Makes the listing of a manifest that says nothing.
    pub(crate) fn unreadable(why: String) -> Self {
        Self { broken: Some(why), ..Self::default() }
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

    /// Lists the ids in the order in which the chunks were made.
    pub(crate) fn in_order(&self) -> Vec<&ChunkId> {
        let mut ids: Vec<_> = self.entries.iter().collect();
        ids.sort_by_key(|(id, entry)| (&entry.created_at, *id));
        ids.into_iter().map(|(id, _)| id).collect()
    }

    /// Returns the time that a chunk made now carries, RFC 3339: later than every one that is listed, so that a reader that
    /// lets the last chunk win takes them in this order.
    pub(crate) fn after(&self, now_unix_s: i64) -> String {
        let listed = self.entries.values().filter_map(|entry| RowTime::parse(&entry.created_at)).max();
        let now = RowTime::from_unix_s(now_unix_s);
        now.max(listed.map(|listed| listed.plus_s(1))).map(RowTime::rfc3339).unwrap_or_default()
    }

    /// Unites two manifests that came from one: what one side took away stays away, everything else is kept.
    pub(crate) fn unite(before: &Self, ours: &Self, theirs: &Self) -> Self {
        let mut united = Self::default();
        for (id, entry) in ours.entries.iter().chain(&theirs.entries) {
            let taken_away =
                before.entries.contains_key(id) && !(ours.entries.contains_key(id) && theirs.entries.contains_key(id));
            // Of a manifest that could not be read, nothing is known to be missing on purpose.
            let sure = [before, ours, theirs].iter().all(|side| side.broken.is_none());
            if !(taken_away && sure) && united.entries.get(id).is_none_or(|before| rank(entry) < rank(before)) {
                united.entries.insert(id.clone(), entry.clone());
            }
        }
        united
    }

    /// Writes the manifest, oldest chunk first: the same entries give the same bytes, which are the Go program's form.
    pub(crate) fn write(&self) -> Result<String, serde_json::Error> {
        let entry = |id: &&ChunkId| self.entries.get(*id).cloned();
        let chunks = self.in_order().iter().filter_map(entry).collect();
        serde_json::to_string_pretty(&Manifest { version: Manifest::VERSION, chunks })
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
        let mut listing = Listing::default();
        entries.iter().cloned().for_each(|entry| listing.add(entry));
        listing
    }

    fn ids(listing: &Listing) -> Vec<&str> {
        listing.in_order().into_iter().map(ChunkId::as_str).collect()
    }

    #[test]
    fn the_go_programs_manifest_is_written_again_to_the_byte() {
        let text = include_str!("../../../tests/fixtures/chunks/two-people/manifest.json");
        let read = Listing::read(text.as_bytes());
        assert_eq!((read.entries.len(), &read.broken), (3, &None));
        assert_eq!(read.write().unwrap(), text);
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
        let ours = listing(&[entry("aaaaaaaa", 1), entry("bbbbbbbb", 2)]).write().unwrap();
        let theirs = listing(&[entry("aaaaaaaa", 1), entry("cccccccc", 3)]).write().unwrap();
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
