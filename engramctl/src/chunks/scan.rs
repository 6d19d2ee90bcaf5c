//! A manifest that is only to be compared with what lies there: read through a window, and of each entry nothing is kept but
//! the id and the time. One that has another form, or lists something else, is read whole.

use super::entries::ENTRIES_MAX;
use super::form::{BEFORE, BEHIND, BETWEEN, EMPTY, Reader};
use super::ids::{Head, Ids};
use engram_proto::chunk::ChunkId;
use std::io::{self, Read};

/// So much of the text is in memory at once.
const WINDOW_BYTES: usize = 64 << 10;
/// An entry takes no more of it.
const ENTRY_BYTES_MAX: usize = 4 << 10;

/// The form of a time that follows others as its digits do.
const PLAIN_TIME: &[u8; 20] = b"0000-00-00T00:00:00Z";

/// The chunks that a manifest lists.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Of each its whole head, with the digits of the time when it was made; in order.
    all: Vec<u128>,
}

impl Scan {
    /// Reads a manifest in the form that both programs write, whose ids are as short and whose times are as plain as theirs,
    /// each chunk once; `None` for any other.
    pub(super) fn read(from: impl Read) -> io::Result<Option<Self>> {
        let mut window = Window { from, bytes: Vec::with_capacity(WINDOW_BYTES), passed: 0, ended: false };
        let Some(mut all) = entries(&mut window)? else { return Ok(None) };
        all.sort_unstable();
        let is_twice = all.windows(2).any(|pair| Head::apart(pair[0]).0 == Head::apart(pair[1]).0);
        Ok((!is_twice).then_some(Self { all }))
    }

    /// Tells whether these are the chunks that are listed.
    pub(super) fn lists(&self, ids: &Ids) -> bool {
        ids.heads().eq(self.all.iter().map(|&chunk| Head::apart(chunk).0))
    }

    /// Returns when a chunk was made, in its entry's words.
    pub(super) fn created_at(&self, id: &str) -> Option<String> {
        let head = Head::of(id);
        let at = self.all.binary_search_by_key(&head, |&chunk| Head::apart(chunk).0).ok()?;
        Some(time(Head::apart(self.all[at]).1))
    }
}

fn entries(window: &mut Window<impl Read>) -> io::Result<Option<Vec<u128>>> {
    let mut all = Vec::new();
    let mut reader = Reader::of(window.ahead()?);
    let is_empty = reader.pass(EMPTY).is_some();
    let mut goes_on = !is_empty && reader.pass(BEFORE).is_some();
    if !is_empty && !goes_on {
        return Ok(None);
    }
    window.passed += reader.passed();
    while goes_on {
        let mut reader = Reader::of(window.ahead()?);
        let Some((id, made)) = reader.entry_of(whole_head, digits) else { return Ok(None) };
        if all.len() == ENTRIES_MAX {
            return Ok(None);
        }
        all.push(id.with(made));
        goes_on = reader.pass(BETWEEN).is_some();
        if !goes_on && reader.pass(BEHIND).is_none() {
            return Ok(None);
        }
        window.passed += reader.passed();
    }
    // An editor may have ended the last line.
    Ok(matches!(window.ahead()?, b"" | b"\n").then_some(all))
}

fn whole_head(reader: &mut Reader<'_>) -> Option<Head> {
    let id = reader.unquoted().filter(|id| ChunkId::is_one(id))?;
    Some(Head::of(id)).filter(|head| head.is_whole())
}

/// Reads the digits of a plain time.
fn digits(reader: &mut Reader<'_>) -> Option<u64> {
    let mut digits = 0;
    for (byte, form) in reader.bytes(PLAIN_TIME.len())?.iter().zip(PLAIN_TIME) {
        match form {
            b'0' if byte.is_ascii_digit() => digits = digits * 10 + u64::from(byte - b'0'),
            form if form == byte => {}
            _ => return None,
        }
    }
    Some(digits)
}

/// A text that goes by.
struct Window<R> {
    from: R,
    bytes: Vec<u8>,
    passed: usize,
    ended: bool,
}

impl<R: Read> Window<R> {
    /// Returns what is ahead: all that is left, or at least as much as an entry takes.
    fn ahead(&mut self) -> io::Result<&[u8]> {
        if !self.ended && self.bytes.len() - self.passed < ENTRY_BYTES_MAX {
            self.bytes.drain(..self.passed);
            self.passed = 0;
            let room = WINDOW_BYTES - self.bytes.len();
            let read = self.from.by_ref().take(room as u64).read_to_end(&mut self.bytes)?;
            self.ended = read < room;
        }
        Ok(&self.bytes[self.passed..])
    }
}

/// Writes a plain time.
fn time(digits: u64) -> String {
    let (date, second) = (digits / 1_000_000, digits % 1_000_000);
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 10_000, second / 100 % 100, second % 100)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::listing::Listing;
    use super::*;
    use engram_proto::chunk::{Manifest, ManifestEntry};

    fn entry(n: usize, by: &str) -> ManifestEntry {
        let (id, created_at) =
            (format!("{:08x}", n * 0x9e37_79b1 % 0xffff_fff1), format!("2026-11-22T14:{:02}:07Z", n % 60));
        ManifestEntry { id, created_by: by.to_owned(), created_at, sessions: 0, memories: n as u64, prompts: 3 }
    }

    fn written(chunks: Vec<ManifestEntry>) -> String {
        serde_json::to_string_pretty(&Manifest { version: Manifest::VERSION, chunks }).unwrap()
    }

    /// Reads it in pieces of any size, as a file system may give them.
    fn scan(text: &str) -> Option<Scan> {
        let (head, tail) = text.as_bytes().split_at(text.len() / 3);
        Scan::read(head.chain(tail)).unwrap()
    }

    #[test]
    fn it_says_what_one_says_who_read_all() {
        for count in [0, 1, 2, 1_000] {
            let text = written((0..count).map(|n| entry(n, &"é".repeat(n % 100))).collect());
            for text in [text.clone(), format!("{text}\n")] {
                let (scanned, read) = (scan(&text).unwrap(), Listing::read(text.as_bytes()));
                assert!(read.broken.is_none() && scanned.lists(&read.entries.ids().collect()), "{count}");
                for id in read.entries.ids() {
                    assert_eq!(scanned.created_at(id).as_deref(), read.entries.created_at(id));
                }
            }
        }
        assert_eq!(scan(&written(vec![entry(1, "ana")])).unwrap().created_at("00000000"), None);
    }

    #[test]
    fn what_it_cannot_say_is_left_to_one_who_reads_all() {
        let one = entry(1, "ana");
        for odd in [
            ManifestEntry { created_at: "2026-11-22 14:00:00".to_owned(), ..one.clone() },
            ManifestEntry { id: "0".repeat(17), ..one.clone() },
            ManifestEntry { created_by: "a\\b".to_owned(), ..one.clone() },
            ManifestEntry { created_by: "a".repeat(2 * WINDOW_BYTES), ..one.clone() },
            one.clone(),
        ] {
            assert!(scan(&written(vec![one.clone(), odd])).is_none());
        }
        let text = written((0..1_000).map(|n| entry(n, "ana")).collect());
        for text in [&text[..text.len() - 1], &text[1..], &format!("{text} "), &format!("{text}\n\n"), "", "{}"] {
            assert!(scan(text).is_none());
        }
    }

    #[test]
    fn what_is_missing_or_more_is_seen() {
        let text = written((0..9).map(|n| entry(n, "ana")).collect());
        let scanned = scan(&text).unwrap();
        for chunks in [0..8, 1..9, 1..10, 0..10] {
            let other = Listing::read(written(chunks.map(|n| entry(n, "ana")).collect()).as_bytes());
            assert!(!scanned.lists(&other.entries.ids().collect()));
        }
    }
}
