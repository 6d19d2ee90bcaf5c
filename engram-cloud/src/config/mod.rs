//! What the server was told, checked before anything is opened (cloud.md, "Access").
//!
//! The settings keep the peer's names. What contradicts itself or is weak refuses to start; the message names the
//! setting and what would be valid, and never the value of a secret (SECRET-1).

pub mod cli;
mod database;
mod error;
mod parse;
mod secret;

use crate::auth::Grant;
use crate::journal::compaction::Retention;
use cli::ServeArgs;
pub use database::DatabaseUrl;
pub use error::ConfigError;
pub use secret::Secret;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Names of settings, as they stand in the environment.
pub mod setting {
    /// Port to listen on.
    pub const PORT: &str = "ENGRAM_PORT";
    /// Address to listen on.
    pub const HOST: &str = "ENGRAM_CLOUD_HOST";
    /// Folder of the embedded store.
    pub const DATA_DIR: &str = "ENGRAM_CLOUD_DATA_DIR";
    /// The Postgres database; without it the embedded store is used.
    pub const DATABASE_URL: &str = "ENGRAM_DATABASE_URL";
    /// The token devices present.
    pub const TOKEN: &str = "ENGRAM_CLOUD_TOKEN";
    /// The projects that token may read and write.
    pub const ALLOWED_PROJECTS: &str = "ENGRAM_CLOUD_ALLOWED_PROJECTS";
    /// The dashboard administrator's token.
    pub const ADMIN: &str = "ENGRAM_CLOUD_ADMIN";
    /// What dashboard sessions are signed with.
    pub const JWT_SECRET: &str = "ENGRAM_JWT_SECRET";
    /// What managed tokens are hashed with.
    pub const PEPPER: &str = "ENGRAM_CLOUD_TOKEN_PEPPER";
    /// Whether to ask for no token at all.
    pub const INSECURE: &str = "ENGRAM_CLOUD_INSECURE_NO_AUTH";
    /// The largest push, decompressed.
    pub const MAX_PUSH_BYTES: &str = "ENGRAM_CLOUD_MAX_PUSH_BYTES";
    /// Days for which the content of a superseded version stays.
    pub const KEEP_SUPERSEDED: &str = "ENGRAM_CLOUD_KEEP_SUPERSEDED_DAYS";
    /// Days for which the content of what was deleted for good stays.
    pub const KEEP_DELETED: &str = "ENGRAM_CLOUD_KEEP_DELETED_DAYS";
    /// The form of the log.
    pub const LOG: &str = "ENGRAM_CLOUD_LOG";
    /// How much is logged.
    pub const LOG_LEVEL: &str = "ENGRAM_CLOUD_LOG_LEVEL";
}

/// The default of [`setting::MAX_PUSH_BYTES`].
pub const PUSH_BYTES_DEFAULT: u64 = 8 * 1024 * 1024;

/// Where a server keeps everything.
#[derive(Clone, Debug)]
pub enum Store {
    /// In this folder, with the secrets that were not given.
    Embedded(PathBuf),
    /// In this database; every secret is given.
    Postgres(DatabaseUrl),
}

impl Store {
    /// Reads which store `serve` and `admin` use.
    ///
    /// # Errors
    /// [`ConfigError`] for a URL that is none, or without a setting and without a home.
    pub fn read(
        database_url: Option<&str>,
        data_dir: Option<&str>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        match parse::given(database_url) {
            Some(url) => DatabaseUrl::parse(url).map(Self::Postgres),
            None => parse::data_dir(data_dir, env).map(Self::Embedded),
        }
    }
}

/// What `serve` was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Where everything is kept.
    pub store: Store,
    /// The token devices present; `None` takes the kept one, or makes it.
    pub token: Option<Secret>,
    /// The projects the token may touch; `None` is every project.
    pub projects: Option<Grant>,
    /// Asks nobody for a token.
    pub insecure: bool,
    /// The dashboard administrator's token.
    pub admin: Option<Secret>,
    /// What dashboard sessions are signed with; `None` takes the kept one, or makes it.
    pub jwt_secret: Option<Secret>,
    /// What managed tokens are hashed with; `None` takes the kept one, or makes it.
    pub pepper: Option<Secret>,
    /// The largest push in bytes, decompressed.
    pub push_bytes_max: u64,
    /// How long contents stay that are current no more.
    pub retention: Retention,
    /// How long peers may take.
    pub timeouts: Timeouts,
    /// Connections at one time.
    pub connections_max: usize,
}

/// The forms of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Its form.
    pub form: LogForm,
    /// How much of it: a level's name.
    pub level: String,
}

impl LogConfig {
    /// Reads the settings of the log.
    ///
    /// # Errors
    /// [`ConfigError`] for a form or a level that there is not.
    pub fn read(args: &ServeArgs) -> Result<Self, ConfigError> {
        Ok(Self {
            form: parse::log_form(parse::given(args.log.as_deref()).unwrap_or("pretty"))?,
            level: parse::log_level(parse::given(args.log_level.as_deref()).unwrap_or("info"))?,
        })
    }
}

/// How long the other side may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a request's head, the wait for the next one on a kept connection included.
    pub head: Duration,
    /// Between two pieces of a body.
    pub body_idle: Duration,
    /// For a whole body.
    pub body: Duration,
    /// For the peer to take more of an answer.
    pub write: Duration,
    /// For requests that are under way at shutdown.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(60),
            body_idle: Duration::from_secs(20),
            body: Duration::from_secs(300),
            write: Duration::from_secs(30),
            drain: Duration::from_millis(3_500),
        }
    }
}

impl Config {
    /// Makes the configuration of a server for this machine alone, on a free port, with everything else at its default.
    #[must_use]
    pub fn local(data_dir: PathBuf) -> Self {
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            store: Store::Embedded(data_dir),
            token: None,
            projects: None,
            insecure: false,
            admin: None,
            jwt_secret: None,
            pepper: None,
            push_bytes_max: PUSH_BYTES_DEFAULT,
            retention: Retention::default(),
            timeouts: Timeouts::default(),
            connections_max: 4096,
        }
    }

    /// Reads and checks settings: the arguments, then the environment for secrets.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that does not parse, is weak, or contradicts another.
    pub fn read(args: &ServeArgs, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let secret = |name: &'static str, bytes_min| secret::given(name, env(name), bytes_min);
        let host = parse::host(parse::given(args.host.as_deref()).unwrap_or("127.0.0.1"))?;
        let config = Self {
            addr: SocketAddr::new(host, parse::port(parse::given(args.port.as_deref()).unwrap_or("8080"))?),
            token: secret(setting::TOKEN, secret::TOKEN_BYTES_MIN)?,
            projects: parse::given(args.allowed_projects.as_deref()).map(parse::projects).transpose()?,
            insecure: parse::given(args.insecure_no_auth.as_deref()).map(parse::switch).transpose()?.unwrap_or(false),
            admin: secret(setting::ADMIN, secret::TOKEN_BYTES_MIN)?,
            jwt_secret: secret(setting::JWT_SECRET, secret::KEY_BYTES_MIN)?,
            pepper: secret(setting::PEPPER, secret::KEY_BYTES_MIN)?,
            push_bytes_max: match parse::given(args.max_push_bytes.as_deref()) {
                Some(text) => parse::push_bytes(text)?,
                None => PUSH_BYTES_DEFAULT,
            },
            retention: parse::retention(args)?,
            store: Store::read(args.database_url.as_deref(), args.data_dir.as_deref(), &env)?,
            ..Self::local(PathBuf::new())
        };
        config.contradictions()?;
        Ok(config)
    }

    fn contradictions(&self) -> Result<(), ConfigError> {
        if self.insecure {
            for (name, secret) in [(setting::TOKEN, &self.token), (setting::ADMIN, &self.admin)] {
                if secret.is_some() {
                    return Err(ConfigError::InsecureWithToken { name });
                }
            }
            if !is_loopback(self.addr.ip()) {
                return Err(ConfigError::InsecureBeyondLoopback { host: self.addr.ip() });
            }
        }
        if self.token.is_some() && self.projects.is_none() {
            return Err(ConfigError::TokenWithoutProjects);
        }
        match &self.store {
            Store::Postgres(_) if self.token.is_none() && !self.insecure => {
                Err(ConfigError::PostgresWithout { name: setting::TOKEN })
            }
            Store::Postgres(_) if self.jwt_secret.is_none() => {
                Err(ConfigError::PostgresWithout { name: setting::JWT_SECRET })
            }
            _ => Ok(()),
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
