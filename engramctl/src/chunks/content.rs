//! Giving the rows of chunks to the daemon: many small chunks in one frame, a large one in as many as it needs.

use super::ids::Ids;
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

/// A frame holds about so many bytes of rows, and no more rows.
const FRAME_BYTES: usize = 1 << 20;
const FRAME_ROWS: u64 = 1_500;
/// So many chunks are given without asking whether they are wanted.
const FEW_CHUNKS: usize = 8;
/// Frames that are read ahead of the one that is on its way.
const FRAMES_AHEAD: usize = 1;
/// So many chunks, bytes of their files, bytes of rows, or rows, are given at once: what is asked or said costs as much as
/// many rows. Small chunks fit into one frame then.
const LOAD_CHUNKS: usize = 256;
const LOAD_BYTES: usize = 1 << 20;
const LOAD_ROW_BYTES: usize = FRAME_BYTES / 2;
const LOAD_ROWS: u64 = 1_000;

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
    row_bytes: usize,
    rows: u64,
}

impl Load {
    /// Adds a chunk.
    pub(crate) fn add(&mut self, found: Found) {
        self.bytes += found.packed.len();
        self.row_bytes += found.checked.bytes;
        self.rows += found.checked.rows.iter().sum::<u64>();
        self.chunks.push(found);
    }

    /// Lists the chunks.
    pub(crate) fn chunks(&self) -> &[Found] {
        &self.chunks
    }

    /// Tells whether one frame has room for all of it.
    fn fits_a_frame(&self) -> bool {
        self.row_bytes <= FRAME_BYTES && self.rows <= FRAME_ROWS
    }

    /// Tells whether it is to be given before another one is added.
    pub(crate) fn is_full(&self) -> bool {
        self.chunks.len() >= LOAD_CHUNKS
            || self.bytes >= LOAD_BYTES
            || self.row_bytes >= LOAD_ROW_BYTES
            || self.rows >= LOAD_ROWS
    }
}

/// A daemon that is asked about one place.
pub(crate) struct Talk<'a> {
    /// The daemon.
    pub(crate) client: &'a mut Client,
    /// The place.
    pub(crate) place: String,
    /// Whether all that was asked for last was wanted: what comes next is given without asking, for it will be too.
    wants_all: bool,
    /// A frame of rows that was given, and what became of it was not answered yet.
    given: Option<u64>,
    /// Whether it ends in the middle of a chunk.
    goes_on: bool,
    /// What became of others.
    taken: ChunkTaken,
    /// Who hears how many rows were taken, whenever some were.
    hears: Option<Box<dyn Fn(u64) + 'a>>,
}

impl<'a> Talk<'a> {
    /// Prepares to ask about a place.
    pub(crate) fn about(client: &'a mut Client, place: String) -> Self {
        Self { client, place, wants_all: false, given: None, goes_on: false, taken: ChunkTaken::default(), hears: None }
    }

    /// Lets somebody hear how many rows were taken since this was last asked for with [`taken`](Self::taken).
    pub(crate) fn tell(&mut self, hears: impl Fn(u64) + 'a) {
        self.hears = Some(Box::new(hears));
    }

    /// Asks something that has one answer about chunks.
    pub(crate) async fn ask(&mut self, request: ChunksRequest) -> Result<ChunksReply, CtlError> {
        match self.client.ask_one(RequestBody::Chunks(request)).await? {
            Reply::Chunks(reply) => Ok(reply),
            _ => Err(CtlError::Unexpected("not about chunks")),
        }
    }

    /// Asks which of the files that lie there are news.
    pub(crate) async fn meet(&mut self, files: &Ids) -> Result<ChunksMet, CtlError> {
        let meeting = self.begin_meeting(files).await?;
        self.met(meeting).await
    }

    /// Asks that, and leaves the answer to [`met`](Self::met).
    pub(crate) async fn begin_meeting(&mut self, files: &Ids) -> Result<u64, CtlError> {
        let request = ChunksRequest::Meet { place: self.place.clone(), ids: files.as_text().to_owned() };
        self.client.start(RequestBody::Chunks(request)).await
    }

    /// Waits for the answer.
    pub(crate) async fn met(&mut self, meeting: u64) -> Result<ChunksMet, CtlError> {
        match self.client.answer(meeting).await? {
            Reply::Chunks(ChunksReply::Met(met)) => Ok(met),
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

    /// Gives chunks; of those whose rows are not wanted, nothing is sent, unless they are few.
    pub(crate) async fn give(&mut self, load: Load, aim: Aim) -> Result<ChunkTaken, CtlError> {
        self.give_ahead(load, aim).await?;
        self.taken().await
    }

    /// Does the same, and leaves what becomes of the last frame to [`taken`](Self::taken): while the daemon takes it, the
    /// next load is made ready.
    pub(crate) async fn give_ahead(&mut self, load: Load, aim: Aim) -> Result<(), CtlError> {
        let load_fits = load.fits_a_frame();
        let unasked = load_fits && (self.wants_all || load.chunks.len() <= FEW_CHUNKS);
        let mut named: Vec<_> = load.chunks.into_iter().map(|found| (name(&found), found)).collect();
        if !unasked && !named.is_empty() {
            let chunks = named.iter().map(|(name, _)| name.clone()).collect();
            let request = ChunksRequest::Found { place: self.place.clone(), chunks, apply: aim == Aim::Apply };
            let ChunksReply::Wanted(wanted) = self.ask(request).await? else {
                return Err(CtlError::Unexpected("not whether chunks are wanted"));
            };
            self.wants_all = !wanted.contains(&false);
            let mut wanted = wanted.into_iter();
            named.retain(|_| wanted.next().unwrap_or(true));
        }
        if load_fits {
            let mut frames = Vec::new();
            frame_up(&named, |parts| frames.push(parts)).map_err(changed)?;
            for parts in frames {
                self.rows(parts, aim, unasked).await?;
            }
            return Ok(());
        }
        let (frames, mut ready) = mpsc::channel(FRAMES_AHEAD);
        // Whoever waits for the frames may have given up.
        let send = move |parts| drop(frames.blocking_send(parts));
        let reading = tokio::task::spawn_blocking(move || frame_up(&named, send));
        while let Some(parts) = ready.recv().await {
            self.rows(parts, aim, unasked).await?;
        }
        let read = reading.await.map_err(|error| CtlError::Input(error.to_string()))?;
        read.map_err(changed)
    }

    /// Returns what became of all that was given since this was asked last.
    pub(crate) async fn taken(&mut self) -> Result<ChunkTaken, CtlError> {
        self.hear_of_rows().await?;
        Ok(std::mem::take(&mut self.taken))
    }

    /// Sends rows, and then waits for what became of those before: there is always a frame that the daemon can go on with.
    ///
    /// Nobody promises that two frames are taken in their order, and a chunk counts as read with its last row; so what goes
    /// on with a chunk waits for what it goes on from.
    async fn rows(&mut self, parts: Vec<ChunkRows>, aim: Aim, unasked: bool) -> Result<(), CtlError> {
        if std::mem::replace(&mut self.goes_on, parts.last().is_some_and(|part| !part.last)) {
            self.hear_of_rows().await?;
        }
        let request = ChunksRequest::Rows { place: self.place.clone(), parts, apply: aim == Aim::Apply, unasked };
        let given = self.client.start(RequestBody::Chunks(request)).await?;
        self.hear_of_rows().await?;
        self.given = Some(given);
        Ok(())
    }

    async fn hear_of_rows(&mut self) -> Result<(), CtlError> {
        let Some(given) = self.given.take() else { return Ok(()) };
        let Reply::Chunks(ChunksReply::Taken(taken)) = self.client.answer(given).await? else {
            return Err(CtlError::Unexpected("not what became of rows"));
        };
        add(&mut self.taken, taken);
        if let Some(hears) = &self.hears {
            hears(self.taken.rows);
        }
        Ok(())
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
    rows: u64,
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
    sum.is_any_held |= part.is_any_held;
    for project in part.projects {
        if !sum.projects.contains(&project) {
            sum.projects.push(project);
        }
    }
}
