//! What is inside of a chunk's file: unpacked within bounds, checked against its id, and read row by row, so that memory
//! does not grow with the chunk (chunks.md 6).

use super::bounded::{Bounded, Budget};
use engram_proto::canonical::Hash;
use engram_proto::chunk::ChunkId;
use engram_proto::ipc::chunks::ChunkPart;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::io::BufReader;

/// Words about what is inside of a file are no longer, in bytes: they may quote it.
const WORDS_MAX: usize = 300;
/// Whoever waits for a check hears of so many rows at once.
const HEARD_ROWS: u64 = 1_000;

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
    let budget = Budget::default();
    let mut reader = BufReader::new(Bounded::unpack(packed, &budget));
    let mut json = serde_json::Deserializer::from_reader(&mut reader);
    let read = Chunk { put, budget: &budget }.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| Damage::Content(cut(&error.to_string())))?;
    Ok(reader.into_inner().hash())
}

/// Shortens words that may quote what somebody else wrote.
pub(super) fn cut(words: &str) -> String {
    match words.char_indices().find(|(at, c)| at + c.len_utf8() > WORDS_MAX) {
        Some((end, _)) => format!("{} ...", words.get(..end).unwrap_or_default()),
        None => words.to_owned(),
    }
}

/// The one object of a chunk.
struct Chunk<'a> {
    put: &'a mut dyn FnMut(ChunkPart, &str),
    budget: &'a Budget,
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
            self.budget.renew();
        }
        Ok(())
    }
}

/// What a newer program put there. All of it may be as large as a chunk; it is passed over value by value, none of which
/// may be larger than a row, and the reader of JSON bounds how deep they lie in each other: to pass over a value as a whole
/// it keeps a byte for each level.
#[derive(Clone, Copy)]
struct Passed<'a>(&'a Budget);

impl<'de> DeserializeSeed<'de> for Passed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)?;
        self.0.renew();
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
    budget: &'a Budget,
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
            self.budget.renew();
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
    fn what_a_newer_program_put_there_is_passed_over_within_bounds() {
        let chunk = |text: &str| {
            let mut gz = GzEncoder::new(Vec::new(), Compression::best());
            gz.write_all(text.as_bytes()).unwrap();
            measured(&gz.finish().unwrap())
        };
        let of = |value: &str| format!(r#"{{"new":{value},"sessions":[{{}}]}}"#);
        for value in ["null", "true", "-1", "1e9", "1.5", "\"a\"", "[]", "{}", r#"[{"a":[1,{"b":null}]},"c"]"#] {
            assert_eq!(chunk(&of(value)).unwrap().rows, [1, 0, 0, 0], "{value}");
        }
        // All of it may be larger than a row, no value may, and none may lie deeper than there is room for.
        let many = format!("[{}0]", format!("\"{}\",", "a".repeat(1_000)).repeat(10_000));
        assert!(many.len() > 8 << 20 && chunk(&of(&many)).is_ok());
        let one = format!("\"{}\"", "a".repeat(7 << 20));
        let named = |value: &str, words: &str| {
            let damage = chunk(&of(value)).unwrap_err().to_string();
            assert!(damage.starts_with("it is damaged: ") && damage.contains(words), "{damage}");
        };
        named(&one, "a row or value is larger than");
        named(&format!("{{{one}:0}}"), "a row or value is larger than");
        named(&format!("{}{}", "[".repeat(200), "]".repeat(200)), "recursion limit exceeded");
        named(&"{\"a\":".repeat(200), "recursion limit exceeded");
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
