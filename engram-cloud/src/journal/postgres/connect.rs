//! Connections: how they are opened, how long they may take, and what it means when they fail.

use crate::journal::JournalError;
use engram_proto::VERSION;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::time::Duration;

/// Questions answered at one time; who waits in a long poll holds none.
const READERS_MAX: u32 = 8;

/// How long a question waits for a connection.
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(5);

/// What the server itself ends, for the case that we are no longer there to do so: times in milliseconds.
const LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "20000"), ("lock_timeout", "10000"), ("idle_in_transaction_session_timeout", "20000")];

/// Adds what every connection of ours has.
pub(super) fn options(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name(&format!("engram-cloud {VERSION}")).options(LIMITS)
}

/// Makes a bounded pool; it opens connections when they are needed.
pub(super) fn readers(options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(ACQUIRE_PATIENCE)
        .connect_lazy_with(options.clone())
}

/// Makes the pool of the one connection that listens.
pub(super) fn listener(options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_PATIENCE)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options.clone())
}

/// Says what went wrong, for the log.
pub(super) fn failed(error: sqlx::Error) -> JournalError {
    match error {
        sqlx::Error::PoolTimedOut => JournalError::Slow,
        sqlx::Error::PoolClosed => JournalError::Closed,
        other => JournalError::Store(other.to_string()),
    }
}

/// Gives an attempt its time.
pub(super) async fn in_time<T>(
    patience: Duration,
    attempt: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, JournalError> {
    match tokio::time::timeout(patience, attempt).await {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(JournalError::Slow),
    }
}
