//! What a manifest says, whatever happened to it: one with conflict markers, duplicates or garbage gives what can still
//! be read of it, and the files are the truth (chunks.md 4).

use engram_proto::chunk::{ChunkId, Manifest, ManifestEntry};
use std::collections::BTreeMap;

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
                salvage(&text).into_iter().for_each(|entry| listing.add(entry));
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

/// Reads entries line by line, as both programs write them, whatever stands between; only whole ones count.
fn salvage(text: &str) -> Vec<ManifestEntry> {
    let mut entries: Vec<ManifestEntry> = Vec::new();
    for line in text.lines() {
        let Some((name, value)) = line.trim().trim_end_matches(',').split_once(':') else { continue };
        let (name, value) = (name.trim().trim_matches('"'), value.trim());
        let text = serde_json::from_str::<String>(value);
        if name == "id" {
            entries.push(ManifestEntry { id: text.unwrap_or_default(), ..ManifestEntry::default() });
            continue;
        }
        let Some(entry) = entries.last_mut() else { continue };
        match (name, text, value.parse::<u64>()) {
            ("created_by", Ok(text), _) if entry.created_by.is_empty() => entry.created_by = text,
            ("created_at", Ok(text), _) if entry.created_at.is_empty() => entry.created_at = text,
            ("sessions", _, Ok(count)) => entry.sessions = count,
            ("memories", _, Ok(count)) => entry.memories = count,
            ("prompts", _, Ok(count)) => entry.prompts = count,
            _ => {}
        }
    }
    entries.retain(|entry| !entry.created_at.is_empty());
    entries
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
