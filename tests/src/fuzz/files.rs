//! What is read from the data directory.

use engramd::config::cloud::{self, Environment, Loaded};
use engramd::config::settings;
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

/// `engramd.toml`: read, or refused in one line that names the file.
pub(super) fn settings(input: &[u8]) {
    with_file(settings::FILE_NAME, input, |dir| {
        if let Err(error) = settings::load(&dir.join(settings::FILE_NAME)) {
            let line = error.to_string();
            assert!(line.contains(settings::FILE_NAME) && line.lines().count() == 1, "{line}");
        }
    });
}

/// `cloud.json`: used, or refused in one line that holds nothing of the token (SECRET-1).
pub(super) fn cloud_json(input: &[u8]) {
    with_file("cloud.json", input, |dir| {
        if let Loaded::Invalid { message, .. } = cloud::load(dir, &Environment::default()) {
            let server_url =
                serde_json::from_slice::<serde_json::Value>(input).map(|file| file["server_url"].to_string());
            let in_url = server_url.is_ok_and(|url| url.contains("hush-hush") && !url.contains('@'));
            assert!(in_url || !message.contains("hush-hush"), "{message}");
        }
    });
}
