//! The form in which both programs write a manifest, byte by byte.

use super::ids::Head;
use engram_proto::chunk::ChunkId;
use std::ops::Range;

/// What stands before, between and behind the entries in the form that both programs write, and all of it where there is
/// none.
pub(super) const BEFORE: &str = "{\n  \"version\": 1,\n  \"chunks\": [\n";
pub(super) const BETWEEN: &str = ",\n";
pub(super) const BEHIND: &str = "\n  ]\n}";
pub(super) const EMPTY: &str = "{\n  \"version\": 1,\n  \"chunks\": []\n}";

/// An entry has about so many bytes.
const ENTRY_BYTES: usize = 160;

/// Where in the text an entry is.
#[derive(Clone)]
pub(super) struct Entry {
    /// Of the id.
    pub(super) head: Head,
    pub(super) id: Range<usize>,
    pub(super) created_at: Range<usize>,
    pub(super) lines: Range<usize>,
}

/// Passes over a manifest, as long as it has the form.
pub(super) struct Reader<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Reader<'t> {
    /// Begins to read a text.
    pub(super) fn of(text: &'t [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Returns how much of it was passed.
    pub(super) fn passed(&self) -> usize {
        self.at
    }

    /// Passes over so many bytes, which are looked at.
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'t [u8]> {
        let bytes = self.rest().get(..count)?;
        self.at += count;
        Some(bytes)
    }

    /// Passes over what has no quote in it, which is looked at.
    pub(super) fn unquoted(&mut self) -> Option<&'t [u8]> {
        let count = self.rest().iter().position(|&byte| byte == b'"')?;
        self.bytes(count)
    }

    pub(super) fn manifest(mut self) -> Option<Vec<Entry>> {
        let mut all = Vec::with_capacity(self.text.len() / ENTRY_BYTES);
        if self.pass(EMPTY).is_none() {
            self.pass(BEFORE)?;
            all.push(self.entry()?);
            while self.pass(BETWEEN).is_some() {
                all.push(self.entry()?);
            }
            self.pass(BEHIND)?;
        }
        // An editor may have ended the last line.
        let _ = self.pass("\n");
        self.rest().is_empty().then_some(all)
    }

    fn entry(&mut self) -> Option<Entry> {
        let from = self.at;
        let quoted = |reader: &mut Self| reader.quoted();
        let (id, created_at) = self.entry_of(quoted, quoted)?;
        let text = self.text.get(id.clone()).filter(|text| ChunkId::is_one(text))?;
        Some(Entry { head: Head::of(text), id, created_at, lines: from..self.at })
    }

    /// Passes over an entry, whose id and whose time two closures pass over.
    #[inline]
    pub(super) fn entry_of<I, T>(
        &mut self,
        id: impl FnOnce(&mut Self) -> Option<I>,
        created_at: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<(I, T)> {
        self.pass("    {\n      \"id\": \"")?;
        let id = id(self)?;
        self.pass("\",\n      \"created_by\": \"")?;
        self.quoted()?;
        self.pass("\",\n      \"created_at\": \"")?;
        let created_at = created_at(self)?;
        self.pass("\",\n      \"sessions\": ")?;
        self.number()?;
        self.pass(",\n      \"memories\": ")?;
        self.number()?;
        self.pass(",\n      \"prompts\": ")?;
        self.number()?;
        self.pass("\n    }")?;
        Some((id, created_at))
    }

    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes over what has to stand here.
    #[inline]
    pub(super) fn pass(&mut self, what: &str) -> Option<()> {
        self.rest().starts_with(what.as_bytes()).then(|| self.at += what.len())
    }

    /// Passes over a text up to its end; it is as it stands there, without an escape.
    fn quoted(&mut self) -> Option<Range<usize>> {
        let is_end = |&byte: &u8| matches!(byte, b'"' | b'\\') || byte < b' ';
        let (from, bytes) = (self.at, self.rest().iter().position(is_end)?);
        self.at += bytes;
        (self.rest().first() == Some(&b'"')).then_some(from..self.at)
    }

    /// Passes over a number that every reader takes, written as short as it can be.
    fn number(&mut self) -> Option<()> {
        let rest = self.rest();
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let is_plain = (1..=19).contains(&digits) && (digits == 1 || rest[0] != b'0');
        self.at += digits;
        is_plain.then_some(())
    }
}
