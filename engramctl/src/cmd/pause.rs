//! `engramctl pause` and `engramctl resume`: what the user wants, kept over restarts.

use crate::cli::Globals;
use crate::exit::CtlError;
use crate::out::Out;
use clap::Args;
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::Exit;

pub(crate) const PAUSE_EXAMPLES: &str = "\
Examples:
  engramctl pause --reason 'on a train'
  engramctl pause --project app

It survives restarts. Saving and searching go on; what is saved meanwhile is
sent after `engramctl resume`.";

pub(crate) const RESUME_EXAMPLES: &str = "\
Examples:
  engramctl resume
  engramctl resume --project app";

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Stop this project only
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Why, for whoever reads the status
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Sync this project again
    #[arg(long, value_name = "P")]
    project: Option<String>,
}

/// Pauses.
pub(crate) async fn pause(globals: &Globals, args: PauseArgs, out: &mut Out) -> Result<Exit, CtlError> {
    super::ask_done(globals, RequestBody::Pause { project: args.project, reason: args.reason }, out).await
}

/// Resumes.
pub(crate) async fn resume(globals: &Globals, args: ResumeArgs, out: &mut Out) -> Result<Exit, CtlError> {
    super::ask_done(globals, RequestBody::Resume { project: args.project }, out).await
}
