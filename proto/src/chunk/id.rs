//! The id of a chunk: the first hex digits of the SHA-256 of its bytes.

use crate::canonical::Hash;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// An id of 8 to 64 lower-case hex digits, and therefore never a path (chunks.md 6).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ChunkId(String);

/// The error of [`ChunkId::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk id is 8 to 64 lower-case hex digits")]
pub struct InvalidChunkId;

impl ChunkId {
    /// The digits that a new id has, as every reader of the Go program expects; more only where these are taken.
    pub const DIGITS: usize = 8;

    /// Reads an id that somebody else gave.
    ///
    /// # Errors
    /// [`InvalidChunkId`] for anything but 8 to 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, InvalidChunkId> {
        if Self::is_one(text) { Ok(Self(text.to_owned())) } else { Err(InvalidChunkId) }
    }

    /// Tells whether a text can be read as an id.
    #[must_use]
    pub fn is_one(text: impl AsRef<[u8]>) -> bool {
        let (text, is_hex) = (text.as_ref(), |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (Self::DIGITS..=64).contains(&text.len()) && text.iter().copied().all(is_hex)
    }

    /// Names a chunk with this hash by so many digits (8 to 64).
    ///
    /// 32 bits collide in long histories (D24): where an id is taken by other bytes, the next writer uses more digits.
    #[must_use]
    pub fn of_hash(hash: &Hash, digits: usize) -> Self {
        Self(hash.short(digits.clamp(Self::DIGITS, 64)))
    }

    /// Names these bytes by [`DIGITS`](Self::DIGITS) digits.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_hash(&Hash::of_bytes(bytes), Self::DIGITS)
    }

    /// Returns whether bytes with this hash are what the id names.
    #[must_use]
    pub fn names(&self, hash: &Hash) -> bool {
        hash.to_string().starts_with(&self.0)
    }

    /// Returns the digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ChunkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_hex_and_never_a_path() {
        for bad in
            ["", "e7d11e9", "E7D11E98", "../e7d11e98", "e7d11e98/", "e7d11e98.gz", &"a".repeat(65), "１２３４５６７８"]
        {
            assert_eq!(ChunkId::parse(bad), Err(InvalidChunkId), "{bad:?}");
        }
        assert_eq!(ChunkId::parse(&"a".repeat(64)).unwrap().as_str().len(), 64);
    }

    #[test]
    fn more_digits_name_the_same_bytes() {
        let hash = Hash::of_bytes(b"x");
        let (short, long) = (ChunkId::of_bytes(b"x"), ChunkId::of_hash(&hash, 16));
        assert!(short.names(&hash) && long.names(&hash) && !short.names(&Hash::of_bytes(b"y")));
        assert!(long.as_str().starts_with(short.as_str()) && long != short);
    }
}
