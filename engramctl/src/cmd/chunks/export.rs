//! `engramctl chunks export`: writes what is in no chunk yet.

use super::import::{checked, not_there};
use super::{PATIENCE, Skipped};
use crate::chunks::build::{Builder, Built};
use crate::chunks::content::{Aim, Talk};
use crate::chunks::listing::Listing;
use crate::chunks::place::Place;
use crate::chunks::read::{self, Checked};
use crate::cli::Globals;
use crate::clock;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::Out;
use crate::project::{given_or_detected, working_directory};
use crate::render::chunks as render;
use clap::Args;
use engram_proto::canonical::Hash;
use engram_proto::chunk::{ChunkId, ManifestEntry};
use engram_proto::ipc::chunks::{ChunksReply, ChunksRequest, ExportMark};
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::Exit;
use engram_proto::time::{RowTime, UNKNOWN_TIME};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl chunks export              the working directory's project
  engramctl chunks export --project app
  engramctl chunks export --all        every project there is
  git add .engram && git commit -m 'Share memory'

Writes one chunk with what is in no chunk yet, whatever its date: memories,
edits, sessions and their ends, relations, deletions. Where there is nothing
new, nothing is written. A manifest that a merge left broken is made again from
the chunks.

Exits 0 when all is written, 5 when a chunk was passed over; each is named.";

/// Digits of an id, and how many more where shorter ones are taken by other content.
const DIGITS: [usize; 4] = [ChunkId::DIGITS, 16, 32, 64];

/// Write what is in no chunk yet, for others to import
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
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

/// How an export went.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Exported {
    /// `exported`, `nothing` or `partial`.
    pub(crate) outcome: &'static str,
    /// The directory.
    pub(crate) dir: String,
    /// Chunks that were written; more than one only where there is a lot.
    pub(crate) chunks: Vec<Written>,
    /// Chunks that lay there and were in no list.
    pub(crate) adopted: Vec<String>,
    /// Whether the manifest was written.
    pub(crate) manifest_written: bool,
    /// Chunks that were passed over or taken off the list.
    pub(crate) skipped: Vec<Skipped>,
}

/// A chunk that was written.
#[derive(Debug, Serialize)]
pub(crate) struct Written {
    /// Its id.
    pub(crate) id: String,
    /// Its sessions.
    pub(crate) sessions: u64,
    /// Its memories.
    pub(crate) memories: u64,
    /// Its prompts.
    pub(crate) prompts: u64,
    /// Its relations, deletions and other changes.
    pub(crate) mutations: u64,
}

/// Exports.
pub(crate) async fn run(globals: &Globals, args: ExportArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let working = working_directory()?;
    let project = if args.all { None } else { Some(given_or_detected(args.project, &working)?) };
    let place = Place::find(args.dir.as_deref(), &working)?;
    let client = Client::connect_patient(globals, PATIENCE).await?;
    let exported = Export::new(place, client).await?.run(project, out).await;
    out.progress("");
    let exported = exported?;
    out.answer(&exported, |view| render::exported(&exported, view))?;
    Ok(if exported.outcome == "partial" { Exit::Partial } else { Exit::Done })
}

/// One export, from the lock to the marks.
struct Export {
    place: Place,
    client: Client,
    lock: Option<OwnedFd>,
    listing: Listing,
    files: BTreeSet<ChunkId>,
    /// What was read of chunks that nobody had read before.
    seen: BTreeMap<ChunkId, Checked>,
    report: Exported,
}

impl Export {
    async fn new(place: Place, client: Client) -> Result<Self, CtlError> {
        let lock = place.lock().await?;
        let contents = place.contents()?;
        let report = Exported { dir: place.name(), ..Exported::default() };
        let (listing, files) = (contents.listing, contents.files);
        Ok(Self { place, client, lock, listing, files, seen: BTreeMap::new(), report })
    }

    async fn run(mut self, project: Option<String>, out: &Out) -> Result<Exported, CtlError> {
        self.learn_others(out).await?;
        let marks = self.write_rows(project, out).await?;
        self.write_manifest()?;
        // Only now, when the files are on the disk and in the list, the rows count as being in a chunk. What is in one
        // holds here as well: of a prompt that went with its session, only the chunk has a delete.
        for id in self.report.chunks.iter().filter_map(|chunk| ChunkId::parse(&chunk.id).ok()).collect::<Vec<_>>() {
            let (packed, checked) = checked(&self.place, &id).map_err(CtlError::Input)?;
            self.talk().give(&id, (packed, &checked), Aim::Apply).await?;
        }
        let kept = ChunksRequest::Exported { place: self.place.name(), marks };
        self.client.ask_one(RequestBody::Chunks(kept)).await?;
        self.report.outcome = match (self.report.skipped.is_empty(), self.report.chunks.is_empty()) {
            (false, _) => "partial",
            (true, true) => "nothing",
            (true, false) => "exported",
        };
        Ok(self.report)
    }

    fn talk(&mut self) -> Talk<'_> {
        Talk { client: &mut self.client, place: self.place.name() }
    }

    /// Reads the chunks that nobody here has read, once, to learn what is in them; nothing of it is applied.
    async fn learn_others(&mut self, out: &Out) -> Result<(), CtlError> {
        let files = self.files.clone();
        let met = self.talk().meet(&files).await?;
        let unknown: Vec<ChunkId> = met.unknown.iter().filter_map(|id| ChunkId::parse(id).ok()).collect();
        for (done, id) in unknown.iter().enumerate() {
            out.progress(&render::progress(done, unknown.len(), 0));
            match checked(&self.place, id) {
                Ok((packed, checked)) => {
                    self.talk().give(id, (packed, &checked), Aim::Learn).await?;
                    self.seen.insert(id.clone(), checked);
                }
                Err(reason) => self.report.skipped.push(Skipped::new(id, reason)),
            }
        }
        Ok(())
    }

    /// Writes what is in no chunk yet, and returns up to where it was looked for.
    async fn write_rows(&mut self, project: Option<String>, out: &Out) -> Result<Vec<ExportMark>, CtlError> {
        let request = ChunksRequest::Export { place: self.place.name(), project, count_only: false };
        let stream = self.client.start(RequestBody::Chunks(request)).await?;
        let (mut builder, mut rows_done) = (Builder::default(), 0);
        loop {
            match self.client.next(stream).await?.0 {
                Reply::Chunks(ChunksReply::Rows(rows)) => {
                    rows_done += rows.len();
                    out.progress(&render::rows(rows_done));
                    for row in rows {
                        if builder.is_full() {
                            self.write_chunk(std::mem::take(&mut builder)).await?;
                        }
                        builder.add(&row);
                    }
                }
                Reply::Chunks(ChunksReply::End(end)) => {
                    if !builder.is_empty() {
                        self.write_chunk(builder).await?;
                    }
                    return Ok(end.marks);
                }
                _ => return Err(CtlError::Unexpected("not the rows of a chunk")),
            }
        }
    }

    async fn write_chunk(&mut self, builder: Builder) -> Result<(), CtlError> {
        let built = builder.build().map_err(|error| CtlError::Input(error.to_string()))?;
        self.place.make()?;
        if self.lock.is_none() {
            self.lock = self.place.lock().await?;
        }
        let id = self.free_id(&built)?;
        if !self.files.contains(&id) {
            self.place.write(&id, &built.packed)?;
            self.files.insert(id.clone());
        }
        let [sessions, memories, prompts, mutations] = built.rows;
        let created_at = self.listing.after(clock::now().unix_s);
        let entry = ManifestEntry { id: id.to_string(), created_by: author(), created_at, sessions, memories, prompts };
        self.listing.entries.entry(id.clone()).or_insert(entry);
        self.report.chunks.push(Written { id: id.to_string(), sessions, memories, prompts, mutations });
        Ok(())
    }

    /// Finds the shortest id that no other content has.
    fn free_id(&self, built: &Built) -> Result<ChunkId, CtlError> {
        for digits in DIGITS {
            let id = ChunkId::of_hash(&built.hash, digits);
            let same = |checked: Checked| Hash::from_hex(&checked.hash) == Some(built.hash);
            if !self.files.contains(&id) || checked(&self.place, &id).is_ok_and(|(_, found)| same(found)) {
                return Ok(id);
            }
        }
        Err(CtlError::Input(format!("no id is left for a chunk with the hash {}", built.hash)))
    }

    /// Makes the manifest list what lies there, where it does not.
    fn write_manifest(&mut self) -> Result<(), CtlError> {
        let contents = crate::chunks::place::Contents { listing: self.listing.clone(), files: self.files.clone() };
        for skipped in not_there(&contents) {
            let reason = format!("{}; it was taken off the list", skipped.reason);
            self.report.skipped.push(Skipped { reason, ..skipped });
        }
        let refused = !self.listing.refused.is_empty();
        let listed = self.listing.entries.len();
        self.listing.entries.retain(|id, _| self.files.contains(id));
        let mut changed = refused || listed != self.listing.entries.len() || self.listing.broken.is_some();
        for id in &self.files {
            if self.listing.entries.contains_key(id) {
                continue;
            }
            let found = match self.seen.get(id) {
                Some(checked) => Ok(checked.clone()),
                None => checked(&self.place, id).map(|(_, checked)| checked),
            };
            match found {
                Ok(found) => {
                    self.listing.entries.insert(id.clone(), adopted(id, &found));
                    self.report.adopted.push(id.to_string());
                    changed = true;
                }
                // It was named when it was read; one that cannot be read is not listed.
                Err(reason) if !self.report.skipped.iter().any(|skipped| skipped.chunk == id.as_str()) => {
                    self.report.skipped.push(Skipped::new(id, reason));
                }
                Err(_) => {}
            }
        }
        if changed || !self.report.chunks.is_empty() {
            let text = self.listing.write().map_err(|error| CtlError::Input(error.to_string()))?;
            self.place.write_manifest(&text)?;
            self.report.manifest_written = true;
        }
        Ok(())
    }
}

/// Makes the entry of a chunk from its content alone, the same for everybody who does.
fn adopted(id: &ChunkId, found: &read::Checked) -> ManifestEntry {
    let [sessions, memories, prompts, _] = found.rows;
    let at = RowTime::parse(&found.latest).map_or_else(|| UNKNOWN_TIME.replacen(' ', "T", 1) + "Z", RowTime::rfc3339);
    ManifestEntry { id: id.to_string(), created_by: "unknown".to_owned(), created_at: at, sessions, memories, prompts }
}

/// Names who exports, as the Go program does.
fn author() -> String {
    let named = ["USER", "USERNAME", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let named = named.filter(|name| !name.trim().is_empty());
    named.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}
