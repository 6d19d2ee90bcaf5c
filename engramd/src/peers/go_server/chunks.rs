//! History that a Go server has only in chunks: of a project that is enrolled here, it is read once.
//!
//! Such a server kept chunks before it kept mutations, and of a pushed chunk it never makes the deletes and relations
//! mutations (D4). What it made of mutations itself says nothing new.

use super::GoServer;
use crate::peers::disguise;
use engram_proto::canonical::Object;
use engram_proto::chunk::{Chunk, ChunkId, ManifestEntry, Statement, canonical_bytes};
use engram_proto::http::pull::{PullReply, PullRequest, PulledMutation};
use engram_proto::id::ProjectName;
use engramd_core::classify::Failure;
use serde_json::Value;

/// So many bytes of chunks are read into one page; the rest comes with the next ones.
const BYTES_ENOUGH: usize = 8 * 1024 * 1024;

/// Who is named for chunks that the server made of mutations.
const MADE_OF_MUTATIONS: [&str; 2] = ["mutation-push", "mutation-backfill"];

/// The note of a project whose chunks were all read.
const ALL: &str = "all";

impl GoServer<'_> {
    /// Adds to a page what chunks say of its projects, where that was not read yet.
    ///
    /// How far it came is kept with the page, in the transaction that applies it (CUR-1). Where a chunk cannot be had now,
    /// the page goes on without it, and it is asked for again with the next one (ISO-2).
    pub(in super::super) async fn add_chunks(
        &self,
        request: &PullRequest,
        reply: &mut PullReply,
    ) -> Result<(), Failure> {
        if request.limit == 0 {
            return Ok(());
        }
        let identity = self.identity().await?;
        let mut room = BYTES_ENOUGH;
        for project in reply.cursors.keys() {
            let key = format!("chunks:{identity}:{project}");
            let of_store = key.clone();
            let note = self.on_store(move |store| store.meta(&of_store)).await?;
            if note.as_deref() == Some(ALL) || room == 0 {
                continue;
            }
            let read = note.and_then(|text| text.parse().ok()).unwrap_or(0);
            match self.read_chunks(project, read, &mut room, &mut reply.unnumbered).await {
                Ok(note) => drop(reply.notes.insert(key, note)),
                Err(failure) => tracing::warn!(%project, ?failure, "its chunks are asked for again later"),
            }
        }
        Ok(())
    }

    /// Adds the rows of chunks behind the first `read` ones, as long as there is room; returns the note of how far.
    async fn read_chunks(
        &self,
        project: &ProjectName,
        read: usize,
        room: &mut usize,
        rows: &mut Vec<PulledMutation>,
    ) -> Result<String, Failure> {
        let chunks = pushed(self.transport.manifest(project).await?.chunks);
        let mut count = read;
        while *room > 0
            && let Some(entry) = chunks.get(count)
        {
            match self.add_chunk(project, entry, rows).await {
                Ok(bytes) => *room = room.saturating_sub(bytes),
                Err(failure) if count == read => return Err(failure),
                // What came before counts.
                Err(_) => break,
            }
            count += 1;
        }
        Ok(if count < chunks.len() { count.to_string() } else { ALL.to_owned() })
    }

    /// Adds the rows of one chunk; returns its size. One that cannot be read holds up nothing, and is said in the log.
    async fn add_chunk(
        &self,
        project: &ProjectName,
        entry: &ManifestEntry,
        rows: &mut Vec<PulledMutation>,
    ) -> Result<usize, Failure> {
        let skip = |why: &str| {
            let id: String = entry.id.chars().take(64).collect();
            tracing::warn!(%project, ?id, why, "a chunk of the server is passed over");
        };
        let Ok(id) = ChunkId::parse(&entry.id) else {
            skip("its id is none");
            return Ok(0);
        };
        let Some(bytes) = self.transport.chunk(project, &id).await? else {
            skip("it is listed and not there");
            return Ok(0);
        };
        // Its own bytes do not hash to the id (D68); in canonical form they do, or nobody can say what they were.
        match canonical(project, &bytes) {
            Some(chunk) => {
                let said = chunk.statements(project.as_str()).into_iter();
                rows.extend(said.filter_map(|one| row(project, entry, one)));
            }
            None => skip("it is no chunk"),
        }
        Ok(bytes.len())
    }
}

/// Leaves out what was made of mutations: they are read as such.
fn pushed(chunks: Vec<ManifestEntry>) -> Vec<ManifestEntry> {
    chunks.into_iter().filter(|one| !MADE_OF_MUTATIONS.contains(&one.created_by.as_str())).collect()
}

fn canonical(project: &ProjectName, bytes: &[u8]) -> Option<Chunk> {
    let object: Object = serde_json::from_slice(bytes).ok()?;
    serde_json::from_slice(&canonical_bytes(object, project.as_str()).ok()?).ok()
}

/// Makes a row without a number of what a chunk says.
fn row(project: &ProjectName, entry: &ManifestEntry, said: Statement) -> Option<PulledMutation> {
    let mut row = PulledMutation {
        seq: 0,
        project: project.to_string(),
        entity: said.entity,
        entity_key: said.key,
        op: said.op,
        payload: Value::from(said.payload.ok()?),
        occurred_at: entry.created_at.clone(),
    };
    disguise::take_back(&mut row).then_some(row)
}
