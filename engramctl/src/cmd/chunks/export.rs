//! `engramctl chunks export`: writes what is in no chunk yet.

use super::import::{TAKEN_OFF, not_listed};
use super::{PATIENCE, Skipped};
use crate::chunks::build::{Builder, Built};
use crate::chunks::content::{Aim, Found, Load, Talk};
use crate::chunks::loads::Loads;
use crate::chunks::place::{Contents, Flushing, Place};
use crate::chunks::read::{self, Checked};
use crate::chunks::reading::Reading;
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
use engram_proto::ipc::chunks::{ChunksReply, ChunksRequest, ExportMark, RefusedFile};
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::RequestBody;
use engram_proto::reason::Exit;
use engram_proto::time::{RowTime, UNKNOWN_TIME};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

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

Exits 0 when all is written, 5 when a chunk was passed over; each is named. A
project that is not there is exit 1, and nothing is written.";

/// Digits of an id, and how many more where shorter ones are taken by other content.
const DIGITS: [usize; 4] = [ChunkId::DIGITS, 16, 32, 64];

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
    let is_named = args.project.is_some();
    let project = if args.all { None } else { Some(given_or_detected(args.project, &working)?) };
    let place = Place::find(globals.data_dir().as_deref(), args.dir.as_deref(), &working)?;
    let client = Client::connect_patient(globals, PATIENCE).await?;
    let exported = Export::new(place, client, is_named).await?.run(project, out).await;
    out.progress("");
    let exported = exported?;
    out.answer(&exported, |view| render::exported(&exported, view))?;
    Ok(if exported.outcome == "partial" { Exit::Partial } else { Exit::Done })
}

/// One export, from the lock to the marks.
struct Export {
    place: Place,
    client: Client,
    /// Whether the project was named by who exports, and not found by where.
    is_named: bool,
    lock: Option<OwnedFd>,
    /// The files, as far as they have to be read.
    reading: Arc<Reading>,
    /// What the daemon keeps as refused.
    refused: Vec<RefusedFile>,
    /// What lies there; not looked at until it matters.
    contents: Option<Contents>,
    /// What was read of chunks that nobody had read before.
    seen: BTreeMap<ChunkId, Checked>,
    /// The last chunk, whose file is written together with the manifest.
    last: Option<(ChunkId, Vec<u8>)>,
    report: Exported,
}

impl Export {
    async fn new(place: Place, client: Client, is_named: bool) -> Result<Self, CtlError> {
        let (lock, reading) = (place.lock().await?, Arc::new(Reading::at(&place)?));
        let report = Exported { dir: place.name(), ..Exported::default() };
        let (contents, seen, last, refused) = (None, BTreeMap::new(), None, Vec::new());
        Ok(Self { place, client, is_named, lock, reading, refused, contents, seen, last, report })
    }

    async fn run(mut self, project: Option<String>, out: &Out) -> Result<Exported, CtlError> {
        let stamp = self.place.stamp(clock::unix_ns());
        self.report.project.clone_from(&project);
        let begun = match &stamp {
            Some(stamp) => self.write_rows(project.clone(), Some(stamp.clone()), out).await?,
            None => None,
        };
        let is_settled = begun.is_some();
        let (all_in, marks) = match begun {
            Some(marks) => (true, marks),
            None => (self.learn_others(out).await?, self.write_rows(project, None, out).await?.unwrap_or_default()),
        };
        let flushing = self.write_manifest()?;
        // Only now, when the files are on the disk and in the list, the rows count as being in a chunk. What is in one
        // holds here as well: of a prompt that went with its session, only the chunk has a delete.
        let mut load = Load::default();
        for id in self.report.chunks.iter().filter_map(|chunk| ChunkId::parse(&chunk.id).ok()).collect::<Vec<_>>() {
            load.add(self.written(&id)?);
            if load.is_full() {
                self.talk().give(std::mem::take(&mut load), Aim::Apply).await?;
            }
        }
        self.talk().give(load, Aim::Apply).await?;
        if !marks.is_empty() {
            let kept = ChunksRequest::Exported { place: self.place.name(), marks };
            self.client.ask_one(RequestBody::Chunks(kept)).await?;
        }
        if let Some(flushing) = flushing {
            self.place.wait_for_manifest(flushing)?;
        }
        if !is_settled && all_in && !self.report.manifest_written && self.report.skipped.is_empty() {
            self.talk().settle(stamp).await?;
        }
        let news = self.reading.news(&self.refused);
        self.talk().refuse(news).await?;
        self.report.outcome = match (self.report.skipped.is_empty(), self.report.chunks.is_empty()) {
            (false, _) => "partial",
            (true, true) => "nothing",
            (true, false) => "exported",
        };
        Ok(self.report)
    }

    /// Reads a chunk that was just written.
    fn written(&self, id: &ChunkId) -> Result<Found, CtlError> {
        let read = Reading::at(&self.place)?.checked(id);
        read.map_err(|reason| CtlError::Place {
            message: format!("chunk {id} of {} is not what was written there any more: {reason}", self.place.name()),
            hint: "see who else writes there, then run this again".to_owned(),
        })
    }

    fn talk(&mut self) -> Talk<'_> {
        Talk::about(&mut self.client, self.place.name())
    }

    /// Looks at what lies there, once; where that was not done before, a chunk is added to it.
    fn contents(&mut self) -> Result<&mut Contents, CtlError> {
        let contents = match self.contents.take() {
            Some(contents) => contents,
            None => self.place.contents_to_add_to()?,
        };
        Ok(self.contents.insert(contents))
    }

    /// Reads the chunks that nobody here has read, once, to learn what is in them; nothing of it is applied. Tells whether
    /// all that lies there was applied before.
    async fn learn_others(&mut self, out: &Out) -> Result<bool, CtlError> {
        let files = self.place.files()?;
        let meeting = self.talk().begin_meeting(&files).await?;
        // While the daemon compares, the list is looked at.
        let contents = self.place.listed(files)?;
        contents.must_be_ours()?;
        self.contents = Some(contents);
        let met = self.talk().met(meeting).await?;
        let reading = Arc::new(Reading::at(&self.place)?);
        reading.know(&met.refused, self.contents()?);
        (self.reading, self.refused) = (Arc::clone(&reading), met.refused);
        let unknown: Vec<ChunkId> = met.unknown.iter().filter_map(|id| ChunkId::parse(id).ok()).collect();
        let (mut loads, mut done, mut rows) = (Loads::new(&reading, unknown), 0, 0);
        while let Some(read) = loads.next().await? {
            let (at, all, before) = (std::mem::replace(&mut done, read.done), loads.len(), rows);
            let shows = move |rows| out.progress(&render::progress(at, all, before + rows));
            shows(0);
            self.seen.extend(read.load.chunks().iter().map(|found| (found.id.clone(), found.checked.clone())));
            self.report.skipped.extend(read.damaged.into_iter().map(|(id, reason)| Skipped::new(id, reason)));
            let mut talk = self.talk();
            talk.tell(shows);
            rows += talk.give(read.load, Aim::Learn).await?.rows;
        }
        Ok(met.unknown.is_empty() && met.unread.is_empty())
    }

    /// Writes what is in no chunk yet, the last one only with the manifest, and returns up to where it was looked for.
    /// Where a stamp is given, nothing of it is done unless that is how the place was when all of it was in and listed.
    async fn write_rows(
        &mut self,
        project: Option<String>,
        stamp: Option<String>,
        out: &Out,
    ) -> Result<Option<Vec<ExportMark>>, CtlError> {
        let request = ChunksRequest::Export { place: self.place.name(), project, stamp, count_only: false };
        let stream = self.client.start(RequestBody::Chunks(request)).await?;
        let (mut builder, mut rows_done) = (Builder::default(), 0);
        loop {
            match self.client.next(stream).await?.0 {
                Reply::Chunks(ChunksReply::Rows(rows)) => {
                    rows_done += rows.len();
                    out.progress(&render::rows(rows_done));
                    for row in rows {
                        if builder.is_full() {
                            self.make_chunk(std::mem::take(&mut builder)).await?;
                        }
                        builder.add(&row);
                    }
                }
                Reply::Chunks(ChunksReply::End(end)) if end.is_unknown && self.is_named => {
                    return Err(CtlError::no_project(self.report.project.as_deref().unwrap_or_default()));
                }
                Reply::Chunks(ChunksReply::End(end)) => {
                    self.report.is_unknown = end.is_unknown;
                    if !builder.is_empty() {
                        self.make_chunk(builder).await?;
                    }
                    return Ok(Some(end.marks));
                }
                Reply::Chunks(ChunksReply::Settled(false)) => return Ok(None),
                _ => return Err(CtlError::Unexpected("not the rows of a chunk")),
            }
        }
    }

    async fn make_chunk(&mut self, builder: Builder) -> Result<(), CtlError> {
        if let Some((id, packed)) = self.last.take() {
            self.place.write(&id, &packed)?;
        }
        let built = builder.build().map_err(|error| CtlError::Input(error.to_string()))?;
        self.place.make()?;
        if self.lock.is_none() {
            self.lock = self.place.lock().await?;
            self.reading = Arc::new(Reading::at(&self.place)?);
        }
        let id = self.free_id(&built)?;
        if !self.contents()?.files.has(id.as_str()) {
            self.last = Some((id.clone(), built.packed));
        }
        let contents = self.contents()?;
        contents.files.add(&id);
        let listing = contents.listing()?;
        let [sessions, memories, prompts, mutations] = built.rows;
        let created_at = listing.after(clock::now().unix_s);
        let entry = ManifestEntry { id: id.to_string(), created_by: author(), created_at, sessions, memories, prompts };
        if !listing.entries.has(id.as_str()) {
            listing.entries.extend([(&id, &entry)]);
        }
        self.report.chunks.push(Written { id: id.to_string(), sessions, memories, prompts, mutations });
        Ok(())
    }

    /// Finds the shortest id that no other content has.
    fn free_id(&mut self, built: &Built) -> Result<ChunkId, CtlError> {
        for digits in DIGITS {
            let id = ChunkId::of_hash(&built.hash, digits);
            let same = |found: Found| Hash::from_hex(&found.checked.hash) == Some(built.hash);
            if !self.contents()?.files.has(id.as_str()) || self.reading.checked(&id).is_ok_and(same) {
                return Ok(id);
            }
        }
        Err(CtlError::Input(format!("no id is left for a chunk with the hash {}", built.hash)))
    }

    /// Makes the manifest list what lies there, where it does not; where nobody had to look, it does.
    fn write_manifest(&mut self) -> Result<Option<Flushing>, CtlError> {
        let Some(mut contents) = self.contents.take() else { return Ok(None) };
        let mut changed = !self.report.chunks.is_empty();
        if !contents.is_listed() {
            changed |= self.mend(&mut contents)?;
        }
        if !changed {
            return Ok(None);
        }
        let last = self.last.take();
        let chunk = last.as_ref().map(|(id, packed)| (id, &packed[..]));
        let flushing = self.place.write_manifest(&contents.listing()?.entries, chunk)?;
        self.report.manifest_written = true;
        Ok(Some(flushing))
    }

    /// Makes the list what lies there; tells whether it was something else.
    fn mend(&mut self, contents: &mut Contents) -> Result<bool, CtlError> {
        self.report.skipped.extend(not_listed(contents, TAKEN_OFF));
        let mut entries = std::mem::take(&mut contents.listing()?.entries);
        let listed = entries.len();
        entries.retain(|id| contents.files.has(id));
        let files: Vec<_> = contents.files.iter().filter_map(|id| ChunkId::parse(id).ok()).collect();
        let listing = contents.listing()?;
        let mut changed = !listing.refused.is_empty() || listed != entries.len() || listing.broken.is_some();
        let mut new = BTreeMap::new();
        for id in files.iter().filter(|id| !entries.has(id.as_str()) || listing.unsure.contains(*id)) {
            let found = match self.seen.get(id) {
                Some(checked) => Ok(checked.clone()),
                None => self.reading.checked(id).map(|found| found.checked),
            };
            match (found, entries.get(id.as_str())) {
                (Ok(found), Some(listed)) => {
                    let [sessions, memories, prompts, _] = found.rows;
                    new.insert(id.clone(), ManifestEntry { sessions, memories, prompts, ..listed });
                }
                (Ok(found), None) => {
                    new.insert(id.clone(), adopted(id, &found));
                    self.report.adopted.push(id.to_string());
                    changed = true;
                }
                // It was named when it was read; one that cannot be read is not listed.
                (Err(reason), _) if !self.report.skipped.iter().any(|skipped| skipped.chunk == id.as_str()) => {
                    self.report.skipped.push(Skipped::new(id, reason));
                }
                (Err(_), _) => {}
            }
        }
        entries.retain(|id| !ChunkId::parse(id).is_ok_and(|id| new.contains_key(&id)));
        entries.extend(&new);
        listing.entries = entries;
        Ok(changed)
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
