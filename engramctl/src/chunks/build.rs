//! A chunk in the making: rows in, a packed file and its id out.

use engram_proto::canonical::Hash;
use engram_proto::ipc::chunks::{ChunkPart, ChunkRow};
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};

/// Beyond so many bytes of rows the next one begins another chunk; memory is bounded by this.
const PLAIN_BYTES_MAX: usize = 16 << 20;

/// Rows that become one chunk.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    lists: [Vec<u8>; 4],
    rows: [u64; 4],
}

/// A chunk that is ready to be written.
#[derive(Debug)]
pub(crate) struct Built {
    /// Of the unpacked bytes.
    pub(crate) hash: Hash,
    /// The bytes of the file; the same rows give the same ones.
    pub(crate) packed: Vec<u8>,
    /// Rows, in the order of [`ChunkPart::ALL`].
    pub(crate) rows: [u64; 4],
}

impl Builder {
    /// Adds a row.
    pub(crate) fn add(&mut self, row: &ChunkRow) {
        let at = ChunkPart::ALL.iter().position(|&part| part == row.part).unwrap_or_default();
        if self.rows[at] > 0 {
            self.lists[at].push(b',');
        }
        self.rows[at] += 1;
        self.lists[at].extend_from_slice(row.json.as_bytes());
    }

    /// Tells whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == [0; 4]
    }

    /// Tells whether the next row belongs into another chunk.
    pub(crate) fn is_full(&self) -> bool {
        self.lists.iter().map(Vec::len).sum::<usize>() > PLAIN_BYTES_MAX
    }

    /// Packs the rows: one JSON object with its lists, as the Go program has them.
    pub(crate) fn build(self) -> io::Result<Built> {
        let mut out = Both { hash: Sha256::new(), gz: GzBuilder::new().write(Vec::new(), Compression::default()) };
        for (at, part) in ChunkPart::ALL.into_iter().enumerate() {
            if part == ChunkPart::Mutation && self.rows[at] == 0 {
                continue;
            }
            let before = if at == 0 { '{' } else { ',' };
            write!(out, "{before}\"{}\":[", part.as_str())?;
            out.write_all(&self.lists[at])?;
            out.write_all(b"]")?;
        }
        out.write_all(b"}")?;
        let hex = out.hash.finalize().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let hash = Hash::from_hex(&hex).ok_or_else(|| io::Error::other("a digest has 32 bytes"))?;
        Ok(Built { hash, packed: out.gz.finish()?, rows: self.rows })
    }
}

/// What is hashed and packed at once.
struct Both {
    hash: Sha256,
    gz: flate2::write::GzEncoder<Vec<u8>>,
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.gz.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.gz.flush()
    }
}
