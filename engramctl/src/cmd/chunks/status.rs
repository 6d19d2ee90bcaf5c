//! `engramctl chunks status`: what lies there, what of it was not read, and what would be exported.

use super::import::not_there;
use super::{PATIENCE, Skipped};
use crate::chunks::content::Talk;
use crate::chunks::place::Place;
use crate::chunks::reading::Reading;
use crate::cli::Globals;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::Out;
use crate::project::{given_or_detected, working_directory};
use crate::render::chunks as render;
use clap::Args;
use engram_proto::chunk::ChunkId;
use engram_proto::ipc::chunks::{ChunksReply, ChunksRequest};
use engram_proto::reason::Exit;
use serde::Serialize;
use std::path::PathBuf;

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl chunks status
  engramctl chunks status --all --json | jq .to_export

Exits 0, and 5 when the manifest does not list what lies there, or an import or
export refused a file that is still the same. What is inside of the chunks is
checked by verify.";

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Of this project [default: the working directory's]
    #[arg(long, value_name = "P", conflicts_with = "all")]
    project: Option<String>,

    /// Of every project
    #[arg(long)]
    all: bool,

    /// The directory with the chunks [default: the nearest .engram, here or above]
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
}

/// What lies there.
#[derive(Debug, Default, Serialize)]
pub(crate) struct State {
    /// The directory.
    pub(crate) dir: String,
    /// Chunks whose files are there.
    pub(crate) chunks: u64,
    /// Those of them that were not imported, and may be.
    pub(crate) to_import: u64,
    /// Rows that are in no chunk.
    pub(crate) to_export: u64,
    /// Chunks that the manifest does not list.
    pub(crate) unlisted: Vec<String>,
    /// Chunks that the manifest lists and that are not there.
    pub(crate) missing: Vec<Skipped>,
    /// Chunks that were read and cannot be used.
    pub(crate) refused: Vec<Skipped>,
    /// What is wrong with the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<String>,
}

/// Shows it.
pub(crate) async fn run(globals: &Globals, args: StatusArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let working = working_directory()?;
    let is_named = args.project.is_some();
    let project = if args.all { None } else { Some(given_or_detected(args.project, &working)?) };
    let place = Place::find(globals.data_dir().as_deref(), args.dir.as_deref(), &working)?;
    let contents = place.contents()?;
    let mut client = Client::connect_patient(globals, PATIENCE).await?;
    let mut talk = Talk::about(&mut client, place.name());
    let met = talk.meet(&contents.files).await?;
    let reading = Reading::at(&place)?;
    reading.know(&met.refused, &contents);
    let news = met.unknown.iter().chain(&met.unread).filter_map(|id| ChunkId::parse(id).ok());
    let (mut to_import, mut refused) = (0, Vec::new());
    for id in news {
        match reading.still_refused(&id) {
            Some(reason) => refused.push(Skipped::new(&id, reason)),
            None => to_import += 1,
        }
    }
    let request =
        ChunksRequest::Export { place: place.name(), project: project.clone(), stamp: None, count_only: true };
    let ChunksReply::End(end) = talk.ask(request).await? else {
        return Err(CtlError::Unexpected("not what is to be exported"));
    };
    // What was not read may be of any project.
    if let Some(project) = project.filter(|_| is_named && end.is_unknown && to_import == 0) {
        return Err(CtlError::no_project(&project));
    }
    let state = State {
        dir: place.name(),
        chunks: contents.files.len() as u64,
        to_import,
        to_export: end.rows.iter().sum(),
        unlisted: contents.unlisted().map(str::to_owned).collect(),
        missing: not_there(&contents),
        refused,
        manifest: contents.broken().cloned(),
    };
    out.answer(&state, |view| render::state(&state, view))?;
    let listed = state.unlisted.is_empty() && state.missing.is_empty() && state.manifest.is_none();
    Ok(if listed && state.refused.is_empty() { Exit::Done } else { Exit::Partial })
}
