//! `engramctl session`: begin, end and list sessions.

use crate::cli::Globals;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::{Out, Under};
use crate::project;
use crate::render::session as render;
use clap::{Args, Subcommand};
use engram_proto::ipc::reply::{Reply, SessionRow};
use engram_proto::ipc::request::{RequestBody, SessionStart};
use engram_proto::reason::Exit;
use std::path::PathBuf;

const START_EXAMPLES: &str = "\
Examples:
  engramctl session start                  in the working directory's project
  engramctl session start --project app --id s-42
  ID=$(engramctl session start --json | jq -r .session.id)";
const END_EXAMPLES: &str = "\
Examples:
  engramctl session end s-42 --summary 'Moved the store to WAL.'";
const LIST_EXAMPLES: &str = "\
Examples:
  engramctl session list
  engramctl session list --project app --limit 5";

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum SessionCommand {
    /// Begin a session; what is saved in its project from now on belongs to it
    #[command(after_help = START_EXAMPLES)]
    Start(StartArgs),
    /// End a session
    #[command(after_help = END_EXAMPLES)]
    End(EndArgs),
    /// List sessions, latest first
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Its id [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    /// Its project [default: the working directory's]
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Where the work is done [default: the working directory]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EndArgs {
    /// The session's id
    id: String,

    /// What was done in it
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Sessions of this project only
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = super::find::LIMIT_DEFAULT)]
    limit: u64,
}

/// Begins, ends or lists.
pub(crate) async fn run(globals: &Globals, command: SessionCommand, out: &mut Out) -> Result<Exit, CtlError> {
    match command {
        SessionCommand::Start(args) => start(globals, args, out).await,
        SessionCommand::End(args) => end(globals, args, out).await,
        SessionCommand::List(args) => list(globals, args, out).await,
    }
}

async fn start(globals: &Globals, args: StartArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let directory = match args.directory {
        Some(directory) => std::path::absolute(&directory)
            .map_err(|error| CtlError::Input(format!("cannot use the directory {}: {error}", directory.display())))?,
        None => project::working_directory()?,
    };
    let project = project::given_or_detected(args.project, &directory)?;
    let body = SessionStart { id: args.id, project, directory: directory.to_string_lossy().into_owned() };
    match Client::connect(globals).await?.ask_one(RequestBody::SessionStart(body)).await? {
        Reply::Session(row) => answer(&row, "Began", out),
        _ => Err(CtlError::Unexpected("no session")),
    }
}

async fn end(globals: &Globals, args: EndArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let body = RequestBody::SessionEnd { id: args.id, summary: args.summary };
    match Client::connect(globals).await?.ask_one(body).await? {
        Reply::Session(row) => answer(&row, "Ended", out),
        Reply::Done(message) => super::done(&message, out).map(|()| Exit::Done),
        _ => Err(CtlError::Unexpected("no session")),
    }
}

fn answer(row: &SessionRow, done: &str, out: &mut Out) -> Result<Exit, CtlError> {
    out.answer(&Under("session", row), |_| render::line(row, done))?;
    Ok(Exit::Done)
}

async fn list(globals: &Globals, args: ListArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let across = args.project.is_none();
    let body = RequestBody::SessionList { project: args.project, limit: args.limit };
    let mut rows: Vec<SessionRow> = Vec::new();
    for reply in Client::connect(globals).await?.ask(body).await? {
        match reply {
            Reply::Sessions(sessions) => rows.extend(sessions),
            _ => return Err(CtlError::Unexpected("no sessions")),
        }
    }
    out.answer(&Under("sessions", &rows), |view| render::list(&rows, across, view))?;
    Ok(Exit::Done)
}
