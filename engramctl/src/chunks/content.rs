//! Giving the rows of chunks to the daemon: many small chunks in one frame, a large one in as many as it needs.

use super::read::{self, Checked, Damage};
use crate::connect::Client;
use crate::exit::CtlError;
use engram_proto::chunk::ChunkId;
use engram_proto::ipc::chunks::{
    ChunkName, ChunkPart, ChunkRow, ChunkRows, ChunkTaken, ChunksMet, ChunksReply, ChunksRequest, RefusedFile,
};
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::RequestBody;
use tokio::sync::mpsc;

/// A frame holds about so many bytes of rows, and so many rows.
const FRAME_BYTES: usize = 1 << 20;
const FRAME_ROWS: usize = 1_000;
/// So many chunks, whose files have no more bytes, are given without asking whether they are wanted.
const FEW_CHUNKS: usize = 8;
const FEW_BYTES: usize = 64 << 10;
/// Frames that are read ahead of the one that is on its way.
const FRAMES_AHEAD: usize = 1;
/// So many chunks, and bytes of their files, are given at once: a question costs as much as many rows.
const LOAD_CHUNKS: usize = 256;
const LOAD_BYTES: usize = 1 << 20;

/// What the daemon is to do with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Apply its rows.
    Apply,
    /// Write down what is in it.
    Learn,
}

/// A chunk's file that was read into memory and checked.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its name.
    pub(crate) id: ChunkId,
    /// Its bytes.
    pub(crate) packed: Vec<u8>,
    /// What they hold.
    pub(crate) checked: Checked,
}

/// Chunks that are given at once.
#[derive(Debug, Default)]
pub(crate) struct Load {
    chunks: Vec<Found>,
    bytes: usize,
    rows: u64,
}

impl Load {
    /// Adds a chunk.
    pub(crate) fn add(&mut self, found: Found) {
        self.bytes += found.packed.len();
        self.rows += found.checked.rows.iter().sum::<u64>();
        self.chunks.push(found);
    }

    /// Lists the chunks.
    pub(crate) fn chunks(&self) -> &[Found] {
        &self.chunks
    }

    /// Tells whether to ask before it is given costs more than it may save.
    fn is_small(&self) -> bool {
        self.chunks.len() <= FEW_CHUNKS && self.bytes <= FEW_BYTES && self.rows <= FRAME_ROWS as u64
    }

    /// Tells whether it is to be given before another one is added.
    pub(crate) fn is_full(&self) -> bool {
        self.chunks.len() >= LOAD_CHUNKS || self.bytes >= LOAD_BYTES || self.rows >= FRAME_ROWS as u64
    }
}

/// A daemon that is asked about one place.
pub(crate) struct Talk<'a> {
    /// The daemon.
    pub(crate) client: &'a mut Client,
    /// The place.
    pub(crate) place: String,
}

impl Talk<'_> {
    /// Asks something that has one answer about chunks.
    pub(crate) async fn ask(&mut self, request: ChunksRequest) -> Result<ChunksReply, CtlError> {
        match self.client.ask_one(RequestBody::Chunks(request)).await? {
            Reply::Chunks(reply) => Ok(reply),
            _ => Err(CtlError::Unexpected("not about chunks")),
        }
    }

    /// Asks which of the files that lie there are news.
    pub(crate) async fn meet(&mut self, ids: String) -> Result<ChunksMet, CtlError> {
        match self.ask(ChunksRequest::Meet { place: self.place.clone(), ids }).await? {
            ChunksReply::Met(met) => Ok(met),
            _ => Err(CtlError::Unexpected("not what is news")),
        }
    }

    /// Says which files there were read and refused, where that is something else than the daemon knows.
    pub(crate) async fn refuse(&mut self, news: Option<Vec<RefusedFile>>) -> Result<(), CtlError> {
        let Some(files) = news else { return Ok(()) };
        let request = ChunksRequest::Refuse { place: self.place.clone(), files };
        self.client.ask_one(RequestBody::Chunks(request)).await.map(drop)
    }

    /// Asks whether the place is as it was when all of it was in and listed.
    pub(crate) async fn is_settled(&mut self, stamp: Option<&str>) -> Result<bool, CtlError> {
        let Some(stamp) = stamp else { return Ok(false) };
        match self.ask(ChunksRequest::Settled { place: self.place.clone(), stamp: stamp.to_owned() }).await? {
            ChunksReply::Settled(settled) => Ok(settled),
            _ => Err(CtlError::Unexpected("not whether a place is settled")),
        }
    }

    /// Says that all that lies there is in and listed.
    pub(crate) async fn settle(&mut self, stamp: Option<String>) -> Result<(), CtlError> {
        let Some(stamp) = stamp else { return Ok(()) };
        let request = ChunksRequest::Settle { place: self.place.clone(), stamp };
        self.client.ask_one(RequestBody::Chunks(request)).await.map(drop)
    }

    /// Gives chunks; of those whose rows are not wanted, nothing is sent.
    pub(crate) async fn give(&mut self, load: Load, aim: Aim) -> Result<ChunkTaken, CtlError> {
        let (place, apply, is_small) = (self.place.clone(), aim == Aim::Apply, load.is_small());
        let mut sum = ChunkTaken::default();
        let mut named: Vec<_> = load.chunks.into_iter().map(|found| (name(&found), found)).collect();
        if named.is_empty() {
            return Ok(sum);
        }
        if is_small {
            let mut frames = Vec::new();
            frame_up(&named, |parts| frames.push(parts)).map_err(changed)?;
            if frames.len() == 1 {
                return self.rows(frames.pop().unwrap_or_default(), apply, true).await;
            }
        }
        let chunks = named.iter().map(|(name, _)| name.clone()).collect();
        let ChunksReply::Wanted(wanted) = self.ask(ChunksRequest::Found { place, chunks, apply }).await? else {
            return Err(CtlError::Unexpected("not whether chunks are wanted"));
        };
        let mut wanted = wanted.into_iter();
        named.retain(|_| wanted.next().unwrap_or(true));
        let (frames, mut ready) = mpsc::channel(FRAMES_AHEAD);
        // Whoever waits for the frames may have given up.
        let send = move |parts| drop(frames.blocking_send(parts));
        let reading = tokio::task::spawn_blocking(move || frame_up(&named, send));
        while let Some(parts) = ready.recv().await {
            add(&mut sum, self.rows(parts, apply, false).await?);
        }
        let read = reading.await.map_err(|error| CtlError::Input(error.to_string()))?;
        read.map_err(changed)?;
        Ok(sum)
    }

    async fn rows(&mut self, parts: Vec<ChunkRows>, apply: bool, unasked: bool) -> Result<ChunkTaken, CtlError> {
        match self.ask(ChunksRequest::Rows { place: self.place.clone(), parts, apply, unasked }).await? {
            ChunksReply::Taken(taken) => Ok(taken),
            _ => Err(CtlError::Unexpected("not what became of rows")),
        }
    }
}

/// They were read to their end before, from the same bytes.
fn changed((id, damage): (ChunkId, Damage)) -> CtlError {
    CtlError::Input(format!("chunk {id}: {damage}"))
}

fn name(found: &Found) -> ChunkName {
    ChunkName { id: found.id.to_string(), hash: found.checked.hash.clone() }
}

/// Rows on their way into frames.
struct Framing<F> {
    parts: Vec<ChunkRows>,
    bytes: usize,
    rows: usize,
    to: F,
}

impl<F: FnMut(Vec<ChunkRows>)> Framing<F> {
    fn begin(&mut self, of: &ChunkName) {
        self.parts.push(ChunkRows { of: of.clone(), rows: Vec::new(), last: false });
    }

    fn add(&mut self, of: &ChunkName, part: ChunkPart, json: &str) {
        if self.bytes > FRAME_BYTES || self.rows >= FRAME_ROWS {
            self.send();
            self.begin(of);
        }
        (self.bytes, self.rows) = (self.bytes + json.len(), self.rows + 1);
        if let Some(last) = self.parts.last_mut() {
            last.rows.push(ChunkRow { part, json: json.to_owned() });
        }
    }

    fn send(&mut self) {
        (self.bytes, self.rows) = (0, 0);
        (self.to)(std::mem::take(&mut self.parts));
    }
}

fn frame_up(named: &[(ChunkName, Found)], to: impl FnMut(Vec<ChunkRows>)) -> Result<(), (ChunkId, Damage)> {
    let mut framing = Framing { parts: Vec::new(), bytes: 0, rows: 0, to };
    for (name, found) in named {
        framing.begin(name);
        // Sessions come first, wherever they stand in the chunk: nothing of it then waits for one.
        let runs = if found.checked.sessions_first {
            vec![&ChunkPart::ALL[..]]
        } else {
            vec![&ChunkPart::ALL[..1], &ChunkPart::ALL[1..]]
        };
        for parts in runs {
            let read = read::rows(&found.packed, parts, &mut |part, json| framing.add(name, part, json));
            read.map_err(|damage| (found.id.clone(), damage))?;
        }
        if let Some(last) = framing.parts.last_mut() {
            last.last = true;
        }
    }
    if !framing.parts.is_empty() {
        framing.send();
    }
    Ok(())
}

fn add(sum: &mut ChunkTaken, part: ChunkTaken) {
    sum.rows += part.rows;
    sum.changed += part.changed;
    sum.queued += part.queued;
    sum.skipped.extend(part.skipped);
    for project in part.projects {
        if !sum.projects.contains(&project) {
            sum.projects.push(project);
        }
    }
}
