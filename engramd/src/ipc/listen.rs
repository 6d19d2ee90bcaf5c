//! Binding and accepting. A stale socket never prevents a start: the data directory's lock has proved that nobody
//! serves it (OWN-1).

use super::{Context, connection};
use crate::config::paths;
use interprocess::local_socket::tokio::Listener;
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName as _};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// So many connections may be open that have not said Hello; beyond it the oldest goes.
const SILENT_MAX: usize = 64;

/// So many may be open that have.
const GREETED_MAX: usize = 512;

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The path does not fit.
    #[error(transparent)]
    Path(#[from] paths::PathError),
    /// Somebody answers there who does not have our lock.
    #[error("another program answers at {0:?}; stop it, or set ENGRAMD_SOCKET to another path")]
    Taken(PathBuf),
    /// The system refused.
    #[error("the socket {path:?} cannot be opened: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// Binds the socket, 0600 from its first moment; one that nobody answers at is replaced.
///
/// # Errors
/// [`ListenError`].
pub fn bind(path: &Path) -> Result<Listener, ListenError> {
    paths::check_socket(path)?;
    let failed = |source| ListenError::Io { path: path.to_owned(), source };
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(ListenError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)?;
            tracing::debug!(path = %path.display(), "a stale socket was removed");
        }
        Err(_) => {}
    }
    let name = path.to_fs_name::<GenericFilePath>().map_err(failed)?;
    let options = ListenerOptions::new().name(name).mode(0o600).reclaim_name(true);
    let listener = match options.create_tokio() {
        // Where a mode cannot be set on a socket before it listens, the directory's 0700 guards it until we have.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let name = path.to_fs_name::<GenericFilePath>().map_err(failed)?;
            ListenerOptions::new().name(name).reclaim_name(true).create_tokio().map_err(failed)?
        }
        created => created.map_err(failed)?,
    };
    paths::tighten(path, 0o600).map_err(failed)?;
    Ok(listener)
}

/// Takes over a socket that a service manager opened for us.
///
/// # Errors
/// [`ListenError::Io`].
#[expect(unsafe_code, reason = "the service manager's file descriptor is a number in the environment")]
pub fn from_fd(fd: RawFd, path: &Path) -> Result<Listener, ListenError> {
    // SAFETY: the service manager opened it for this process alone, and nobody else here has asked for it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let listener = interprocess::os::unix::uds_local_socket::tokio::Listener::try_from(fd);
    listener.map(Listener::from).map_err(|source| ListenError::Io { path: path.to_owned(), source })
}

/// Lets clients in until it is dropped; a failed accept disturbs nobody.
pub async fn serve(listener: Listener, context: Context) {
    let context = Arc::new(context);
    let mut connections = JoinSet::new();
    let mut silent: VecDeque<(u64, AbortHandle)> = VecDeque::new();
    let (greeted_tx, mut greeted) = mpsc::channel(SILENT_MAX);
    for id in 0_u64.. {
        let stream = loop {
            tokio::select! {
                Some(id) = greeted.recv() => silent.retain(|(silent, _)| *silent != id),
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok(stream) => break stream,
                    Err(error) => {
                        // Out of descriptors, most likely: whoever is silent makes room.
                        tracing::warn!(%error, "a client could not be let in");
                        if let Some((_, oldest)) = silent.pop_front() {
                            oldest.abort();
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    }
                },
            }
        };
        silent.retain(|(_, task)| !task.is_finished());
        if silent.len() >= SILENT_MAX
            && let Some((_, oldest)) = silent.pop_front()
        {
            oldest.abort();
        }
        if connections.len() >= GREETED_MAX + SILENT_MAX {
            continue;
        }
        let (context, greeted) = (Arc::clone(&context), greeted_tx.clone());
        let task = connections.spawn(async move { connection::serve(stream, context, id, greeted).await });
        silent.push_back((id, task));
    }
}
