//! `engramctl get`, `list` and `search`: what is remembered.

use crate::cli::Globals;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::{Out, Under};
use crate::render::memory as render;
use clap::Args;
use engram_proto::ipc::reply::{Found, Observation, Reply};
use engram_proto::ipc::request::{ListRequest, RequestBody, SearchRequest};
use engram_proto::reason::Exit;
use serde::Serialize;

pub(crate) const GET_EXAMPLES: &str = "\
Examples:
  engramctl get 12
  engramctl get obs-4f1c2a --json | jq -r '.observations[0].content'";

pub(crate) const LIST_EXAMPLES: &str = "\
Examples:
  engramctl list                     the latest 20 of all projects
  engramctl list --project app --type decision --limit 100
  engramctl list --deleted";

pub(crate) const SEARCH_EXAMPLES: &str = "\
Examples:
  engramctl search 'readers wait'
  engramctl search --project app --limit 5 wal checkpoint

Any input is words to look for, never syntax. Exits 0 where nothing is found.";

/// How many are listed unless told.
pub(super) const LIMIT_DEFAULT: u64 = 20;

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The memory's local number or sync id
    id: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Memories of this project only [default: all projects]
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Memories of this type only
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT)]
    limit: u64,

    /// Deleted ones instead
    #[arg(long)]
    deleted: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// The words to look for
    #[arg(required = true, value_name = "QUERY")]
    query: Vec<String>,

    /// Memories of this project only [default: all projects]
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Memories of this type only
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// Memories of this scope only
    #[arg(long, value_name = "SCOPE", value_parser = super::save::SCOPES)]
    scope: Option<String>,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT)]
    limit: u64,
}

/// A found memory as scripts get it.
#[derive(Serialize)]
struct FoundRow<'a> {
    #[serde(flatten)]
    observation: &'a Observation,
    snippet: &'a str,
}

/// Shows one memory.
pub(crate) async fn get(globals: &Globals, args: GetArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let found = observations(globals, RequestBody::Get { id: args.id }).await?;
    out.answer(&Under("observations", &found), |view| {
        found.iter().map(|observation| render::full(observation, view)).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

/// Lists memories.
pub(crate) async fn list(globals: &Globals, args: ListArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let ListArgs { project, kind, limit, deleted } = args;
    let across = project.is_none();
    let body = RequestBody::List(ListRequest { project, kind, limit, deleted });
    let found = observations(globals, body).await?;
    out.answer(&Under("observations", &found), |view| render::list(&found, across, view))?;
    Ok(Exit::Done)
}

async fn observations(globals: &Globals, body: RequestBody) -> Result<Vec<Observation>, CtlError> {
    let mut all = Vec::new();
    for reply in Client::connect(globals).await?.ask(body).await? {
        match reply {
            Reply::Observations(observations) => all.extend(observations),
            _ => return Err(CtlError::Unexpected("no memories")),
        }
    }
    Ok(all)
}

/// Finds memories.
pub(crate) async fn search(globals: &Globals, args: SearchArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let SearchArgs { query, project, kind, scope, limit } = args;
    let across = project.is_none();
    let body = RequestBody::Search(SearchRequest { query: query.join(" "), project, kind, scope, limit });
    let mut all: Vec<Found> = Vec::new();
    for reply in Client::connect(globals).await?.ask(body).await? {
        match reply {
            Reply::Found(found) => all.extend(found),
            _ => return Err(CtlError::Unexpected("no memories")),
        }
    }
    let rows: Vec<_> =
        all.iter().map(|found| FoundRow { observation: &found.observation, snippet: &found.snippet }).collect();
    out.answer(&Under("observations", &rows), |view| render::found(&all, across, view))?;
    Ok(Exit::Done)
}
