//! `<data-dir>/engramd.toml`: every key has a default, and a key we do not know is refused with the nearest that we do.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file's name inside the data directory.
pub const FILE_NAME: &str = "engramd.toml";

/// The keys, as [`Settings`] has them.
const KEYS: [&str; 5] = ["socket", "log", "log_level", "long_poll_seconds", "request_bytes_max"];

/// What `engramd.toml` can say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Where to listen, instead of in the data directory.
    pub socket: Option<PathBuf>,
    /// `pretty`, `json` or `journal`.
    pub log: String,
    /// A filter such as `info` or `engramd=debug`.
    pub log_level: String,
    /// How long a pull waits at the server, in seconds, from 0 to 55.
    pub long_poll_seconds: u32,
    /// The largest request body before compression, in bytes, from 64 KiB.
    pub request_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: None,
            log: "pretty".to_owned(),
            log_level: "info".to_owned(),
            long_poll_seconds: 25,
            request_bytes_max: 1024 * 1024,
        }
    }
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("{path:?} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// It is not TOML, or a value has the wrong type; the words name the line.
    #[error("{path:?} is not usable: {words}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        words: String,
    },
    /// A key we do not know.
    #[error("{path:?} has the unknown key {key:?}; did you mean {nearest:?}?")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The nearest one that we know.
        nearest: &'static str,
    },
    /// A value out of range.
    #[error("{path:?}: {key} = {value} is out of range; it takes {range}")]
    Range {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The value.
        value: u64,
        /// What it takes.
        range: &'static str,
    },
}

/// Reads the settings; a file that is not there is all defaults.
///
/// # Errors
/// [`SettingsError`].
pub fn load(path: &Path) -> Result<Settings, SettingsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(source) => Err(SettingsError::Io { path: path.to_owned(), source }),
    }
}

fn parse(text: &str, path: &Path) -> Result<Settings, SettingsError> {
    let wrong = |error: toml::de::Error| SettingsError::Parse { path: path.to_owned(), words: error.to_string() };
    let table: toml::Table = toml::from_str(text).map_err(wrong)?;
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let nearest = KEYS.into_iter().min_by_key(|known| strsim::levenshtein(known, key)).unwrap_or(KEYS[0]);
        return Err(SettingsError::UnknownKey { path: path.to_owned(), key: key.clone(), nearest });
    }
    let settings: Settings = toml::from_str(text).map_err(wrong)?;
    let range = |key, value, range| SettingsError::Range { path: path.to_owned(), key, value, range };
    if settings.long_poll_seconds > 55 {
        return Err(range("long_poll_seconds", u64::from(settings.long_poll_seconds), "0 to 55"));
    }
    if settings.request_bytes_max < 64 * 1024 {
        return Err(range("request_bytes_max", settings.request_bytes_max, "65536 or more"));
    }
    Ok(settings)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_slip_names_the_nearest() {
        let error = parse("long_pol_seconds = 5", Path::new("/x/engramd.toml")).unwrap_err().to_string();
        assert!(error.contains("long_poll_seconds"), "{error}");
        assert!(parse("log = 5", Path::new("/x")).is_err());
        assert!(parse("long_poll_seconds = 500", Path::new("/x")).unwrap_err().to_string().contains("0 to 55"));
        let read = parse("log_level = \"debug\"", Path::new("/x")).unwrap();
        assert_eq!(read, Settings { log_level: "debug".to_owned(), ..Settings::default() });
    }
}
