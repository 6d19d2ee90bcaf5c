//! `<data-dir>/cloud.json` and what the environment says instead: the server's URL and the token.
//!
//! The file is the peer's (`server_url`, `token`), with one key of ours that a peer passes over.

use super::paths::{FILE_MODE, tighten};
use crate::secret::Secret;
use engram_proto::reason::ReasonCode;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file's name inside the data directory.
pub const FILE_NAME: &str = "cloud.json";

/// Names the server instead of the file.
pub const SERVER_VARIABLE: &str = "ENGRAM_CLOUD_SERVER";

/// Gives the token instead of the file.
pub const TOKEN_VARIABLE: &str = "ENGRAM_CLOUD_TOKEN";

/// The server to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudConfig {
    /// Its URL, without a slash at the end.
    pub url: Url,
    /// `file` or `environment`.
    pub url_origin: &'static str,
    /// The token.
    pub token: Secret,
    /// `file` or `environment`.
    pub token_origin: &'static str,
    /// Whether plain http to another machine is allowed.
    pub allow_http: bool,
}

impl CloudConfig {
    /// Returns host and port, for messages.
    #[must_use]
    pub fn host(&self) -> String {
        host(&self.url)
    }
}

/// What configuration says of the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Nothing.
    NotConfigured,
    /// Something that cannot be used.
    Invalid {
        /// `cloud_config_error`, or `auth_required` where only the token is missing.
        code: ReasonCode,
        /// Names the file or the variable, and why.
        message: String,
    },
    /// A server.
    Configured(CloudConfig),
}

/// The file as it stands.
#[derive(Default, Serialize, Deserialize)]
struct File {
    #[serde(default)]
    server_url: String,
    #[serde(default)]
    token: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    allow_http: bool,
}

/// What the environment says; read once at the start, given as a value.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// [`SERVER_VARIABLE`].
    pub server: Option<String>,
    /// [`TOKEN_VARIABLE`].
    pub token: Option<Secret>,
}

impl Environment {
    /// Reads it.
    #[must_use]
    pub fn read() -> Self {
        let text = |name| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
        Self { server: text(SERVER_VARIABLE), token: text(TOKEN_VARIABLE).map(Secret::new) }
    }
}

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error("the server URL {0:?} is not a URL; it looks like https://engram.example.com")]
    NotAUrl(String),
    /// Another scheme.
    #[error("the server URL {0} must begin with https:// (or http:// for this machine)")]
    Scheme(Url),
    /// It carries a user or a password.
    #[error("the server URL must not carry a user or a password; the token goes to standard input")]
    Credentials,
    /// It has a query or a fragment.
    #[error("the server URL {0} must end with its path: leave out ? and #")]
    Query(Url),
    /// A token would travel in the clear (SECRET-1).
    #[error(
        "{0} is plain http to another machine: the token would travel in the clear; use https, or give the permission with `engramctl cloud login --allow-http`"
    )]
    PlainHttp(Url),
}

/// Checks a server URL (SECRET-1: plain http only to loopback, or with permission).
///
/// # Errors
/// [`UrlError`].
pub fn check_url(text: &str, allow_http: bool) -> Result<Url, UrlError> {
    let mut url = Url::parse(text.trim()).map_err(|_| UrlError::NotAUrl(text.trim().to_owned()))?;
    // First, because the other words repeat the URL (SECRET-1).
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(UrlError::Scheme(url));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(UrlError::Query(url));
    }
    if url.scheme() == "http" && !allow_http && !is_loopback(&url) {
        return Err(UrlError::PlainHttp(url));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns host and port of a URL, for messages.
#[must_use]
pub fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// Reads what is configured; the environment wins over the file.
#[must_use]
pub fn load(data_dir: &Path, environment: &Environment) -> Loaded {
    let path = data_dir.join(FILE_NAME);
    let config_error = |message| Loaded::Invalid { code: ReasonCode::CloudConfigError, message };
    let file = match read_file(&path) {
        Ok(file) => file,
        Err(message) => return config_error(message),
    };
    let (text, url_origin) = match &environment.server {
        Some(server) => (server.clone(), "environment"),
        None => (file.server_url, "file"),
    };
    if text.trim().is_empty() {
        return Loaded::NotConfigured;
    }
    let url = match check_url(&text, file.allow_http) {
        Ok(url) => url,
        Err(error) => {
            let place = if url_origin == "file" { path.display().to_string() } else { SERVER_VARIABLE.to_owned() };
            return config_error(format!("{place}: {error}"));
        }
    };
    let (token, token_origin) = match &environment.token {
        Some(token) => (token.clone(), "environment"),
        None => (Secret::new(file.token), "file"),
    };
    if token.reveal().trim().is_empty() {
        let message = format!("no token for {}; it is given with `engramctl cloud login`", host(&url));
        return Loaded::Invalid { code: ReasonCode::AuthRequired, message };
    }
    Loaded::Configured(CloudConfig { url, url_origin, token, token_origin, allow_http: file.allow_http })
}

/// Returns the URL that is configured, whether or not it can be used.
#[must_use]
pub fn known_url(data_dir: &Path, environment: &Environment) -> Option<String> {
    let file = || read_file(&data_dir.join(FILE_NAME)).ok().map(|file| file.server_url);
    environment.server.clone().or_else(file).filter(|url| !url.trim().is_empty())
}

fn read_file(path: &Path) -> Result<File, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => {
            let path = path.display();
            let way_out = if error.kind() == std::io::ErrorKind::IsADirectory {
                "move it away, then `engramctl cloud login` writes it anew"
            } else {
                "check who owns it, or move it away and `engramctl cloud login` writes it anew"
            };
            return Err(format!("{path} cannot be read: {error}; {way_out}"));
        }
    };
    match tighten(path, FILE_MODE) {
        Ok(true) => tracing::warn!(path = %path.display(), "the token's file was open to others; it is 0600 now"),
        Ok(false) => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "the token's file is open to others"),
    }
    // The parser's words name line and column and nothing of the content. It would take a list for an empty object.
    if text.trim_start().starts_with('[') {
        let path = path.display();
        return Err(format!(
            "{path} is not usable: it is a list; mend it, or write it anew with `engramctl cloud login`"
        ));
    }
    serde_json::from_str(&text)
        .map_err(|error| {
            let (path, line, column) = (path.display(), error.line(), error.column());
        format!("{path} is not usable (line {line}, column {column}): mend it, or write it anew with `engramctl cloud login`")
        })
}

/// Keeps server and token: written beside the file, flushed, renamed (DUR-1).
///
/// # Errors
/// What the system says.
pub fn store(data_dir: &Path, url: &Url, token: &Secret, allow_http: bool) -> std::io::Result<()> {
    let server_url = url.as_str().trim_end_matches('/').to_owned();
    let file = File { server_url, token: token.reveal().to_owned(), allow_http };
    let (path, beside) = (data_dir.join(FILE_NAME), data_dir.join(".cloud.json.new"));
    remove_if_there(&beside)?;
    let mut new = std::fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside)?;
    new.write_all(serde_json::to_string_pretty(&file)?.as_bytes())?;
    new.write_all(b"\n")?;
    new.sync_all()?;
    std::fs::rename(&beside, &path)?;
    std::fs::File::open(data_dir)?.sync_all()
}

/// Forgets server and token.
///
/// # Errors
/// What the system says.
pub fn remove(data_dir: &Path) -> std::io::Result<()> {
    remove_if_there(&data_dir.join(FILE_NAME))
}

fn remove_if_there(path: &PathBuf) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// SECRET-1: plain http goes to loopback, or with permission.
    #[test]
    fn secret_1_plain_http_only_to_loopback() {
        for good in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "https://a.example/base/"] {
            assert!(check_url(good, false).is_ok(), "{good}");
        }
        assert!(matches!(check_url("http://a.example", false), Err(UrlError::PlainHttp(_))));
        assert!(matches!(check_url("http://127.0.0.1.a.example", false), Err(UrlError::PlainHttp(_))));
        assert!(check_url("http://a.example", true).is_ok());
        for bad in ["", "a.example", "ftp://a", "https://u:p@a.example", "https://a/?x", "https://a/#x"] {
            assert!(check_url(bad, true).is_err(), "{bad:?}");
        }
        let words = check_url("ftp://u:hush@a.example", true).unwrap_err().to_string();
        assert!(!words.contains("hush"), "{words}");
        assert_eq!(check_url("https://a.example/base/", false).unwrap().as_str(), "https://a.example/base");
    }

    /// SECRET-1: the file is 0600 whatever it was, and nothing prints the token.
    #[test]
    fn secret_1_the_file_is_private_and_the_token_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, r#"{"server_url":"https://a.example","token":"hush"}"#).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let loaded = load(dir.path(), &Environment::default());
        assert!(!format!("{loaded:?}").contains("hush"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let url = check_url("https://b.example", false).unwrap();
        store(dir.path(), &url, &Secret::new("new".to_owned()), false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let Loaded::Configured(config) = load(dir.path(), &Environment::default()) else { panic!("configured") };
        assert_eq!((config.host().as_str(), config.token.reveal()), ("b.example", "new"));
    }

    #[test]
    fn what_cannot_be_used_names_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        assert_eq!(load(dir.path(), &Environment::default()), Loaded::NotConfigured);
        std::fs::write(&path, "{\n  \"server_url\": hush").unwrap();
        let Loaded::Invalid { code, message } = load(dir.path(), &Environment::default()) else { panic!("invalid") };
        assert_eq!(code, ReasonCode::CloudConfigError);
        assert!(message.contains("cloud.json") && message.contains("line 2") && !message.contains("hush"));
        std::fs::write(&path, " []").unwrap();
        let Loaded::Invalid { message, .. } = load(dir.path(), &Environment::default()) else { panic!("invalid") };
        assert!(message.contains("cloud.json") && message.contains("engramctl cloud login"), "{message}");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let Loaded::Invalid { message, .. } = load(dir.path(), &Environment::default()) else { panic!("invalid") };
        assert!(message.contains("cloud.json") && message.contains("move it away"), "{message}");
        std::fs::remove_dir(&path).unwrap();
        let environment = Environment { server: Some("http://a.example".to_owned()), token: None };
        let Loaded::Invalid { message, .. } = load(dir.path(), &environment) else { panic!("invalid") };
        assert!(message.contains(SERVER_VARIABLE), "{message}");
    }
}
