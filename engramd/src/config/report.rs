//! What `engramd check-config` says: every value, and where it comes from. Never a token.

use super::cloud::{self, Loaded};
use super::settings::{self, Settings};
use crate::daemon::Options;

/// Where the values that the command line can give come from, in words.
#[derive(Clone, Debug)]
pub struct Origins {
    /// Of the data directory.
    pub data_dir: String,
    /// Of the socket.
    pub socket: String,
    /// Of the form of log lines.
    pub log: String,
    /// Of the log filter.
    pub log_level: String,
}

/// Says where a setting without a flag comes from.
#[must_use]
pub fn origin_of(settings: &Settings, key: &str) -> String {
    let given = settings.given.iter().any(|given| given == key);
    if given { settings::FILE_NAME } else { "default" }.to_owned()
}

/// Lists what was found, a value a line; the error says what of the cloud cannot be used.
pub fn lines(
    options: &Options,
    (log, log_level): (&str, &str),
    origins: &Origins,
) -> (Vec<String>, Result<(), String>) {
    let settings = &options.settings;
    let line = |name: &str, value: &str, origin: &str| format!("{name:<18} {value} ({origin})");
    let of = |key| origin_of(settings, key);
    let mut lines = vec![
        line("data directory", &options.data_dir.display().to_string(), &origins.data_dir),
        line("socket", &options.socket.display().to_string(), &origins.socket),
        line("log", log, &origins.log),
        line("log_level", log_level, &origins.log_level),
        line("long_poll_seconds", &settings.long_poll_seconds.to_string(), &of("long_poll_seconds")),
        line("request_bytes_max", &settings.request_bytes_max.to_string(), &of("request_bytes_max")),
    ];
    let place = |origin, variable| if origin == "file" { cloud::FILE_NAME } else { variable };
    match cloud::load(&options.data_dir, &options.environment) {
        Loaded::NotConfigured => {
            lines.push("cloud              not configured; engramctl cloud login --server URL".to_owned());
            (lines, Ok(()))
        }
        Loaded::Invalid { message, .. } => (lines, Err(message)),
        Loaded::Configured(config) => {
            let http = if config.allow_http { ", plain http allowed" } else { "" };
            let server = format!("{}{http}", place(config.url_origin, cloud::SERVER_VARIABLE));
            lines.push(line("cloud server", config.url.as_str().trim_end_matches('/'), &server));
            lines.push(line("cloud token", "given", place(config.token_origin, cloud::TOKEN_VARIABLE)));
            (lines, Ok(()))
        }
    }
}
