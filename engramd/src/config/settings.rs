//! `<data-dir>/engramd.toml`: every key has a default, and a key we do not know is refused with the nearest that we do.

use super::paths::way_out;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The file's name inside the data directory.
pub const FILE_NAME: &str = "engramd.toml";

/// How a log line can look.
const LOGS: [&str; 3] = ["pretty", "json", "journal"];

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
    /// The keys that the file gives; the others have their defaults.
    #[serde(skip)]
    pub given: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: None,
            log: "pretty".to_owned(),
            log_level: "info".to_owned(),
            long_poll_seconds: 25,
            request_bytes_max: 1024 * 1024,
            given: Vec::new(),
        }
    }
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("{path:?} cannot be read: {source}; {}", way_out(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// It is not TOML, or a value has the wrong type.
    #[error("{path:?}, line {line}: {words}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The parser's words, on one line.
        words: String,
    },
    /// A key we do not know.
    #[error("{path:?}, line {line}: the key {key:?} is unknown; did you mean {nearest:?}?")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The nearest one that we know.
        nearest: &'static str,
    },
    /// A value out of range.
    #[error("{path:?}, line {line}: {key} = {value} cannot be used; it takes {range}")]
    Range {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
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
    let keys = keys(text).map_err(|error| unusable(text, path, &error))?;
    if let Some((key, &line)) = keys.iter().find(|(key, _)| !KEYS.contains(&key.as_str())) {
        let nearest = KEYS.into_iter().min_by_key(|known| strsim::levenshtein(known, key)).unwrap_or(KEYS[0]);
        return Err(SettingsError::UnknownKey { path: path.to_owned(), line, key: key.clone(), nearest });
    }
    let mut settings: Settings = toml::from_str(text).map_err(|error| unusable(text, path, &error))?;
    let range = |key: &'static str, value: String, range| {
        let line = keys.get(key).copied().unwrap_or(1);
        Err(SettingsError::Range { path: path.to_owned(), line, key, value, range })
    };
    if settings.long_poll_seconds > 55 {
        return range("long_poll_seconds", settings.long_poll_seconds.to_string(), "0 to 55");
    }
    if settings.request_bytes_max < 64 * 1024 {
        return range("request_bytes_max", settings.request_bytes_max.to_string(), "65536 or more");
    }
    if let Some(socket) = settings.socket.as_ref().filter(|socket| !socket.is_absolute()) {
        return range("socket", format!("{:?}", socket.display().to_string()), "a path that starts with /");
    }
    if !LOGS.contains(&settings.log.as_str()) {
        return range("log", format!("{:?}", settings.log), "pretty, json or journal");
    }
    settings.given = keys.into_keys().collect();
    Ok(settings)
}

/// Lists the keys of the file, each with its line.
fn keys(text: &str) -> Result<BTreeMap<String, usize>, toml::de::Error> {
    let keys: BTreeMap<toml::Spanned<String>, toml::Value> = toml::from_str(text)?;
    Ok(keys.into_keys().map(|key| (key.get_ref().clone(), line_of(text, Some(key.span())))).collect())
}

fn unusable(text: &str, path: &Path, error: &toml::de::Error) -> SettingsError {
    let words = error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ");
    SettingsError::Parse { path: path.to_owned(), line: line_of(text, error.span()), words }
}

/// Counts the line at which something stands, from 1.
fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    1 + before.matches('\n').count()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_slip_names_the_nearest() {
        for (text, words) in [
            (
                "# mine\nlong_pol_seconds = 5",
                "line 2: the key \"long_pol_seconds\" is unknown; did you mean \"long_poll_s",
            ),
            ("\n\nlog = 5", "line 3: invalid type"),
            (
                "log = \"json\"\nlong_poll_seconds = 500",
                "line 2: long_poll_seconds = 500 cannot be used; it takes 0 to 55",
            ),
            ("log = \"loud\"", "line 1: log = \"loud\" cannot be used; it takes pretty, json or journal"),
            ("log = \"json\"\nlog_level = \"deb", "line 2: "),
            ("request_bytes_max = 1", "65536 or more"),
            ("socket = \"\"", "line 1: socket = \"\" cannot be used; it takes a path that starts with /"),
            ("log = \"json\"\nsocket = \"rel.sock\"", "line 2: socket = \"rel.sock\" cannot be used"),
        ] {
            let error = parse(text, Path::new("/x/engramd.toml")).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("/x/engramd.toml"), "{text:?}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let read = parse("log_level = \"debug\"", Path::new("/x")).unwrap();
        let given = vec!["log_level".to_owned()];
        assert_eq!(read, Settings { log_level: "debug".to_owned(), given, ..Settings::default() });
    }
}
