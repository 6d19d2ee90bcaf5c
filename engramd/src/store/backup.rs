//! A copy of the whole store beside it, made before anything in it is rewritten.

use super::error::StoreError;
use engram_proto::time::RowTime;
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The folder beside the store.
const FOLDER: &str = "backups";
/// How the name of half a copy ends.
const PART: &str = "part";

/// Copies what is committed, readable by its owner only, and returns where to; half a copy never has the final name.
/// To be called under the store's write lock.
///
/// # Errors
/// [`StoreError::Backup`], whatever the file system or SQLite says: nothing was changed then.
pub(super) fn make(store: &Path, now: RowTime) -> Result<PathBuf, StoreError> {
    let failed = |error: StoreError| StoreError::Backup(error.to_string());
    let folder = store.parent().unwrap_or_else(|| Path::new(".")).join(FOLDER);
    let io = |error: std::io::Error| failed(StoreError::File(error));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io)?;
    let stamp: String = now.to_string().chars().filter(char::is_ascii_digit).collect();
    let free = |name: &PathBuf| !name.exists();
    let names = (0..).map(|n| if n == 0 { String::new() } else { format!("-{n}") });
    let mut names = names.map(|suffix| folder.join(format!("engram-{stamp}{suffix}.db")));
    let Some(name) = names.find(free) else { unreachable!("numbers do not end") };
    let part = name.with_extension(PART);
    // A copy that was cut short by a crash is made anew; nobody else can be making one.
    remove_parts(&folder).map_err(io)?;
    let created = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
    let file = created.map_err(io)?;
    copy(store, &part).map_err(failed)?;
    file.sync_all().map_err(io)?;
    fs::rename(&part, &name).map_err(io)?;
    fs::File::open(&folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(name)
}

/// Gives back the room that copies take which a crash cut short.
fn remove_parts(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == PART) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn copy(store: &Path, to: &Path) -> Result<(), StoreError> {
    let conn = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    Ok(())
}
