//! Unpacking what somebody else packed: memory and work are bounded, whatever it is (chunks.md 6).

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::io::{self, Read};

/// A chunk unpacks to no more bytes.
const PLAIN_BYTES_MAX: u64 = 1 << 30;
/// What was unpacked is at no byte more than so many times what was read for it: text of many memories shrinks by 3 to 20.
const RATIO_MAX: u64 = 200;
/// Besides so many bytes: a chunk that an export writes may have the same text in all of its rows.
const RATIO_FREE_BYTES: u64 = 24 << 20;
/// A row is no larger: it has to fit into a frame. Neither is a value that is passed over.
const ROW_BYTES_MAX: u64 = 6 << 20;
/// Between the budget of a row and what was read ahead of it.
const AHEAD_BYTES: u64 = 64 << 10;

/// How many bytes a row, or a value that is passed over, may still have.
pub(super) struct Budget(Cell<u64>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(ROW_BYTES_MAX))
    }
}

impl Budget {
    /// Begins with the next row.
    pub(super) fn renew(&self) {
        self.0.set(ROW_BYTES_MAX + AHEAD_BYTES);
    }

    fn spend(&self, bytes: u64) -> io::Result<()> {
        let rest = self.0.get().checked_sub(bytes);
        let rest = rest.ok_or_else(|| io::Error::other(format!("a row or value is larger than {ROW_BYTES_MAX} bytes")));
        rest.map(|rest| self.0.set(rest))
    }
}

/// A stream with an end: by all of its bytes, by what was read for them, and by those since the last row.
pub(super) struct Bounded<'a> {
    inner: MultiGzDecoder<&'a [u8]>,
    packed: &'a [u8],
    hash: Sha256,
    plain: u64,
    budget: &'a Budget,
}

impl<'a> Bounded<'a> {
    /// Begins to unpack a file's bytes; of what is read, no row goes beyond the budget.
    pub(super) fn unpack(packed: &'a [u8], budget: &'a Budget) -> Self {
        Self { inner: MultiGzDecoder::new(packed), packed, hash: Sha256::new(), plain: 0, budget }
    }

    /// Returns the hash of all that was unpacked, in hex digits.
    pub(super) fn hash(self) -> String {
        self.hash.finalize().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    }

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
        self.budget.spend(bytes)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    /// Packs what an export would not: of so little that is new that it shrinks much, but not too much.
    fn packed_tightly(times: usize) -> Vec<u8> {
        let mut dice = 1_u64;
        let noise = (0..8 << 10).map(|_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 56) as u8
        });
        let part: Vec<u8> = noise.chain(vec![b' '; 1 << 20]).collect();
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        gz.write_all(&part).unwrap();
        gz.finish().unwrap().repeat(times)
    }

    #[test]
    fn no_more_is_unpacked_than_a_chunk_may_have() {
        let unpack = |packed: &[u8]| {
            let budget = Budget(Cell::new(u64::MAX));
            let mut bounded = Bounded::unpack(packed, &budget);
            let unpacked = io::copy(&mut bounded, &mut io::sink());
            (unpacked.map_err(|error| error.to_string()), bounded.plain)
        };
        let (unpacked, _) = unpack(&packed_tightly(30));
        assert_eq!(unpacked, Ok(30 * ((8 << 10) + (1 << 20))));
        let (unpacked, plain) = unpack(&packed_tightly(1_100));
        assert!(unpacked.is_err_and(|error| error.contains("far more than its size")));
        assert!((1 << 30..(1 << 30) + (1 << 20)).contains(&plain), "{plain}: it ends where it is too much");
    }
}
