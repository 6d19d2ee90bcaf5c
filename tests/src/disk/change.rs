//! What was written and not synced yet: how it is taken back, and how a part of it reaches the disk all the same.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A disk writes this much whole or not at all.
const SECTOR_BYTES: usize = 512;

/// One change of a file.
pub(super) enum Change {
    /// It was not there.
    Created,
    /// Bytes at a place; what was there before, and how long the file was.
    Wrote { at: u64, new: Vec<u8>, old: Vec<u8>, old_len: u64 },
    /// It ended earlier; what was cut off.
    Cut { to: u64, old: Vec<u8> },
}

fn open(path: &Path) -> Option<File> {
    // One that was deleted since has nothing to lose.
    OpenOptions::new().read(true).write(true).open(path).ok()
}

/// Makes the file what it was before the first of them.
pub(super) fn undo(path: &Path, changes: &[Change]) {
    let Some(file) = open(path) else { return };
    for change in changes.iter().rev() {
        match change {
            Change::Created => std::fs::remove_file(path).expect("removed"),
            Change::Wrote { at, old, old_len, .. } => {
                file.write_all_at(old, *at).expect("written");
                file.set_len(*old_len).expect("cut");
            }
            Change::Cut { to, old } => file.write_all_at(old, *to).expect("written"),
        }
    }
}

/// Lets some of them have reached the disk, each in whole or up to a sector.
pub(super) fn redo_some(path: &Path, changes: &[Change], random: &mut impl FnMut() -> u64) {
    for change in changes {
        let draw = random();
        if draw.is_multiple_of(2) {
            continue;
        }
        match change {
            Change::Created => drop(File::create(path).expect("made")),
            Change::Wrote { at, new, .. } => {
                let Some(file) = open(path) else { continue };
                let sectors = new.len().div_ceil(SECTOR_BYTES).max(1);
                let torn = usize::try_from(draw / 4).unwrap_or(0) % sectors * SECTOR_BYTES;
                let part = if draw % 4 == 1 { new.len() } else { torn.min(new.len()) };
                file.write_all_at(&new[..part], *at).expect("written");
            }
            Change::Cut { to, .. } => {
                if let Some(file) = open(path) {
                    file.set_len(*to).expect("cut");
                }
            }
        }
    }
}
