//! Giving the rows of a chunk to the daemon, frame by frame.

use super::read::{self, Checked};
use crate::connect::Client;
use crate::exit::CtlError;
use engram_proto::chunk::ChunkId;
use engram_proto::ipc::chunks::{
    ChunkName, ChunkPart, ChunkRow, ChunkRows, ChunkTaken, ChunksMet, ChunksReply, ChunksRequest,
};
use engram_proto::ipc::reply::Reply;
use engram_proto::ipc::request::RequestBody;
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// A frame holds about so many bytes of rows, and so many rows.
const FRAME_BYTES: usize = 1 << 20;
const FRAME_ROWS: usize = 1_000;
/// Frames that are read ahead of the one that is on its way.
const FRAMES_AHEAD: usize = 1;

/// What the daemon is to do with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Apply its rows.
    Apply,
    /// Write down what is in it.
    Learn,
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
    pub(crate) async fn meet(&mut self, ids: &BTreeSet<ChunkId>) -> Result<ChunksMet, CtlError> {
        let ids = ids.iter().map(ToString::to_string).collect();
        match self.ask(ChunksRequest::Meet { place: self.place.clone(), ids }).await? {
            ChunksReply::Met(met) => Ok(met),
            _ => Err(CtlError::Unexpected("not what is news")),
        }
    }

    /// Gives a chunk that was checked; where its rows are not wanted, nothing is sent.
    pub(crate) async fn give(
        &mut self,
        id: &ChunkId,
        (packed, checked): (Vec<u8>, &Checked),
        aim: Aim,
    ) -> Result<ChunkTaken, CtlError> {
        let of = ChunkName {
            place: self.place.clone(),
            id: id.to_string(),
            hash: checked.hash.clone(),
            apply: aim == Aim::Apply,
        };
        let mut sum = ChunkTaken::default();
        if !self.wants(of.clone()).await? {
            return Ok(sum);
        }
        let (frames, mut ready) = mpsc::channel(FRAMES_AHEAD);
        // Sessions come first, wherever they stand in the chunk: nothing of it then waits for one.
        let reading = tokio::task::spawn_blocking(move || frame_up(&packed, &frames));
        let mut waiting = Vec::new();
        while let Some(rows) = ready.recv().await {
            let part = ChunkRows { of: of.clone(), rows: std::mem::replace(&mut waiting, rows), last: false };
            if !part.rows.is_empty() {
                add(&mut sum, self.rows(part).await?);
            }
        }
        // It was read to its end before, from the same bytes.
        let read = reading.await.map_err(|error| CtlError::Input(error.to_string()))?;
        read.map_err(|damage| CtlError::Input(format!("chunk {id}: {damage}")))?;
        let part = ChunkRows { of, rows: waiting, last: true };
        add(&mut sum, self.rows(part).await?);
        Ok(sum)
    }

    async fn wants(&mut self, name: ChunkName) -> Result<bool, CtlError> {
        match self.ask(ChunksRequest::Found(name)).await? {
            ChunksReply::Wanted(wanted) => Ok(wanted),
            _ => Err(CtlError::Unexpected("not whether a chunk is wanted")),
        }
    }

    async fn rows(&mut self, part: ChunkRows) -> Result<ChunkTaken, CtlError> {
        match self.ask(ChunksRequest::Rows(part)).await? {
            ChunksReply::Taken(taken) => Ok(taken),
            _ => Err(CtlError::Unexpected("not what became of rows")),
        }
    }
}

fn frame_up(packed: &[u8], frames: &mpsc::Sender<Vec<ChunkRow>>) -> Result<(), read::Damage> {
    let (mut frame, mut filled) = (Vec::new(), 0);
    for parts in [&ChunkPart::ALL[..1], &ChunkPart::ALL[1..]] {
        read::rows(packed, parts, &mut |part, json| {
            filled += json.len();
            frame.push(ChunkRow { part, json: json.to_owned() });
            if filled > FRAME_BYTES || frame.len() >= FRAME_ROWS {
                filled = 0;
                // Whoever waits for them may have given up.
                let _ = frames.blocking_send(std::mem::take(&mut frame));
            }
        })?;
    }
    let _ = frames.blocking_send(frame);
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
