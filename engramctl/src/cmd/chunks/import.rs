//! `engramctl chunks import`: takes in what lies in the chunks and was not read yet.

use super::{PATIENCE, Skipped};
use crate::chunks::content::{Aim, Talk};
use crate::chunks::loads::Loads;
use crate::chunks::place::{Contents, Place};
use crate::chunks::reading::Reading;
use crate::cli::Globals;
use crate::clock;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::Out;
use crate::project::working_directory;
use crate::render::chunks as render;
use clap::Args;
use engram_proto::chunk::ChunkId;
use engram_proto::ipc::chunks::{ChunksHeld, ChunksReply, ChunksRequest};
use engram_proto::reason::Exit;
use serde::Serialize;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl chunks import              after git pull, in the repository
  engramctl chunks import --dir ../app/.engram
  engramctl chunks import --json | jq -r .outcome

Reads every chunk that was not read yet, in any order, row by row. What it
brings is queued for the cloud like what is saved here: it goes there once its
project is enrolled, and stays on this machine until then. No file is written.

Exits 0 when all of it is in, 5 when a chunk was passed over or a row of those
that lie there is held. Chunks and the first 20 rows are named; held list has
all of them.";

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The directory with the chunks [default: the nearest .engram, here or above]
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
}

/// How an import went.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Imported {
    /// `imported`, `nothing` or `partial`.
    pub(crate) outcome: &'static str,
    /// The directory.
    pub(crate) dir: String,
    /// Chunks that were read.
    pub(crate) chunks: u64,
    /// Rows in them.
    pub(crate) rows: u64,
    /// Rows that changed what this device has.
    pub(crate) changed: u64,
    /// Rows queued for the cloud.
    pub(crate) queued: u64,
    /// Rows of the chunks there that are held.
    pub(crate) held: u64,
    /// The first of them.
    pub(crate) held_rows: Vec<String>,
    /// How many more of them there are.
    pub(crate) held_more: u64,
    /// Chunks that were passed over.
    pub(crate) skipped: Vec<Skipped>,
    /// Whether a file is missing, or not as its id says.
    #[serde(skip)]
    pub(crate) is_any_lost: bool,
    /// What is wrong with the manifest, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<String>,
}

/// Imports.
pub(crate) async fn run(globals: &Globals, args: &ImportArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let place = Place::find(globals.data_dir().as_deref(), args.dir.as_deref(), &working_directory()?)?;
    place.must_exist()?;
    let imported = import(globals, &place, out).await;
    out.progress("");
    finish(&imported?, false, out)
}

/// Says how it went; of one of many directories, which.
pub(super) fn finish(imported: &Imported, is_of_many: bool, out: &mut Out) -> Result<Exit, CtlError> {
    out.answer(imported, |view| render::imported(imported, is_of_many, view))?;
    Ok(if imported.outcome == "partial" { Exit::Partial } else { Exit::Done })
}

/// Reads what is news at a place.
pub(super) async fn import(globals: &Globals, place: &Place, out: &Out) -> Result<Imported, CtlError> {
    let (mut client, at) = (Client::connect_patient(globals, PATIENCE).await?, Cell::new((0, 0)));
    let mut talk = Talk::about(&mut client, place.name());
    let shows = |rows| out.progress(&render::progress(at.get().0, at.get().1, rows));
    talk.tell(shows);
    let stamp = place.stamp(clock::unix_ns());
    if talk.is_settled(stamp.as_deref()).await? {
        return Ok(Imported { dir: place.name(), outcome: "nothing", ..Imported::default() });
    }
    let files = place.files()?;
    let meeting = talk.begin_meeting(&files).await?;
    // While the daemon compares, the list is looked at.
    let contents = place.listed(files)?;
    let met = talk.met(meeting).await?;
    let news: BTreeSet<&str> = met.unknown.iter().chain(&met.unread).map(String::as_str).collect();
    let mut imported = Imported { dir: place.name(), manifest: contents.broken().cloned(), ..Imported::default() };
    imported.skipped = not_there(&contents);
    let reading = Arc::new(Reading::at(place)?);
    reading.know(&met.refused, &contents);
    let mut loads = Loads::new(&reading, in_order(&contents, &news));
    at.set((0, loads.len()));
    if loads.len() > 0 {
        shows(0);
    }
    while let Some(read) = loads.next().await? {
        imported.skipped.extend(read.damaged.into_iter().map(|(id, reason)| Skipped::new(id, reason)));
        imported.chunks += read.load.chunks().len() as u64;
        talk.give_ahead(read.load, Aim::Apply).await?;
        at.set((read.done.min(loads.len() - 1), loads.len()));
    }
    let taken = talk.taken().await?;
    (imported.rows, imported.changed, imported.queued) = (taken.rows, taken.changed, taken.queued);
    imported.is_any_lost = !imported.skipped.is_empty();
    talk.refuse(reading.news(&met.refused)).await?;
    let complete = imported.skipped.is_empty();
    let mut settled = stamp.filter(|_| complete && contents.is_listed());
    let mut projects = taken.projects;
    if !projects.is_empty() || met.is_any_held || taken.is_any_held {
        projects.sort_unstable();
        let request = ChunksRequest::Imported { place: place.name(), projects, complete, stamp: settled.take() };
        let ChunksReply::Imported(ChunksHeld { held, named }) = talk.ask(request).await? else {
            return Err(CtlError::Unexpected("not how an import ended"));
        };
        imported.held_more = held.saturating_sub(named.len() as u64);
        (imported.held, imported.held_rows) = (held, named);
    }
    talk.settle(settled).await?;
    imported.outcome = match (imported.held > 0 || !complete, imported.chunks) {
        (true, _) => "partial",
        (false, 0) => "nothing",
        (false, _) => "imported",
    };
    Ok(imported)
}

/// Why something that the manifest names is not there: the file, or the id; and the same where it was taken off the list.
const NOT_THERE: [&str; 2] =
    ["the manifest lists it, but its file is missing", "the manifest lists it, but it is no id of a chunk"];
pub(super) const TAKEN_OFF: [&str; 2] = [
    "the manifest lists it, but its file is missing; it was taken off the list",
    "the manifest lists it, but it is no id of a chunk; it was taken off the list",
];

/// Lists what the manifest names and is not there.
pub(super) fn not_there(contents: &Contents) -> Vec<Skipped> {
    not_listed(contents, NOT_THERE)
}

/// Does the same in these words.
pub(super) fn not_listed(contents: &Contents, [missing, refused]: [&'static str; 2]) -> Vec<Skipped> {
    let Some(listing) = contents.unlike().filter(|_| !contents.is_listed()) else { return Vec::new() };
    let gone = listing.entries.ids().filter(|id| !contents.files.has(id)).map(|id| Skipped::new(id, missing));
    gone.chain(listing.refused.iter().map(|id| Skipped::new(id, refused))).collect()
}

/// Lists the news among the files in the order in which the manifest says that they were made, then those not listed.
fn in_order(contents: &Contents, news: &BTreeSet<&str>) -> Vec<ChunkId> {
    let there = news.iter().filter(|id| contents.files.has(id));
    let mut wanted: Vec<_> = there
        .filter_map(|id| {
            let listed = contents.created_at(id);
            Some((listed.is_none(), listed, ChunkId::parse(id).ok()?))
        })
        .collect();
    wanted.sort();
    wanted.into_iter().map(|(.., id)| id).collect()
}
