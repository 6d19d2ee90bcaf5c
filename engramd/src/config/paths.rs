//! Where things are, and who may look at them.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Permission bits of the data directory.
const DIR_MODE: u32 = 0o700;

/// Permission bits of files with secrets.
pub const FILE_MODE: u32 = 0o600;

/// Bytes that a Unix socket's path may have, without its closing NUL.
pub const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// Why a path cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// No home directory, and nothing else was given.
    #[error("no data directory is known: HOME is not set; give one with --data-dir DIR or ENGRAM_DATA_DIR")]
    NoHome,
    /// It depends on where the daemon was started.
    #[error("the data directory {0:?} is not absolute; give one that starts with /")]
    NotAbsolute(PathBuf),
    /// The same of the socket.
    #[error("the socket {0:?} is not absolute; give one that starts with /, with --socket or ENGRAMD_SOCKET")]
    SocketNotAbsolute(PathBuf),
    /// A Unix socket cannot have it.
    #[error(
        "the socket path {path:?} has {bytes} bytes, and this platform allows {SOCKET_PATH_BYTES_MAX}; \
         set ENGRAMD_SOCKET to a shorter path, such as /run/user/$UID/engramd.sock"
    )]
    SocketTooLong {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        bytes: usize,
    },
    /// The system refused.
    #[error("the data directory {path:?} cannot be used: {source}; {}", way_out(source))]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// Says what to do where the system refused a file or a directory.
#[must_use]
pub fn way_out(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::StorageFull {
        "free some space on that disk, then start again"
    } else {
        "check who owns it, or name another directory with --data-dir"
    }
}

/// Returns the data directory: what was given, else `~/.engram`.
///
/// # Errors
/// [`PathError::NoHome`] and [`PathError::NotAbsolute`].
pub fn data_dir(given: Option<&Path>, home: Option<&Path>) -> Result<PathBuf, PathError> {
    let dir = match (given.filter(|path| !path.as_os_str().is_empty()), home) {
        (Some(given), _) => given.to_owned(),
        (None, Some(home)) => home.join(".engram"),
        (None, None) => return Err(PathError::NoHome),
    };
    if dir.is_absolute() { Ok(dir) } else { Err(PathError::NotAbsolute(dir)) }
}

/// Makes the data directory, or tightens one that is open to others; tells whether it had to (DOOR-1).
///
/// # Errors
/// [`PathError::Io`].
pub fn prepare_dir(dir: &Path) -> Result<bool, PathError> {
    let io = |source| PathError::Io { path: dir.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).map_err(io)?;
    tighten(dir, DIR_MODE).map_err(io)
}

/// Takes every permission of others away; tells whether there were any.
///
/// # Errors
/// What the system says.
pub fn tighten(path: &Path, mode: u32) -> io::Result<bool> {
    let open = std::fs::metadata(path)?.permissions().mode() & 0o077 != 0;
    if open {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(open)
}

/// Checks that a Unix socket can have this path.
///
/// # Errors
/// [`PathError::SocketTooLong`] and [`PathError::SocketNotAbsolute`].
pub fn check_socket(path: &Path) -> Result<(), PathError> {
    if !path.is_absolute() {
        return Err(PathError::SocketNotAbsolute(path.to_owned()));
    }
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(PathError::SocketTooLong { path: path.to_owned(), bytes });
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_directory_must_be_known_and_absolute() {
        assert_eq!(data_dir(None, Some(Path::new("/home/a"))).unwrap(), Path::new("/home/a/.engram"));
        assert!(matches!(data_dir(Some(Path::new("x")), None), Err(PathError::NotAbsolute(_))));
        assert!(matches!(data_dir(None, None), Err(PathError::NoHome)));
        for wrong in ["", "rel.sock", "./a"] {
            assert!(matches!(check_socket(Path::new(wrong)), Err(PathError::SocketNotAbsolute(_))), "{wrong:?}");
        }
        assert!(check_socket(Path::new("/a")).is_ok());
    }

    /// DOOR-1: a directory that others could enter is tightened, and that is said.
    #[test]
    fn door_1_an_open_directory_is_tightened() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        assert!(!prepare_dir(&dir).unwrap(), "made tight");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(prepare_dir(&dir).unwrap());
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_long_socket_path_names_the_way_out() {
        let long = PathBuf::from(format!("/{}", "x".repeat(200)));
        assert!(check_socket(&long).unwrap_err().to_string().contains("ENGRAMD_SOCKET"));
    }
}
