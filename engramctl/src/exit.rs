//! What can go wrong here, in one line each, with the next step and what to exit with (reasons.md, "Exit codes").

use crate::connect::ConnectError;
use engram_proto::ipc::reply::Failure;
use engram_proto::reason::Exit;
use engram_proto::words;
use std::io;

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CtlError {
    /// The daemon said so.
    #[error("{}", .0.message)]
    Told(Failure),
    /// The daemon could not be asked.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It was asked for in a way that cannot be meant.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What would be right.
        hint: String,
    },
    /// A file or standard input could not be used.
    #[error("{0}")]
    Input(String),
    /// Files that were asked for could not be written.
    #[error("{message}")]
    Pages {
        /// Where, and why.
        message: String,
        /// What would be right.
        hint: String,
    },
    /// A directory or file of chunks, or one beside them, cannot be used.
    #[error("{message}")]
    Place {
        /// Which, and why.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// There is no directory with chunks.
    #[error("{message}")]
    NoChunks {
        /// Where it was looked for.
        message: String,
    },
    /// The daemon ended in the middle of something that can be done again.
    #[error(
        "the daemon (pid {pid}) ended in the middle of it; what was done stays, and the same command does the rest"
    )]
    CutOff {
        /// Who.
        pid: u32,
        /// The same command.
        again: String,
    },
    /// Standard output could not be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// The runtime did not start.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// An answer of another kind than the question's.
    #[error("the daemon gave an answer that does not fit the question ({0})")]
    Unexpected(&'static str),
    /// A sync that stands still under a living daemon.
    #[error("no progress for {waited_s} s, {} left; the daemon goes on trying", words::count(*.remaining, "row"))]
    NoProgress {
        /// How long was waited.
        waited_s: u64,
        /// What is left, as last told.
        remaining: u64,
    },
}

impl CtlError {
    /// Makes a usage error.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// Says that nothing here is of a project that was named.
    pub(crate) fn no_project(name: &str) -> Self {
        Self::Told(Failure {
            exit: Exit::Failed,
            reason_code: "not_found".to_owned(),
            message: format!("there is no project {name} here"),
            hint: Some("engramctl projects".to_owned()),
        })
    }

    /// Says of a lost connection that the command, which is known to do each thing once, is to be run again.
    pub(crate) fn run_again(self) -> Self {
        match self {
            Self::Connect(ConnectError::Lost { pid } | ConnectError::Ended { pid }) => {
                let args: Vec<String> = std::env::args().skip(1).collect();
                Self::CutOff { pid, again: format!("engramctl {}", words::command_line(&args)) }
            }
            other => other,
        }
    }

    /// Returns what to exit with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Told(failure) => failure.exit,
            Self::Connect(error) => error.exit(),
            Self::Usage { .. } => Exit::Usage,
            Self::CutOff { .. } => Exit::NoDaemon,
            Self::Input(_)
            | Self::Pages { .. }
            | Self::Place { .. }
            | Self::NoChunks { .. }
            | Self::Output(_)
            | Self::Runtime(_)
            | Self::Unexpected(_)
            | Self::NoProgress { .. } => Exit::Failed,
        }
    }

    /// Returns the word for scripts.
    pub(crate) fn reason_code(&self) -> &str {
        match self {
            Self::Told(failure) => &failure.reason_code,
            Self::Connect(error) => error.reason_code(),
            Self::Usage { .. } => "usage",
            Self::CutOff { .. } => "connection_lost",
            Self::Input(_) => "input_unreadable",
            Self::Place { .. } => "place_unusable",
            Self::NoChunks { .. } => "not_found",
            Self::Pages { .. } | Self::Output(_) => "output_unwritable",
            Self::Runtime(_) => "internal_error",
            Self::Unexpected(_) => "unexpected_answer",
            Self::NoProgress { .. } => "no_progress",
        }
    }

    /// Returns one command that goes on from here.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Told(failure) => failure.hint.clone(),
            Self::Connect(error) => error.hint(),
            Self::Usage { hint, .. } | Self::Pages { hint, .. } | Self::Place { hint, .. } => Some(hint.clone()),
            Self::NoProgress { .. } => Some("engramctl status".to_owned()),
            Self::CutOff { again, .. } => Some(again.clone()),
            Self::Unexpected(_) => Some("engramctl version".to_owned()),
            Self::NoChunks { .. } => Some("engramctl chunks export, or name the directory with --dir".to_owned()),
            Self::Input(_) | Self::Output(_) | Self::Runtime(_) => None,
        }
    }
}
