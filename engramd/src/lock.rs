//! One daemon per data directory, proved by a lock of the operating system held for life (OWN-1).

use crate::config::paths::way_out;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file's name inside the data directory. It is never removed: a lock on a removed file protects nothing.
const FILE_NAME: &str = "engramd.lock";

/// The lock; it ends with the process, however that ends.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

/// Why the directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("engramd runs already on {dir:?}, with pid {pid}; stop it first, or give another --data-dir")]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The other's process id, as it wrote it down.
        pid: String,
    },
    /// The system refused.
    #[error("the lock {path:?} cannot be taken: {source}; {}", way_out(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl DataDirLock {
    /// Takes the lock and writes our pid down for whoever comes second.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(FILE_NAME);
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(io)?;
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(LockError::Held { dir: dir.to_owned(), pid });
            }
            Err(error) => return Err(io(error.into())),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// OWN-1: the second one is told the first one's pid, and the lock ends with its holder.
    #[test]
    fn own_1_one_daemon_per_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDirLock::take(dir.path()).unwrap();
        let refused = DataDirLock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        DataDirLock::take(dir.path()).unwrap();
    }
}
