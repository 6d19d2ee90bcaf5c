//! Text to values, one function per setting.

use super::cli::ServeArgs;
use super::{ConfigError, LogForm, setting};
use crate::auth::Grant;
use crate::journal::compaction::{DAY, Retention};
use engram_proto::id::ProjectName;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Trims a value; a blank one is as good as not given.
pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn refuse(name: &'static str, flag: &'static str, value: &str, valid: &'static str) -> ConfigError {
    ConfigError::Unparsable { name, flag, value: value.to_owned(), valid }
}

pub(super) fn port(text: &str) -> Result<u16, ConfigError> {
    let valid = "a number from 1 to 65535, or 0 for any free port";
    text.parse().map_err(|_| refuse(setting::PORT, "--port", text, valid))
}

pub(super) fn host(text: &str) -> Result<IpAddr, ConfigError> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let valid = "an IP address such as 127.0.0.1, 0.0.0.0 or ::1, or localhost";
    text.trim_matches(['[', ']']).parse().map_err(|_| refuse(setting::HOST, "--host", text, valid))
}

pub(super) fn push_bytes(text: &str) -> Result<u64, ConfigError> {
    let valid = "a number of bytes from 1024 to 1073741824";
    let bytes = text.parse().ok().filter(|bytes| (1024..=1 << 30).contains(bytes));
    bytes.ok_or_else(|| refuse(setting::MAX_PUSH_BYTES, "--max-push-bytes", text, valid))
}

/// Reads both times that contents stay.
pub(super) fn retention(args: &ServeArgs) -> Result<Retention, ConfigError> {
    let days = |text: Option<&str>, name, flag, default| {
        let Some(text) = given(text) else { return Ok(default) };
        let days = text.parse().ok().filter(|days| (0..=36_500).contains(days));
        days.map(|days: u32| DAY * days).ok_or_else(|| refuse(name, flag, text, "a number of days from 0 to 36500"))
    };
    let Retention { superseded, deleted } = Retention::default();
    let (of_superseded, of_deleted) = (args.keep_superseded_days.as_deref(), args.keep_deleted_days.as_deref());
    Ok(Retention {
        superseded: days(of_superseded, setting::KEEP_SUPERSEDED, "--keep-superseded-days", superseded)?,
        deleted: days(of_deleted, setting::KEEP_DELETED, "--keep-deleted-days", deleted)?,
    })
}

pub(super) fn log_form(text: &str) -> Result<LogForm, ConfigError> {
    match text {
        "pretty" => Ok(LogForm::Pretty),
        "json" => Ok(LogForm::Json),
        _ => Err(refuse(setting::LOG, "--log", text, "pretty or json")),
    }
}

pub(super) fn log_level(text: &str) -> Result<String, ConfigError> {
    let level = text.to_ascii_lowercase();
    let valid = "error, warn, info, debug or trace";
    let is_level = ["error", "warn", "info", "debug", "trace"].contains(&level.as_str());
    if is_level { Ok(level) } else { Err(refuse(setting::LOG_LEVEL, "--log-level", text, valid)) }
}

pub(super) fn switch(text: &str) -> Result<bool, ConfigError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(refuse(setting::INSECURE, "--insecure-no-auth", text, "1, true, yes, on, 0, false, no or off")),
    }
}

pub(super) fn projects(text: &str) -> Result<Grant, ConfigError> {
    if text == "*" {
        return Ok(Grant::Every);
    }
    let names: Vec<_> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let valid = "names separated by commas, or * alone for every project";
    let refused = || refuse(setting::ALLOWED_PROJECTS, "--allowed-projects", text, valid);
    if names.is_empty() || names.contains(&"*") {
        return Err(refused());
    }
    let names = names.into_iter().map(|name| ProjectName::parse(name).map_err(|_| refused()));
    Ok(Grant::Only(names.collect::<Result<_, _>>()?))
}

pub(super) fn data_dir(text: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Result<PathBuf, ConfigError> {
    match given(text) {
        Some(text) => Ok(PathBuf::from(text)),
        None => match env("HOME").filter(|home| !home.trim().is_empty()) {
            Some(home) => Ok(PathBuf::from(home).join(".engram-cloud")),
            None => Err(ConfigError::NoDataDir),
        },
    }
}
