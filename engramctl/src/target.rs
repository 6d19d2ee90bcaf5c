//! Which socket is meant: flags first, then the environment, then the home directory.

use crate::connect::ConnectError;
use engram_proto::ipc::SOCKET_NAME;
use engram_proto::words::quoted;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Bytes of the longest path that a Unix socket can have here.
pub(crate) const PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A daemon, by its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// The command that starts it there.
    pub(crate) start: String,
}

impl Target {
    /// Finds the socket.
    pub(crate) fn resolve(
        socket: Option<&Path>,
        data_dir: Option<&Path>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConnectError> {
        let start = match (socket, data_dir) {
            (None, None) => "engramd run (or: systemctl --user start engramd)".to_owned(),
            (socket, data_dir) => {
                let flag = |name, path: Option<&Path>| {
                    // The daemon takes absolute ones only.
                    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
                    let word = |path| format!(" --{name} {}", quoted(&absolute(path).to_string_lossy()));
                    path.map_or_else(String::new, word)
                };
                format!("engramd run{}{}", flag("data-dir", data_dir), flag("socket", socket))
            }
        };
        let socket = match socket {
            Some(socket) => socket.to_owned(),
            None => match named(&environment, "ENGRAMD_SOCKET") {
                Some(socket) => socket,
                None => self::data_dir(data_dir, &environment).ok_or(ConnectError::NoHome)?.join(SOCKET_NAME),
            },
        };
        let bytes = socket.as_os_str().len();
        if bytes > PATH_BYTES_MAX {
            Err(ConnectError::PathTooLong { socket, bytes })
        } else {
            Ok(Self { socket, start })
        }
    }
}

/// Finds the data directory: the one that is given, else as the daemon does.
pub(crate) fn data_dir(given: Option<&Path>, environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let home = || named(&environment, "HOME").map(|home| home.join(".engram"));
    given.map(Path::to_owned).or_else(|| named(&environment, "ENGRAM_DATA_DIR")).or_else(home)
}

fn named(environment: impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    environment(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn environment(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.into())
    }

    #[test]
    fn flags_then_environment_then_home() {
        let all = &[("ENGRAMD_SOCKET", "/e/s"), ("ENGRAM_DATA_DIR", "/e/d"), ("HOME", "/home/u")];
        let of = |socket: Option<&str>, data: Option<&str>, pairs| {
            Target::resolve(socket.map(Path::new), data.map(Path::new), environment(pairs)).unwrap().socket
        };
        assert_eq!(of(Some("/f/s"), Some("/f/d"), all), Path::new("/f/s"));
        assert_eq!(of(None, None, all), Path::new("/e/s"));
        assert_eq!(of(None, Some("/f/d"), all), Path::new("/e/s"), "as the daemon does it");
        assert_eq!(of(None, Some("/f/d"), &all[1..]), Path::new("/f/d/engramd.sock"));
        assert_eq!(of(None, None, &all[1..]), Path::new("/e/d/engramd.sock"));
        assert_eq!(of(None, None, &all[2..]), Path::new("/home/u/.engram/engramd.sock"));
        assert_eq!(of(None, None, &[("ENGRAMD_SOCKET", ""), ("HOME", "/h")]), Path::new("/h/.engram/engramd.sock"));
        assert!(matches!(Target::resolve(None, None, environment(&[])), Err(ConnectError::NoHome)));
    }

    #[test]
    fn a_path_too_long_is_named_with_a_way_out() {
        let long = "/".repeat(PATH_BYTES_MAX + 1);
        let error = Target::resolve(Some(Path::new(&long)), None, environment(&[])).unwrap_err();
        assert!(error.to_string().contains(&long), "{error}");
        assert!(error.hint().unwrap().contains("ENGRAMD_SOCKET="));
        assert!(Target::resolve(Some(Path::new(&long[1..])), None, environment(&[])).is_ok());
    }

    #[test]
    fn the_way_to_start_it_fits_the_flags() {
        let target = Target::resolve(None, Some(Path::new("/my data")), environment(&[])).unwrap();
        assert_eq!(target.start, "engramd run --data-dir '/my data'");
        // The daemon takes absolute ones only.
        let target = Target::resolve(None, Some(Path::new("rel")), environment(&[])).unwrap();
        let absolute = std::env::current_dir().unwrap().join("rel");
        assert_eq!(target.start, format!("engramd run --data-dir {}", quoted(absolute.to_str().unwrap())));
    }
}
