//! Why a daemon could not be asked, and what to do about it.

use crate::target::PATH_BYTES_MAX;
use engram_proto::ipc::codec::FrameError;
use engram_proto::ipc::hello::Hello;
use engram_proto::reason::Exit;
use engram_proto::reason_catalog::RESTART;
use engram_proto::words::quoted;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody said where the data directory is.
    #[error("no data directory: HOME is not set, and neither --data-dir nor ENGRAM_DATA_DIR was given")]
    NoHome,
    /// The system cannot open a socket of that name.
    #[error("the socket's path is too long: {} has {bytes} bytes, a Unix socket takes {PATH_BYTES_MAX}", socket.display())]
    PathTooLong {
        /// The path.
        socket: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Nobody listens.
    #[error("no daemon answers at {}: {}", socket.display(), cause(source))]
    NoDaemon {
        /// Where it was looked for.
        socket: PathBuf,
        /// The command that starts it there.
        start: String,
        /// The system's words.
        source: io::Error,
    },
    /// Somebody listens and does not say Hello.
    #[error("the daemon at {} did not say Hello within {}: it is stopped or hangs", socket.display(), seconds(*waited))]
    Mute {
        /// Where.
        socket: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// Somebody listens who is not ours.
    #[error("what listens at {} is not engramd", socket.display())]
    Stranger {
        /// Where.
        socket: PathBuf,
        /// The command that starts ours.
        start: String,
    },
    /// One of both is of another time.
    #[error(
        "engramctl {} (pid {}) speaks protocol {}, engramd {} (pid {}) speaks protocol {}",
        ours.build, ours.pid, ours.protocol, theirs.build, theirs.pid, theirs.protocol
    )]
    Protocol {
        /// This program.
        ours: Hello,
        /// The daemon.
        theirs: Hello,
    },
    /// It said Hello and then nothing more.
    #[error("the daemon (pid {pid}) gave no answer within {}", seconds(*waited))]
    Unanswered {
        /// Who.
        pid: u32,
        /// How long was waited.
        waited: Duration,
    },
    /// It went away in the middle.
    #[error(
        "the daemon (pid {pid}) closed the connection before it had answered; what was asked may or may not be done"
    )]
    Lost {
        /// Who.
        pid: u32,
    },
    /// It ended while its events were followed.
    #[error("the daemon (pid {pid}) has ended")]
    Ended {
        /// Who.
        pid: u32,
    },
    /// What was asked does not fit a frame.
    #[error("this is too large for the daemon: {0}")]
    TooLarge(#[source] FrameError),
    /// What was answered is no frame of ours.
    #[error("the daemon's answer cannot be read: {0}")]
    Garbled(#[source] FrameError),
}

impl ConnectError {
    /// Returns what to exit with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoHome | Self::PathTooLong { .. } => Exit::Usage,
            Self::Protocol { .. } => Exit::Protocol,
            Self::TooLarge(_) | Self::Garbled(_) => Exit::Failed,
            Self::NoDaemon { .. }
            | Self::Mute { .. }
            | Self::Stranger { .. }
            | Self::Unanswered { .. }
            | Self::Lost { .. }
            | Self::Ended { .. } => Exit::NoDaemon,
        }
    }

    /// Returns the word for scripts.
    pub(crate) fn reason_code(&self) -> &'static str {
        match self {
            Self::NoHome | Self::PathTooLong { .. } => "usage",
            Self::Protocol { .. } => "protocol_mismatch",
            Self::TooLarge(_) => "request_too_large",
            Self::Garbled(_) => "unexpected_answer",
            Self::Lost { .. } | Self::Ended { .. } => "connection_lost",
            Self::NoDaemon { .. } | Self::Mute { .. } | Self::Stranger { .. } | Self::Unanswered { .. } => "no_daemon",
        }
    }

    /// Returns the command that goes on from here.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoHome => "engramctl --data-dir DIR status".to_owned(),
            Self::PathTooLong { .. } => {
                let short = if cfg!(target_os = "macos") { "$TMPDIR" } else { "$XDG_RUNTIME_DIR" };
                format!("export ENGRAMD_SOCKET={short}/engramd.sock (a shorter path, for daemon and client)")
            }
            Self::NoDaemon { socket, source, .. } if is_of_another_user(source) => {
                let socket = quoted(&socket.to_string_lossy());
                format!("ls -l {socket} shows whose it is; ask as that user, or name your own with --data-dir DIR")
            }
            Self::NoDaemon { start, .. } | Self::Stranger { start, .. } => start.clone(),
            Self::Protocol { ours, theirs } if theirs.protocol > ours.protocol => {
                format!("engramctl of build {} (or restart the daemon with this build: {RESTART})", theirs.build)
            }
            Self::Protocol { theirs, .. } => {
                format!("{RESTART} (or: kill {}; engramd run)", theirs.pid)
            }
            Self::Mute { .. } | Self::Unanswered { .. } => RESTART.to_owned(),
            Self::Lost { .. } | Self::Ended { .. } | Self::Garbled(_) => "engramctl status".to_owned(),
            Self::TooLarge(_) => return None,
        })
    }
}

/// Tells whether a daemon is there, and another user's: to start one there would be no way out.
fn is_of_another_user(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, PermissionDenied, UnexpectedEof};
    matches!(error.kind(), PermissionDenied | UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Says a system error in words, where we know better ones.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens on the socket".to_owned(),
        io::ErrorKind::PermissionDenied => "the socket belongs to somebody else".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "it closed the connection at once; it answers its own user only".to_owned()
        }
        io::ErrorKind::NotConnected | io::ErrorKind::WouldBlock => "it takes no more connections".to_owned(),
        _ => error.to_string(),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).round() / 10.0)
}
