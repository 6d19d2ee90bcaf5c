//! `engramctl chunks export`: writes what is in no chunk yet.

use super::import::{checked, not_there};
use super::{PATIENCE, Skipped};
use crate::chunks::build::{Builder, Built};
use crate::chunks::content::{Aim, Found, Load, Talk};
use crate::chunks::place::{Contents, Place};
use crate::chunks::read::{self, Checked};
use crate::cli::Globals;
use crate::clock;
use crate::cmd::projects;
use crate::connect::Client;
use crate::exit::CtlError;
use crate::out::Out;
use crate::project::{given_or_detected, working_directory};
use crate::render::chunks as render;
use clap::Args;
use engram_proto::canonical::Hash;
use engram_proto::chunk::{ChunkId, ManifestEntry};
use engram_proto::id::ProjectName;
use engram_proto::ipc::chunks::{ChunksReply, ChunksRequest, ExportMark};
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::Exit;
use engram_proto::time::{RowTime, UNKNOWN_TIME};
use serde::Serialize;
use std::collections::BTreeMap;
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
    /// Whose; none where it was every project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    /// Whether nothing here is of that project.
    #[serde(skip)]
    pub(crate) is_unknown: bool,
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
    let place = Place::find(globals.data_dir().as_deref(), args.dir.as_deref(), &working)?;
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
    /// What lies there; not looked at until it matters.
    contents: Option<Contents>,
    /// What was read of chunks that nobody had read before.
    seen: BTreeMap<ChunkId, Checked>,
    report: Exported,
}

impl Export {
    async fn new(place: Place, client: Client) -> Result<Self, CtlError> {
        let lock = place.lock().await?;
        let report = Exported { dir: place.name(), ..Exported::default() };
        Ok(Self { place, client, lock, contents: None, seen: BTreeMap::new(), report })
    }

    async fn run(mut self, project: Option<String>, out: &Out) -> Result<Exported, CtlError> {
        let stamp = self.place.stamp(clock::unix_ns());
        let is_settled = self.talk().is_settled(stamp.as_deref()).await?;
        let all_in = is_settled || self.learn_others(out).await?;
        self.report.project.clone_from(&project);
        let marks = self.write_rows(project, out).await?;
        self.write_manifest()?;
        // Only now, when the files are on the disk and in the list, the rows count as being in a chunk. What is in one
        // holds here as well: of a prompt that went with its session, only the chunk has a delete.
        let mut load = Load::default();
        for id in self.report.chunks.iter().filter_map(|chunk| ChunkId::parse(&chunk.id).ok()).collect::<Vec<_>>() {
            load.add(checked(&self.place, &id).map_err(CtlError::Input)?);
            if load.is_full() {
                self.talk().give(std::mem::take(&mut load), Aim::Apply).await?;
            }
        }
        self.talk().give(load, Aim::Apply).await?;
        let kept = ChunksRequest::Exported { place: self.place.name(), marks };
        self.client.ask_one(RequestBody::Chunks(kept)).await?;
        if !is_settled && all_in && !self.report.manifest_written && self.report.skipped.is_empty() {
            self.talk().settle(stamp).await?;
        }
        self.report.is_unknown = self.report.chunks.is_empty() && self.is_unknown().await?;
        self.report.outcome = match (self.report.skipped.is_empty(), self.report.chunks.is_empty()) {
            (false, _) => "partial",
            (true, true) => "nothing",
            (true, false) => "exported",
        };
        Ok(self.report)
    }

    /// Tells whether nothing here is of the project that was named.
    async fn is_unknown(&mut self) -> Result<bool, CtlError> {
        let Some(Ok(name)) = self.report.project.as_deref().map(ProjectName::parse) else { return Ok(false) };
        let known = projects::ask(&mut self.client).await?;
        Ok(!known.iter().any(|project| project.project == name.as_str()))
    }

    fn talk(&mut self) -> Talk<'_> {
        Talk { client: &mut self.client, place: self.place.name() }
    }

    /// Looks at what lies there, once.
    fn contents(&mut self) -> Result<&mut Contents, CtlError> {
        let contents = match self.contents.take() {
            Some(contents) => contents,
            None => self.place.contents()?,
        };
        Ok(self.contents.insert(contents))
    }

    /// Reads the chunks that nobody here has read, once, to learn what is in them; nothing of it is applied. Tells whether
    /// all that lies there was applied before.
    async fn learn_others(&mut self, out: &Out) -> Result<bool, CtlError> {
        let files = self.contents()?.files.clone();
        let met = self.talk().meet(&files).await?;
        let unknown: Vec<ChunkId> = met.unknown.iter().filter_map(|id| ChunkId::parse(id).ok()).collect();
        let mut load = Load::default();
        for (done, id) in unknown.iter().enumerate() {
            out.progress(&render::progress(done, unknown.len(), 0));
            match checked(&self.place, id) {
                Ok(found) => {
                    self.seen.insert(id.clone(), found.checked.clone());
                    load.add(found);
                }
                Err(reason) => self.report.skipped.push(Skipped::new(id, reason)),
            }
            if load.is_full() || done + 1 == unknown.len() {
                self.talk().give(std::mem::take(&mut load), Aim::Learn).await?;
            }
        }
        Ok(met.unknown.is_empty() && met.unread.is_empty())
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
        if !self.contents()?.files.contains(&id) {
            self.place.write(&id, &built.packed)?;
        }
        let contents = self.contents()?;
        contents.files.insert(id.clone());
        let [sessions, memories, prompts, mutations] = built.rows;
        let created_at = contents.listing.after(clock::now().unix_s);
        let entry = ManifestEntry { id: id.to_string(), created_by: author(), created_at, sessions, memories, prompts };
        contents.listing.entries.entry(id.clone()).or_insert(entry);
        self.report.chunks.push(Written { id: id.to_string(), sessions, memories, prompts, mutations });
        Ok(())
    }

    /// Finds the shortest id that no other content has.
    fn free_id(&mut self, built: &Built) -> Result<ChunkId, CtlError> {
        for digits in DIGITS {
            let id = ChunkId::of_hash(&built.hash, digits);
            let same = |found: Found| Hash::from_hex(&found.checked.hash) == Some(built.hash);
            if !self.contents()?.files.contains(&id) || checked(&self.place, &id).is_ok_and(same) {
                return Ok(id);
            }
        }
        Err(CtlError::Input(format!("no id is left for a chunk with the hash {}", built.hash)))
    }

    /// Makes the manifest list what lies there, where it does not; where nobody had to look, it does.
    fn write_manifest(&mut self) -> Result<(), CtlError> {
        let Some(mut contents) = self.contents.take() else { return Ok(()) };
        let mut changed = !self.report.chunks.is_empty();
        if !contents.is_listed() {
            changed |= self.mend(&mut contents);
        }
        if changed {
            let text = contents.listing.write().map_err(|error| CtlError::Input(error.to_string()))?;
            self.place.write_manifest(&text)?;
            self.report.manifest_written = true;
        }
        Ok(())
    }

    /// Makes the list what lies there; tells whether it was something else.
    fn mend(&mut self, contents: &mut Contents) -> bool {
        for skipped in not_there(contents) {
            let reason = format!("{}; it was taken off the list", skipped.reason);
            self.report.skipped.push(Skipped { reason, ..skipped });
        }
        let Contents { listing, files } = contents;
        let listed = listing.entries.len();
        listing.entries.retain(|id, _| files.contains(id));
        let mut changed = !listing.refused.is_empty() || listed != listing.entries.len() || listing.broken.is_some();
        for id in files.iter() {
            if listing.entries.contains_key(id) {
                continue;
            }
            let found = match self.seen.get(id) {
                Some(checked) => Ok(checked.clone()),
                None => checked(&self.place, id).map(|found| found.checked),
            };
            match found {
                Ok(found) => {
                    listing.entries.insert(id.clone(), adopted(id, &found));
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
        changed
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
