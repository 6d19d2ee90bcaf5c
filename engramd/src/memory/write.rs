//! What every write shares: its time and randomness, the stamp an edit carries, its place in the journal.

use super::error::MemoryError;
use crate::store::Transaction;
use crate::store::journal::{self, LocalWrite};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::time::RowTime;
use std::fmt::Write as _;

/// When a write happens, and the random part of the id it may need; drawn by the caller.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// By this device's clock.
    pub at: RowTime,
    /// Eight random bytes.
    pub random: [u8; 8],
}

impl Now {
    /// Makes a new identity, such as `obs-0123456789abcdef`.
    pub(super) fn new_id(&self, prefix: &str) -> String {
        self.random.iter().fold(prefix.to_owned(), |mut id, byte| {
            // Writing to a string cannot fail.
            let _ = write!(id, "{byte:02x}");
            id
        })
    }

    /// Returns the time an edit of a version carries: never below that version's (CONV-3).
    pub(super) fn after(&self, edited: Option<RowTime>) -> RowTime {
        edited.map_or(self.at, |edited| edited.max(self.at))
    }

    /// Makes a version whose key grows: as [`after`](Self::after), and one second later only where that is not enough.
    ///
    /// Stamps ahead of the clock make honest peers lose (merging.md, "Writing on a device").
    pub(super) fn growing<V>(
        &self,
        edited: Option<RowTime>,
        make: impl Fn(RowTime) -> V,
        grew: impl Fn(&V) -> bool,
    ) -> V {
        let at = self.after(edited);
        let version = make(at);
        if grew(&version) { version } else { make(at.plus_s(1)) }
    }
}

/// Puts a new version into the journal, in the transaction of the row (DUR-1).
pub(super) fn journal(
    tx: &Transaction<'_>,
    (project, key): (&ProjectName, &str),
    version: &Version,
    base: Option<Hash>,
    at: RowTime,
) -> Result<(), MemoryError> {
    let Some((op, payload)) = version.write(project, key) else { unreachable!("what was just made has its text") };
    // All deletes of a memory have one hash. A base that is the version itself says that nothing was edited, and what
    // deletes for good a memory that was deleted before is an edit (CONV-6).
    let base = base.filter(|&base| base != version.hash());
    let write = LocalWrite { project, entity: version.entity(), key, op, payload: &payload, base, at };
    journal::append(tx, &write)?;
    Ok(())
}
