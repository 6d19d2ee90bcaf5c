//! What is inside of a chunk's file: unpacked within bounds, checked against its id, and read row by row, so that memory
//! does not grow with the chunk (chunks.md 6).

use engram_proto::canonical::Hash;
use engram_proto::chunk::ChunkId;
use engram_proto::ipc::chunks::ChunkPart;
use flate2::bufread::MultiGzDecoder;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};

/// A chunk unpacks to no more bytes.
const PLAIN_BYTES_MAX: u64 = 1 << 30;
/// What was unpacked is at no byte more than so many times what was read for it: text of many memories shrinks by 3 to 20.
const RATIO_MAX: u64 = 200;
/// Besides so many bytes: a chunk that an export writes may have the same text in all of its rows.
const RATIO_FREE_BYTES: u64 = 24 << 20;
/// Words about what is inside of a file are no longer, in bytes: they may quote it.
const WORDS_MAX: usize = 300;
/// A row is no larger: it has to fit into a frame. Neither is a value that is passed over.
const ROW_BYTES_MAX: u64 = 6 << 20;
/// Whoever waits for a check hears of so many rows at once.
const HEARD_ROWS: u64 = 1_000;
/// Between the budget of a row and what was read ahead of it.
const AHEAD_BYTES: u64 = 64 << 10;

/// Why a chunk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It cannot be unpacked, or is none.
    #[error("it is damaged: {0}")]
    Content(String),
    /// It is something else than its name says.
    #[error("its content has the hash {0}, which its name does not begin")]
    Hash(String),
}

/// A chunk that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Of the unpacked bytes.
    pub hash: String,
    /// Rows, in the order of [`ChunkPart::ALL`].
    pub rows: [u64; 4],
    /// Bytes of all of them.
    pub bytes: usize,
    /// The latest time in a row, as the row has it.
    pub latest: String,
    /// Whether its sessions stand before everything else.
    pub sessions_first: bool,
}

/// Reads a chunk to its end, and checks that it is one and has the content that its name says.
///
/// # Errors
/// [`Damage`].
pub fn check(id: &ChunkId, packed: &[u8]) -> Result<Checked, Damage> {
    check_aloud(id, packed, &mut |_| {})
}

/// Does the same, and calls a closure with how many rows were read, from time to time.
pub(super) fn check_aloud(id: &ChunkId, packed: &[u8], hears: &mut dyn FnMut(u64)) -> Result<Checked, Damage> {
    let checked = measure(packed, hears)?;
    let hash = Hash::from_hex(&checked.hash);
    if hash.is_some_and(|hash| id.names(&hash)) { Ok(checked) } else { Err(Damage::Hash(checked.hash)) }
}

fn measure(packed: &[u8], hears: &mut dyn FnMut(u64)) -> Result<Checked, Damage> {
    let (mut rows, mut bytes) = ([0; 4], 0);
    let (mut latest, mut sessions_first) = (String::new(), true);
    let hash = walk(packed, &mut |part, json| {
        sessions_first &= part != ChunkPart::Session || rows[1..] == [0; 3];
        if let Some(count) = ChunkPart::ALL.iter().position(|&one| one == part).and_then(|at| rows.get_mut(at)) {
            *count += 1;
        }
        bytes += json.len();
        if let Ok(times) = serde_json::from_str::<Times>(json) {
            latest = std::mem::take(&mut latest).max(times.latest());
        }
        let read = rows.iter().sum::<u64>();
        if read % HEARD_ROWS == 0 {
            hears(read);
        }
    })?;
    Ok(Checked { hash, rows, bytes, latest, sessions_first })
}

/// Calls a closure with every row that stands in some of the lists.
///
/// # Errors
/// [`Damage::Content`], behind the rows that stand before it.
pub fn rows(packed: &[u8], parts: &[ChunkPart], put: &mut dyn FnMut(ChunkPart, &str)) -> Result<(), Damage> {
    walk(packed, &mut |part, json| {
        if parts.contains(&part) {
            put(part, json);
        }
    })
    .map(drop)
}

/// The times that rows have.
#[derive(serde::Deserialize)]
struct Times {
    started_at: Option<String>,
    ended_at: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
    deleted_at: Option<String>,
    occurred_at: Option<String>,
}

impl Times {
    fn latest(self) -> String {
        let Self { started_at, ended_at, created_at, updated_at, deleted_at, occurred_at } = self;
        [started_at, ended_at, created_at, updated_at, deleted_at, occurred_at]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_default()
    }
}

/// Unpacks a chunk, calls a closure with every row, and returns the hash of all of it.
fn walk(packed: &[u8], put: &mut dyn FnMut(ChunkPart, &str)) -> Result<String, Damage> {
    let budget = Cell::new(ROW_BYTES_MAX);
    let bounded =
        Bounded { inner: MultiGzDecoder::new(packed), packed, hash: Sha256::new(), plain: 0, budget: &budget };
    let mut reader = BufReader::new(bounded);
    let mut json = serde_json::Deserializer::from_reader(&mut reader);
    let read = Chunk { put, budget: &budget }.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| Damage::Content(cut(&error.to_string())))?;
    let digest = reader.into_inner().hash.finalize();
    Ok(digest.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")))
}

/// Shortens words that may quote what somebody else wrote.
pub(super) fn cut(words: &str) -> String {
    match words.char_indices().find(|(at, c)| at + c.len_utf8() > WORDS_MAX) {
        Some((end, _)) => format!("{} ...", words.get(..end).unwrap_or_default()),
        None => words.to_owned(),
    }
}

/// A stream with an end: by all of its bytes, by what was read for them, and by those since the last row.
struct Bounded<'a> {
    inner: MultiGzDecoder<&'a [u8]>,
    packed: &'a [u8],
    hash: Sha256,
    plain: u64,
    budget: &'a Cell<u64>,
}

impl Bounded<'_> {
    /// How much may be unpacked of what was read so far.
    fn plain_max(&self) -> u64 {
        let read = self.packed.len().saturating_sub(self.inner.get_ref().len()) as u64;
        PLAIN_BYTES_MAX.min(RATIO_FREE_BYTES + read.saturating_mul(RATIO_MAX))
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let bytes = read as u64;
        self.plain += bytes;
        if self.plain > self.plain_max() {
            return Err(io::Error::other("it unpacks to far more than its size"));
        }
        let budget = self.budget.get().checked_sub(bytes);
        self.budget.set(budget.ok_or_else(|| io::Error::other(format!("a row or value is larger than {ROW_BYTES_MAX} bytes")))?);
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// The one object of a chunk.
struct Chunk<'a> {
    put: &'a mut dyn FnMut(ChunkPart, &str),
    budget: &'a Cell<u64>,
}

impl<'de> DeserializeSeed<'de> for Chunk<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Chunk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one object with the lists of a chunk")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match ChunkPart::ALL.into_iter().find(|part| part.as_str() == name) {
                Some(part) => map.next_value_seed(List { part, put: &mut *self.put, budget: self.budget })?,
                None => map.next_value_seed(Passed(self.budget))?,
            }
            self.budget.set(ROW_BYTES_MAX + AHEAD_BYTES);
        }
        Ok(())
    }
}

/// What a newer program put there. All of it may be as large as a chunk; it is passed over value by value, none of which
/// may be larger than a row, and the reader of JSON bounds how deep they lie in each other: to pass over a value as a whole
/// it keeps a byte for each level.
#[derive(Clone, Copy)]
struct Passed<'a>(&'a Cell<u64>);

impl<'de> DeserializeSeed<'de> for Passed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)?;
        self.0.set(ROW_BYTES_MAX + AHEAD_BYTES);
        Ok(())
    }
}

impl<'de> Visitor<'de> for Passed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _value: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _value: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _value: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _value: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _value: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_key::<IgnoredAny>()?.is_some() {
            fields.next_value_seed(self)?;
        }
        Ok(())
    }
}

/// One list of a chunk; the Go program writes null for an empty one.
struct List<'a> {
    part: ChunkPart,
    put: &'a mut dyn FnMut(ChunkPart, &str),
    budget: &'a Cell<u64>,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of {}", self.part.as_str())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element::<Box<RawValue>>()? {
            if !row.get().starts_with('{') {
                return Err(A::Error::custom(format!("a row of {} is no object", self.part.as_str())));
            }
            (self.put)(self.part, row.get());
            self.budget.set(ROW_BYTES_MAX + AHEAD_BYTES);
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn packed(lists: &[u8], times: usize) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        gz.write_all(br#"{"observations":["#).unwrap();
        (0..times).for_each(|_| gz.write_all(lists).unwrap());
        gz.write_all(b"{}]}").unwrap();
        gz.finish().unwrap()
    }

    fn measured(packed: &[u8]) -> Result<Checked, Damage> {
        measure(packed, &mut |_| {})
    }

    #[test]
    fn a_bomb_ends_where_it_shows_and_not_at_the_end_of_its_file() {
        let row = br#"{"title":"the same again"},"#.repeat(40_000);
        let mut bomb = packed(&row, 64);
        // Nothing of this can be unpacked, and the file is large enough for all that was to come before.
        bomb.truncate(bomb.len() / 5 * 4);
        bomb.resize(1 << 20, 0xff);
        let damage = measured(&bomb).unwrap_err().to_string();
        assert!(damage.contains("far more than its size"), "{damage}");
    }

    #[test]
    fn as_much_as_an_export_puts_into_a_chunk_may_be_all_the_same() {
        let row = br#"{"title":"the same again"},"#.repeat(40_000);
        assert_eq!(measured(&packed(&row, 20)).unwrap().rows, [0, 800_001, 0, 0]);
    }

    #[test]
    fn words_about_a_file_do_not_repeat_it() {
        let text = format!("\"{}\"", "é".repeat(1 << 20));
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        gz.write_all(text.as_bytes()).unwrap();
        let damage = measured(&gz.finish().unwrap()).unwrap_err().to_string();
        assert!(damage.starts_with("it is damaged: invalid type") && damage.len() < 400, "{damage}");
    }
}
