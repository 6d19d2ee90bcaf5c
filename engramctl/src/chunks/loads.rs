//! Reading chunks' files: checked one by one, gathered into loads, and the next load while the last one is on its way.

use super::content::Load;
use super::reading::Reading;
use crate::exit::CtlError;
use engram_proto::chunk::ChunkId;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What one look at the files gave.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Chunks to be given.
    pub(crate) load: Load,
    /// Chunks that cannot be used, and why.
    pub(crate) damaged: Vec<(ChunkId, String)>,
    /// How many files were looked at until here.
    pub(crate) done: usize,
}

/// Chunks that are read load by load. Of two loads at most the bytes are in memory.
pub(crate) struct Loads {
    reading: Arc<Reading>,
    ids: Arc<[ChunkId]>,
    done: usize,
    ahead: Option<JoinHandle<Taken>>,
}

impl Loads {
    /// Prepares to read chunks in this order.
    pub(crate) fn new(reading: &Arc<Reading>, ids: Vec<ChunkId>) -> Self {
        Self { reading: Arc::clone(reading), ids: ids.into(), done: 0, ahead: None }
    }

    /// Counts the chunks.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns the next load, and begins to read the one behind it.
    pub(crate) async fn next(&mut self) -> Result<Option<Taken>, CtlError> {
        let taken = match self.ahead.take() {
            Some(ahead) => ahead.await.map_err(|error| CtlError::Input(error.to_string()))?,
            None if self.done < self.ids.len() => take(&self.reading, &self.ids, self.done),
            None => return Ok(None),
        };
        self.done = taken.done;
        if self.done < self.ids.len() {
            let (reading, ids, done) = (Arc::clone(&self.reading), Arc::clone(&self.ids), self.done);
            self.ahead = Some(tokio::task::spawn_blocking(move || take(&reading, &ids, done)));
        }
        Ok(Some(taken))
    }
}

fn take(reading: &Reading, ids: &[ChunkId], done: usize) -> Taken {
    let mut taken = Taken { done, ..Taken::default() };
    for id in ids.iter().skip(done) {
        match reading.checked(id) {
            Ok(found) => taken.load.add(found),
            Err(reason) => taken.damaged.push((id.clone(), reason)),
        }
        taken.done += 1;
        if taken.load.is_full() {
            break;
        }
    }
    taken
}
