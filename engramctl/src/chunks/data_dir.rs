//! The daemon's data directory, which has the same name by default, is no place for chunks: whoever shares one would share
//! the store and the token with it (SECRET-1).

use crate::exit::CtlError;
use std::path::{Path, PathBuf};

/// Where one of these lies, a daemon keeps its store or its token.
const KEPT: [&str; 2] = ["engram.db", "cloud.json"];

/// Tells whether a directory is a daemon's: the one that is meant, which need not be there yet, or another.
pub(super) fn is_one(path: &Path, meant: Option<&Path>) -> bool {
    KEPT.iter().any(|name| path.join(name).symlink_metadata().is_ok())
        || meant.is_some_and(|meant| settled(meant) == settled(path))
}

/// Says why it is refused, and what would be right.
pub(super) fn refused(path: &Path) -> CtlError {
    let message = format!(
        "{} is a data directory of engramd, with the store and the token: it is no place for chunks",
        path.display()
    );
    CtlError::usage(message, "name another directory with --dir, or run it in the repository that shares the memory")
}

/// Returns a path without links, as far as it is there.
pub(super) fn settled(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    match (path.parent(), path.file_name()) {
        (Some(above), Some(name)) if !above.as_os_str().is_empty() => settled(above).join(name),
        _ => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}
