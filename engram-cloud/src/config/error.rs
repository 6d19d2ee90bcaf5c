//! Why the server does not start; one line each.

use super::setting;
use std::net::IpAddr;

/// Why the settings are refused. No message holds the value of a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that makes no sense.
    #[error("{name} ({flag}) is {value:?}; valid is {valid}")]
    Unparsable {
        /// The setting.
        name: &'static str,
        /// Its flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What would be valid.
        valid: &'static str,
    },
    /// A secret that is not text.
    #[error("{name} holds characters that no header can carry; valid is printable ASCII without spaces")]
    Unprintable {
        /// The setting.
        name: &'static str,
    },
    /// A secret that can be guessed.
    #[error("{name} has {bytes} bytes; valid is a secret of at least {bytes_min} bytes")]
    TooShort {
        /// The setting.
        name: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it has to be.
        bytes_min: usize,
    },
    /// A secret that everybody knows.
    #[error("{name} is a well-known development secret; valid is a secret of your own")]
    WellKnown {
        /// The setting.
        name: &'static str,
    },
    /// A token without its reach.
    #[error(
        "{} is given without {}; name the projects it may touch, separated by commas, or * for all",
        setting::TOKEN,
        setting::ALLOWED_PROJECTS
    )]
    TokenWithoutProjects,
    /// Open and closed at once.
    #[error("{} contradicts {name}; give one of the two", setting::INSECURE)]
    InsecureWithToken {
        /// The token's setting.
        name: &'static str,
    },
    /// Open to the world.
    #[error(
        "{} is for loopback addresses only, and {} is {host}; listen on 127.0.0.1",
        setting::INSECURE,
        setting::HOST
    )]
    InsecureBeyondLoopback {
        /// The address.
        host: IpAddr,
    },
    /// No address of a database; what was given is not shown.
    #[error(
        "{} (--database-url) is no address of Postgres; valid is postgres://USER:PASSWORD@HOST:PORT/DATABASE",
        setting::DATABASE_URL
    )]
    DatabaseUrl,
    /// A secret that has no place to be kept.
    #[error(
        "{} is given without {name}; with Postgres it has to be given, for every server the same",
        setting::DATABASE_URL
    )]
    PostgresWithout {
        /// The setting that is missing.
        name: &'static str,
    },
    /// Nowhere to put the store.
    #[error("neither {} nor HOME is set; give --data-dir DIR", setting::DATA_DIR)]
    NoDataDir,
}
