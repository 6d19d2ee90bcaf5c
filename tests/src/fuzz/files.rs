//! What is read from the data directory.

use engramd::config::cloud::{self, Environment, Loaded};
use engramd::config::settings;
use serde_json::Value;
use std::cell::OnceCell;
use std::path::Path;
use tempfile::TempDir;

thread_local! {
    static DIR: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Writes input into a file of this name, and reads it with a function.
fn with_file(name: &str, input: &[u8], read: impl FnOnce(&Path)) {
    DIR.with(|dir| {
        let dir = dir.get_or_init(|| tempfile::tempdir().expect("a directory"));
        std::fs::write(dir.path().join(name), input).expect("written");
        read(dir.path());
    });
}

/// `engramd.toml`: read within its bounds, or refused in one line that names the file.
pub(super) fn settings(input: &[u8]) {
    with_file(settings::FILE_NAME, input, |dir| match settings::load(&dir.join(settings::FILE_NAME)) {
        Ok(read) => {
            assert!(read.long_poll_seconds <= 55 && read.request_bytes_max >= 64 << 10, "{read:?}");
            assert!(read.socket.as_ref().is_none_or(|path| path.is_absolute()), "{read:?}");
            assert!(["pretty", "json", "journal"].contains(&read.log.as_str()), "{read:?}");
        }
        Err(error) => {
            let line = error.to_string();
            assert!(line.contains(settings::FILE_NAME) && line.lines().count() == 1, "{line}");
        }
    });
}

/// `cloud.json`: used, or refused in one line; nothing that is said of it holds anything of the token (SECRET-1).
pub(super) fn cloud_json(input: &[u8]) {
    with_file("cloud.json", input, |dir| {
        let said = match cloud::load(dir, &Environment::default()) {
            Loaded::NotConfigured => return,
            Loaded::Invalid { message, .. } => {
                assert_eq!(message.lines().count(), 1, "{message}");
                message
            }
            Loaded::Configured(config) => {
                let is_https = config.url.scheme() == "https";
                let is_near = matches!(config.url.host_str(), Some("localhost" | "[::1]"))
                    || config.url.host_str().is_some_and(|host| host.starts_with("127."));
                assert!(is_https || is_near || config.allow_http, "SECRET-1: {config:?}");
                format!("{config:?} {}", config.host())
            }
        };
        let server_url = serde_json::from_slice::<Value>(input).map(|file| file["server_url"].to_string());
        let in_url = server_url.is_ok_and(|url| url.contains("hush-hush"));
        assert!(in_url || !said.contains("hush-hush"), "{said}");
    });
}
