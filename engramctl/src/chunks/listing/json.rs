//! A manifest as JSON, of which only one entry at a time is in memory.

use engram_proto::chunk::ManifestEntry;
use serde::de::{
    DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};
use std::fmt;
use std::io::Read;

/// Takes an entry; tells whether another one is wanted.
type Put<'p> = &'p mut dyn FnMut(ManifestEntry) -> bool;

/// Calls a closure with every entry until it wants no more, which is an error, and returns the manifest's version.
pub(super) fn read(text: impl Read, put: Put<'_>) -> serde_json::Result<u32> {
    let mut json = serde_json::Deserializer::from_reader(text);
    let version = Manifest(put).deserialize(&mut json)?;
    json.end()?;
    Ok(version)
}

/// Tells whether a text is JSON to its end, and that of something else: no object, or one without a list of chunks.
pub(super) fn is_another(text: &str) -> bool {
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_any(Fields).and_then(|is_another| json.end().map(|()| is_another)).unwrap_or(false)
}

/// The fields of whatever it is; a version alone may be all that is left of a manifest.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let (mut has_chunks, mut has_others) = (false, false);
        while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
            has_chunks |= name == "chunks";
            has_others |= name != "version";
        }
        Ok(has_others && !has_chunks)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<bool, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(true)
    }
}

/// The one object of a manifest.
struct Manifest<'p>(Put<'p>);

impl<'de> DeserializeSeed<'de> for Manifest<'_> {
    type Value = u32;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Manifest<'_> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one object with the list of the chunks")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u32, A::Error> {
        let mut version = None;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "version" => version = Some(map.next_value_seed(Number)?),
                "chunks" => map.next_value_seed(List(&mut *self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        version.ok_or_else(|| A::Error::missing_field("version"))
    }
}

/// The version; what it is instead is not repeated, for that may be as long as a manifest.
struct Number;

impl<'de> DeserializeSeed<'de> for Number {
    type Value = u32;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Number {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number for the version")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<u32, E> {
        u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: serde::de::Error>(self, _text: &str) -> Result<u32, E> {
        Err(E::invalid_type(Unexpected::Other("a text"), &self))
    }
}

/// The list; a program of Go's writes null for an empty one.
struct List<'p>(Put<'p>);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of chunks")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element()? {
            if !(self.0)(entry) {
                return Err(A::Error::custom("it lists more chunks than are read"));
            }
        }
        Ok(())
    }
}
