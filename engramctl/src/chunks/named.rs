//! Which directory is meant by a path that somebody names, and whether it is one for chunks: a repository is full of other
//! things, and one of them may be a `manifest.json` too.

use super::data_dir::settled;
use super::files::{self, Fault};
use super::place::{CHUNKS, MANIFEST, NAME, Place};
use super::unusable::unusable;
use crate::exit::CtlError;
use std::path::{Path, PathBuf};

/// What an export that was ended may have left, besides links and chunks.
const OURS: [&[u8]; 5] = [b".", b"..", MANIFEST.as_bytes(), CHUNKS.as_bytes(), files::BESIDE.as_bytes()];

/// Finds the directory that is meant: an `.engram`, the `.engram` of a repository, or else what is named itself.
///
/// Links on the way to a repository are followed, as everywhere; one that stands where the chunks should is named, for
/// whoever wrote the repository may have put it there.
pub(super) fn meant(given: &Path) -> Result<PathBuf, CtlError> {
    let given = std::path::absolute(given).map_err(|error| unusable(given, &error.into()))?;
    if let Some(link) = given.ancestors().find(|path| is_place(path) && path.is_symlink()) {
        return Err(unusable(link, &Fault::Symlink));
    }
    let path = settled(&given);
    if is_place(&given) {
        return Ok(path);
    }
    let is_repository = path.join(NAME).symlink_metadata().is_ok() || path.join(".git").exists();
    match is_repository && !is_place(&path) {
        true => Ok(path.join(NAME)),
        false if given.is_symlink() => Err(unusable(&given, &Fault::Symlink)),
        false => Ok(path),
    }
}

fn is_place(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == NAME)
}

/// Fails where a directory holds something else than chunks: what lies there is not to be overwritten, and whoever reads
/// chunks there waits for nothing. An `.engram` is for chunks, whatever lies in it.
pub(super) fn must_be_for_chunks(place: &Place) -> Result<(), CtlError> {
    let is_another = !is_place(place.path()) && !place.begins_as_ours();
    let Some(dir) = place.opened().filter(|_| is_another) else { return Ok(()) };
    let fails = |fault| unusable(place.path(), &fault);
    let (mut has_manifest, mut has_others) = (false, false);
    let all = files::open_dir_at(dir, ".").map_err(fails)?;
    let named = files::names(all, |name| {
        has_manifest |= name == MANIFEST.as_bytes();
        has_others |= !OURS.contains(&name);
    });
    named.map_err(fails)?;
    let is_listed = has_manifest && place.listing()?.is_ours();
    if is_listed || !(has_manifest || has_others) || !place.files()?.is_empty() {
        Ok(())
    } else if has_manifest {
        Err(unusable(&place.path().join(MANIFEST), &Fault::NotOurs))
    } else {
        Err(fails(Fault::Others))
    }
}
