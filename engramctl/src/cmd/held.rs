//! `engramctl held`: rows that were set aside, why, and what to do with them.

use crate::cli::Globals;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::{Out, Under};
use crate::render::held as render;
use clap::{Args, Subcommand};
use engram_proto::ipc::reply::{HeldDetail, HeldRow, Reply};
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::Exit;
use serde::Serialize;
use serde_json::Value;

const LIST_EXAMPLES: &str = "\
Examples:
  engramctl held list
  engramctl held list --json | jq '.held[] | select(.kind == \"quarantined\")'

  deferred     received, waits for a parent; applies by itself when that arrives
  quarantined  ours, refused by the server
  dead         received, can never apply";
const SHOW_EXAMPLES: &str = "\
Examples:
  engramctl held show 3
  engramctl held show 3 --json | jq '.held[0].payload'";
const RETRY_EXAMPLES: &str = "\
Examples:
  engramctl held retry 3
  engramctl held retry --all";
const DROP_EXAMPLES: &str = "\
Examples:
  engramctl held drop 3 --yes

A row of ours that is dropped is not sent; the memory itself stays.";

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum HeldCommand {
    /// List held rows with the server's or SQLite's own words
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Show one held row with all its evidence and its payload
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The row's number, from `engramctl held list`
        #[arg(value_parser = number)]
        id: i64,
    },
    /// Try a held row again, or all of them
    #[command(after_help = RETRY_EXAMPLES)]
    Retry(RetryArgs),
    /// Give a held row up for good
    #[command(after_help = DROP_EXAMPLES)]
    Drop(DropArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RetryArgs {
    /// The row's number, from `engramctl held list`
    #[arg(value_parser = number)]
    id: Option<i64>,

    /// Try all of them again
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DropArgs {
    /// The row's number, from `engramctl held list`
    #[arg(value_parser = number)]
    id: i64,

    /// Needed, because it cannot be undone
    #[arg(long)]
    yes: bool,
}

/// A held row as scripts get it: its payload is JSON, where it is.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    row: &'a HeldRow,
    seq: i64,
    payload: Value,
}

/// Lists, shows, retries or drops.
pub(crate) async fn run(globals: &Globals, command: HeldCommand, out: &mut Out) -> Result<Exit, CtlError> {
    match command {
        HeldCommand::List => list(globals, out).await,
        HeldCommand::Show { id } => show(globals, id, out).await,
        HeldCommand::Retry(args) => super::ask_done(globals, RequestBody::HeldRetry { id: args.id }, out).await,
        HeldCommand::Drop(DropArgs { id, yes: true }) => {
            super::ask_done(globals, RequestBody::HeldDrop { id }, out).await
        }
        HeldCommand::Drop(DropArgs { id, yes: false }) => Err(CtlError::usage(
            "dropping a held row cannot be undone: say so with --yes",
            format!("engramctl held drop {id} --yes"),
        )),
    }
}

async fn list(globals: &Globals, out: &mut Out) -> Result<Exit, CtlError> {
    let mut rows: Vec<HeldRow> = Vec::new();
    for reply in Client::connect(globals).await?.ask(RequestBody::HeldList).await? {
        match reply {
            Reply::Held(held) => rows.extend(held),
            _ => return Err(CtlError::Unexpected("no held rows")),
        }
    }
    out.answer(&Under("held", &rows), |view| render::list(&rows, view))?;
    Ok(Exit::Done)
}

async fn show(globals: &Globals, id: i64, out: &mut Out) -> Result<Exit, CtlError> {
    let Reply::HeldRow(detail) = Client::connect(globals).await?.ask_one(RequestBody::HeldShow { id }).await? else {
        return Err(CtlError::Unexpected("no held row"));
    };
    out.answer(&Under("held", &[shown(&detail)]), |view| render::detail(&detail, view))?;
    Ok(Exit::Done)
}

fn shown(detail: &HeldDetail) -> Shown<'_> {
    let payload = serde_json::from_str(&detail.payload).unwrap_or_else(|_| Value::String(detail.payload.clone()));
    Shown { row: &detail.row, seq: detail.seq, payload }
}

fn number(text: &str) -> Result<i64, String> {
    super::number_in_list(text, "engramctl held list")
}
