//! Wires the daemon and shuts it down in order: the only place that creates two things that others use.

use crate::clock;
use crate::config::cloud::Environment;
use crate::config::paths;
use crate::config::settings::Settings;
use crate::driver::handle::{Command, DriverHandle};
use crate::driver::{self, Driver, Parts};
use crate::ipc::{self, Context, ListenError};
use crate::lock::{DataDirLock, LockError};
use crate::service;
use crate::store::{Store, StoreError, StoreHandle};
use engram_proto::health::DaemonStatus;
use engram_proto::ipc::PROTOCOL;
use engram_proto::reason::ReasonCode;
use engram_proto::time::rfc3339_from_ms;
use engramd_core::health::Who;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The store's file inside the data directory.
pub const STORE_NAME: &str = "engram.db";

/// How long the loop may take to finish its step, and the store to close; together below 2 s (ctl.md).
const LOOP_DEADLINE: Duration = Duration::from_millis(1_200);
const STORE_DEADLINE: Duration = Duration::from_millis(600);

/// What the daemon is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory, absolute.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub socket: PathBuf,
    /// What `engramd.toml` says.
    pub settings: Settings,
    /// What the environment says.
    pub environment: Environment,
}

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Path(#[from] paths::PathError),
    /// Another daemon has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The socket cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The store cannot be opened.
    #[error("the store {path:?} cannot be opened: {source}")]
    Store {
        /// The file.
        path: PathBuf,
        /// The store's words.
        source: StoreError,
    },
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] std::io::Error),
}

impl DaemonError {
    /// Returns the reason code, where it is one that a running daemon would show.
    #[must_use]
    pub fn reason(&self) -> Option<ReasonCode> {
        match self {
            // No code is about permissions; a running daemon, which must have one, takes the nearest.
            Self::Store { source: StoreError::Denied(_), .. } => None,
            Self::Store { source, .. } => source.reason(),
            Self::Lock(LockError::Io { source, .. }) | Self::Path(paths::PathError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                Some(ReasonCode::StoreFull)
            }
            _ => None,
        }
    }
}

/// Runs the daemon until `shutdown` resolves, and gives everything back.
///
/// # Errors
/// [`DaemonError`], before anything was served.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), DaemonError> {
    if paths::prepare_dir(&options.data_dir)? {
        tracing::warn!(path = %options.data_dir.display(), "the data directory was open to others; it is 0700 now");
    }
    let _lock = DataDirLock::take(&options.data_dir)?;
    let (store, thread, backup) = open_store(&options).await?;
    let listener = match service::handed_socket() {
        Some(fd) => ipc::from_fd(fd, &options.socket)?,
        None => ipc::bind(&options.socket)?,
    };
    let (driver, handle, context) = wire(&options, store).await?;
    let mut looping = tokio::spawn(driver.run());
    let serving = tokio::spawn(ipc::serve(listener, context.clone()));
    let informing = tokio::spawn(service::keep_informed(handle.clone()));
    let watcher = driver::watch::start(&options.data_dir, handle.clone())
        .inspect_err(|error| tracing::warn!(%error, "writes of other processes are found every 30 s only"));
    if let Err(error) = driver::network::listen(handle.clone()) {
        tracing::warn!(%error, "changes of the network are found by the next attempt only");
    }
    if let Err(error) = driver::suspend::listen(handle.clone()) {
        tracing::warn!(%error, "a resume from suspend is found within 30 s only");
    }
    if let Some(backup) = backup {
        let message =
            format!("the store was brought forward from an older age; a copy from before is {}", backup.display());
        handle.tell(Command::Note("store_brought_forward", None, message)).await;
    }
    resume_backfills(&context).await;
    drop(context);
    service::ready();
    tracing::info!(socket = %options.socket.display(), "engramd {} answers", engram_proto::VERSION);
    reload_on_hangup(&handle, shutdown).await?;

    service::stopping();
    handle.tell(Command::Stop).await;
    if tokio::time::timeout(LOOP_DEADLINE, &mut looping).await.is_err() {
        tracing::warn!("the loop did not finish its step in time");
        looping.abort();
    }
    drop(watcher);
    informing.abort();
    serving.abort();
    // The socket goes with its listener, and the store closes when the last handle is gone.
    let _ = tokio::join!(serving, informing);
    drop(handle);
    close(thread).await;
    tracing::info!("engramd has stopped");
    Ok(())
}

/// Opens the store; tells too where a copy went, if it had to be brought forward.
async fn open_store(options: &Options) -> Result<(StoreHandle, JoinHandle<()>, Option<PathBuf>), DaemonError> {
    let path = options.data_dir.join(STORE_NAME);
    let opening = path.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let mut store = Store::open(&opening, clock::row_time())?;
        store.set_stopwatch(clock::mono_ms);
        while store.take_up(driver::TAKE_UP_ROWS, clock::row_time())? {}
        let backup = store.backup().map(Path::to_owned);
        let (handle, thread) = StoreHandle::spawn(store, Some(&opening))?;
        Ok((handle, thread, backup))
    });
    let opened = opened.await.unwrap_or_else(|error| Err(StoreError::Invalid(error.to_string())));
    opened.map_err(|source| DaemonError::Store { path, source })
}

async fn wire(options: &Options, store: StoreHandle) -> Result<(Driver, DriverHandle, Context), DaemonError> {
    let device_id = store
        .call(|store| store.device_id().to_owned())
        .await
        .map_err(|gone| DaemonError::Store { path: options.data_dir.join(STORE_NAME), source: gone.into() })?;
    let settings = &options.settings;
    let parts = Parts {
        store: store.clone(),
        data_dir: options.data_dir.clone(),
        environment: options.environment.clone(),
        settings: driver::machine_settings(settings.long_poll_seconds, settings.request_bytes_max),
        who: who(options, &device_id),
        lease_owner: format!("engramd-{device_id}-{}", std::process::id()),
    };
    let (driver, handle) = Driver::new(parts);
    let context = Context {
        store,
        driver: handle.clone(),
        data_dir: options.data_dir.clone(),
        environment: options.environment.clone(),
        device_id,
    };
    Ok((driver, handle, context))
}

fn who(options: &Options, device_id: &str) -> Who {
    let daemon = DaemonStatus {
        version: engram_proto::VERSION.to_owned(),
        protocol: PROTOCOL,
        pid: std::process::id(),
        started_at: rfc3339_from_ms(clock::now().wall_ms),
        data_dir: options.data_dir.display().to_string(),
        socket: options.socket.display().to_string(),
        device_id: device_id.to_owned(),
        healthy: true,
        loop_ticked_at: String::new(),
    };
    Who { daemon, server_url: None, token_origin: None }
}

/// Goes on where a crash interrupted the queueing of an enrolled project's history.
async fn resume_backfills(context: &Context) {
    let due = context.store.call(|store| store.backfills_due().unwrap_or_default()).await.unwrap_or_default();
    for project in due {
        tokio::spawn(driver::backfill(context.store.clone(), context.driver.clone(), project));
    }
}

async fn reload_on_hangup(handle: &DriverHandle, shutdown: impl Future<Output = ()>) -> Result<(), DaemonError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(()) = hangup.recv() => {
                tracing::info!("configuration is read again");
                handle.tell(Command::Reload).await;
            }
        }
    }
}

async fn close(thread: JoinHandle<()>) {
    let joined = tokio::task::spawn_blocking(move || thread.join());
    if tokio::time::timeout(STORE_DEADLINE, joined).await.is_err() {
        tracing::warn!("the store did not close in time; nothing is lost, its log is read at the next start");
    }
}
