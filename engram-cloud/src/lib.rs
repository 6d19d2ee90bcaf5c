//! The server that several machines and people share.
//!
//! [`run`] is the whole of it: it opens the journal that the settings name, serves, and ends in order. The layers
//! are `router` over `api` over the [`journal`]'s trait; `auth` decides who may do what.

pub mod admin;
mod api;
pub mod app;
pub mod auth;
pub mod clock;
pub mod config;
pub mod journal;
pub mod keep;
pub mod router;
mod server;
mod timed;

use app::{App, Parts};
use auth::{Gate, Grant};
use clock::Clock;
use config::{Config, Secret, Store};
use journal::embedded::{self, Embedded};
use journal::postgres::{self, Postgres};
use journal::{Journal, compaction};
use keep::{DataDir, KeepError, Kept};
use std::future::Future;
use std::io::Write;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long the store may take to finish what was queued, after the requests had their time.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory or a secret in it.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The embedded store.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The database.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
    /// The socket.
    #[error("the listening socket does not tell its address: {0}")]
    Listener(#[source] std::io::Error),
}

/// Serves until `shutdown` resolves; by then waiting pulls are answered, requests finished and the store is closed.
///
/// Says on stdout where it listens once it is ready, and a token that it had to make.
///
/// # Errors
/// [`RunError`] where it cannot start; once it serves, it does not fail.
pub async fn run(config: Config, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let addr = listener.local_addr().map_err(RunError::Listener)?;
    let clock = Clock::system();
    match &config.store {
        Store::Embedded(path) => {
            let dir = DataDir::claim(path)?;
            let kept = Kept::complete(&config, &dir)?;
            let journal = Embedded::open(dir, clock.clone())?;
            say(&kept.welcome(addr));
            serve(&config, kept.token, journal, clock, listener, shutdown).await;
        }
        Store::Postgres(url) => {
            let journal = Postgres::open(url.options(), clock.clone()).await?;
            // Every secret was given: the settings were refused otherwise.
            serve(&config, config.token.clone(), journal, clock, listener, shutdown).await;
        }
    }
    Ok(())
}

async fn serve<J: Journal>(
    config: &Config,
    token: Option<Secret>,
    journal: J,
    clock: Clock,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let grant = config.projects.clone().unwrap_or(Grant::Every);
    let gate = match &token {
        Some(token) => Gate::with_token(token, grant),
        None => Gate::open(grant),
    };
    let (draining, drained) = watch::channel(false);
    let app = App::new(Parts {
        journal: journal.clone(),
        gate,
        clock,
        limits: app::limits(config.push_bytes_max),
        timeouts: config.timeouts,
        draining: drained,
    });
    let addr = listener.local_addr().unwrap_or(config.addr);
    tracing::info!(%addr, cloud_id = journal.cloud_id(), version = engram_proto::VERSION, "serving");
    say(&format!("engram-cloud listening on http://{addr}\n"));
    if config.insecure {
        tracing::warn!("no token is asked for: everybody on this machine may read and write");
    }
    let compaction = tokio::spawn(compaction::run(journal.clone(), config.retention));
    server::serve(listener, router::router(app), config.timeouts, config.connections_max, draining, shutdown).await;
    compaction.abort();
    // What is still queued then was cut off above and answered to nobody.
    if tokio::time::timeout(CLOSE_PATIENCE, journal.close()).await.is_err() {
        tracing::warn!("the store is still busy; what it does not commit was not answered");
    }
}

/// Writes to stdout, and does not mind when nobody reads it.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
