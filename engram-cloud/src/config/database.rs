//! The address of a Postgres database, which is a secret as a whole: it may hold a password.

use super::ConfigError;
use sqlx::postgres::PgConnectOptions;
use std::fmt;

/// Where the database is and how to log in; neither `Debug` nor an error shows it (SECRET-1).
#[derive(Clone)]
pub struct DatabaseUrl(Box<PgConnectOptions>);

impl DatabaseUrl {
    /// Reads a URL such as `postgres://user:password@host:5432/database?sslmode=require`.
    ///
    /// # Errors
    /// [`ConfigError::DatabaseUrl`] where it is none, without saying what it was.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let has_scheme = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        match text.parse::<PgConnectOptions>() {
            Ok(options) if has_scheme => Ok(Self(Box::new(options))),
            _ => Err(ConfigError::DatabaseUrl),
        }
    }

    /// Returns how to connect.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        (*self.0).clone()
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}
