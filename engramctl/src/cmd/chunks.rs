//! `engramctl chunks`: memory shared through a repository, without a server.

mod export;
mod import;
mod init;
mod merge_driver;
mod status;
mod verify;
mod watch;

use crate::cli::Globals;
use crate::exit::CtlError;
use crate::out::Out;
use clap::{Args, Subcommand};
use engram_proto::reason::Exit;
use serde::Serialize;
use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use export::{Exported, Written};
pub(crate) use import::Imported;
pub(crate) use init::Prepared;
pub(crate) use status::State;
pub(crate) use verify::Verified;

/// How long one frame is waited for; a chunk has as many as it needs.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ChunksCommand {
    /// Prepare a repository: .engram, .gitattributes and the merge driver of this clone
    #[command(after_help = init::EXAMPLES)]
    Init(DirArgs),
    /// Write what is in no chunk yet, for others to import
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Take in what others exported
    #[command(after_help = import::EXAMPLES)]
    Import(import::ImportArgs),
    /// Show what is to be imported and exported
    #[command(after_help = status::EXAMPLES)]
    Status(status::StatusArgs),
    /// Check every chunk and the manifest
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Import whenever git brings new chunks
    #[command(after_help = watch::EXAMPLES)]
    Watch(watch::WatchArgs),
    /// Unite two manifests, for git
    #[command(after_help = merge_driver::EXAMPLES)]
    MergeDriver(merge_driver::MergeDriverArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DirArgs {
    /// The directory with the chunks [default: the nearest .engram, here or above]
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
}

/// Does what was asked for.
pub(crate) async fn run(globals: &Globals, command: ChunksCommand, out: &mut Out) -> Result<Exit, CtlError> {
    let done = match command {
        ChunksCommand::Init(args) => init::run(globals.data_dir().as_deref(), args.dir.as_deref(), out),
        ChunksCommand::Export(args) => export::run(globals, args, out).await,
        ChunksCommand::Import(args) => import::run(globals, &args, out).await,
        ChunksCommand::Status(args) => status::run(globals, args, out).await,
        ChunksCommand::Verify(args) => verify::run(globals, &args, out),
        ChunksCommand::Watch(args) => watch::run(globals, args, out).await,
        ChunksCommand::MergeDriver(args) => merge_driver::run(args, out),
    };
    done.map_err(CtlError::run_again)
}

/// Something that was passed over, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    /// The chunk's id, or what the manifest has instead.
    pub(crate) chunk: String,
    /// In words; where there are many, they have the same.
    pub(crate) reason: Cow<'static, str>,
}

impl Skipped {
    /// Names it, and why.
    pub(crate) fn new(chunk: impl ToString, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { chunk: chunk.to_string(), reason: reason.into() }
    }
}
