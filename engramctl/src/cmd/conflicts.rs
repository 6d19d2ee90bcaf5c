//! `engramctl conflicts`: versions that lost to one that had not seen them, and bringing one back.

use crate::cli::Globals;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::{Out, Under};
use crate::render::conflicts as render;
use clap::Subcommand;
use engram_proto::ipc::conflict::{ConflictDetail, ConflictRow};
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::Exit;
use serde::Serialize;
use serde_json::Value;

const LIST_EXAMPLES: &str = "\
Examples:
  engramctl conflicts list
  engramctl conflicts list --json | jq -r '.conflicts[].id'

Two devices changed the same thing, and neither had seen the other's change: the
later change is shown everywhere, the other one is kept here until it is
restored. An empty list exits with 0.";
const SHOW_EXAMPLES: &str = "\
Examples:
  engramctl conflicts show 3
  engramctl conflicts show 3 --json | jq -r '.conflicts[0].payload.content'";
const RESTORE_EXAMPLES: &str = "\
Examples:
  engramctl conflicts restore 3

The lost text becomes a new edit over the current one and travels like any
other; a lost delete deletes. The conflict is not listed any more. What cannot
be written again (a deleted prompt, the start of a session) is refused.";

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ConflictsCommand {
    /// List the lost versions that nobody restored
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Show a lost version beside what is held in its place
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The conflict's number, from `engramctl conflicts list`
        #[arg(value_parser = number)]
        id: i64,
    },
    /// Write a lost version again, as a new edit
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore {
        /// The conflict's number, from `engramctl conflicts list`
        #[arg(value_parser = number)]
        id: i64,
    },
}

/// A lost version as scripts get it: payloads are JSON.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    row: &'a ConflictRow,
    payload: Value,
    current: Option<Current<'a>>,
}

#[derive(Serialize)]
struct Current<'a> {
    op: &'a str,
    payload: Value,
}

/// Lists, shows or restores.
pub(crate) async fn run(globals: &Globals, command: ConflictsCommand, out: &mut Out) -> Result<Exit, CtlError> {
    match command {
        ConflictsCommand::List => list(globals, out).await,
        ConflictsCommand::Show { id } => show(globals, id, out).await,
        ConflictsCommand::Restore { id } => restore(globals, id, out).await,
    }
}

async fn list(globals: &Globals, out: &mut Out) -> Result<Exit, CtlError> {
    let mut rows: Vec<ConflictRow> = Vec::new();
    for reply in Client::connect(globals).await?.ask(RequestBody::ConflictList).await? {
        match reply {
            Reply::Conflicts(lost) => rows.extend(lost),
            _ => return Err(CtlError::Unexpected("no conflicts")),
        }
    }
    out.answer(&Under("conflicts", &rows), |view| render::list(&rows, view))?;
    Ok(Exit::Done)
}

async fn show(globals: &Globals, id: i64, out: &mut Out) -> Result<Exit, CtlError> {
    match Client::connect(globals).await?.ask_one(RequestBody::ConflictShow { id }).await? {
        Reply::Conflict(detail) => {
            out.answer(&Under("conflicts", &[shown(&detail)]), |view| render::detail(&detail, view))?;
            Ok(Exit::Done)
        }
        _ => Err(CtlError::Unexpected("no conflict")),
    }
}

async fn restore(globals: &Globals, id: i64, out: &mut Out) -> Result<Exit, CtlError> {
    match Client::connect(globals).await?.ask_one(RequestBody::ConflictRestore { id }).await? {
        Reply::Restored(restored) => {
            out.answer(&restored, |_| render::restored(&restored))?;
            Ok(Exit::Done)
        }
        _ => Err(CtlError::Unexpected("no restored version")),
    }
}

fn shown(detail: &ConflictDetail) -> Shown<'_> {
    let json = |payload: &str| serde_json::from_str(payload).unwrap_or_else(|_| Value::String(payload.to_owned()));
    let current = detail.current.as_ref();
    let current = current.map(|current| Current { op: &current.op, payload: json(&current.payload) });
    Shown { row: &detail.row, payload: json(&detail.payload), current }
}

fn number(text: &str) -> Result<i64, String> {
    super::number_in_list(text, "engramctl conflicts list")
}
