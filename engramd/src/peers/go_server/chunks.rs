//! History that a Go server has only in chunks: of a project that is enrolled here, each is read once.
//!
//! Such a server kept chunks before it kept mutations, and of a pushed chunk it never makes the deletes and relations
//! mutations (D4). What it made of mutations itself says nothing new.

use super::GoServer;
use crate::clock;
use crate::peers::disguise;
use engram_proto::canonical::{Hash, Object};
use engram_proto::chunk::{Chunk, ChunkId, ManifestEntry, Statement, canonical_bytes};
use engram_proto::http::pull::{ChunksRead, PullReply, PullRequest, PulledMutation};
use engram_proto::id::ProjectName;
use engramd_core::classify::{Failure, Fault};
use serde_json::Value;
use std::collections::BTreeMap;

/// So many bytes of chunks are read into one page; the rest comes with the next ones.
const BYTES_ENOUGH: usize = 8 * 1024 * 1024;

/// So many chunks are read into one page: what became of them is written down in one transaction (OWN-3).
const CHUNKS_ENOUGH: usize = 100;

/// So many of those that were passed over are asked for again with one page that has nothing else to read.
const AGAIN_ENOUGH: usize = 20;

/// Who is named for chunks that the server made of mutations.
const MADE_OF_MUTATIONS: [&str; 2] = ["mutation-push", "mutation-backfill"];

/// What stands for the list itself where that cannot be read.
const THE_LIST: &str = "list";

/// An id that is none is kept up to here, in characters.
const ID_CHARS_MAX: usize = 64;

/// What is left of the room of a page.
struct Room {
    bytes: usize,
    chunks: usize,
}

/// What was read of one project's chunks.
#[derive(Default)]
struct Part {
    read: ChunksRead,
    rows: Vec<PulledMutation>,
    /// Whether to go on at once.
    is_more: bool,
}

/// What came of asking for a chunk.
enum Asked {
    /// Its rows, and how large it was.
    Read(Vec<PulledMutation>, usize),
    /// There is none to be had: why.
    PassedOver(String),
    /// It was refused, and so may be the others: why.
    Refused(String),
    /// Nothing is known: the server cannot be reached.
    Unreachable,
}

impl GoServer<'_> {
    /// Adds to a page that ends at the head what chunks say of its projects, where that was not read yet; while there are
    /// more of them, there is more to pull.
    ///
    /// What became of each is kept with the page, in the transaction that applies it (CUR-1). One that cannot be had is
    /// held with the reason, holds up nothing (ISO-2), and is asked for again with each of these pages.
    pub(in super::super) async fn add_chunks(
        &self,
        request: &PullRequest,
        reply: &mut PullReply,
    ) -> Result<(), Failure> {
        if request.limit == 0 || reply.has_more {
            return Ok(());
        }
        let identity = self.identity().await?;
        let mut room = Room { bytes: BYTES_ENOUGH, chunks: CHUNKS_ENOUGH };
        for (project, cursor) in reply.cursors.clone() {
            let Part { read, rows, is_more } = self.chunks_of(&identity, &project, &mut room).await?;
            if is_more {
                // As with rows: where it ends is not told, one behind stands for all.
                reply.has_more = true;
                reply.heads.insert(project.clone(), cursor + 1);
                reply.remaining.insert(project.clone(), 1);
            }
            if read != ChunksRead::default() {
                reply.unnumbered.extend(rows);
                reply.chunks.insert(project, read);
            }
        }
        // "More" is no promise where this page brought nothing on.
        reply.has_more &= !reply.chunks.is_empty();
        Ok(())
    }

    /// Reads what is unread of one project, as long as there is room.
    async fn chunks_of(&self, identity: &str, project: &ProjectName, room: &mut Room) -> Result<Part, Failure> {
        let mut part = Part::default();
        let listed = match self.transport.manifest(project).await {
            Ok(manifest) => pushed(manifest.chunks),
            Err(failure) => {
                part.read.passed_over.extend(of_this_one(failure)?.map(|why| (THE_LIST.to_owned(), why)));
                return Ok(part);
            }
        };
        let ids: Vec<String> = listed.keys().cloned().collect();
        let list = Hash::of_bytes(ids.join(" ").as_bytes()).to_string();
        let (cloud_id, of, of_list) = (identity.to_owned(), project.clone(), list.clone());
        let unread = self.on_store(move |store| store.chunks_unread(&cloud_id, &of, &of_list, &ids)).await?;
        let mut left = unread.new.len();
        for id in &unread.new {
            if room.is_used_up() {
                part.is_more = true;
                return Ok(part);
            }
            let asked = self.ask_for(project, &listed[id]).await?;
            let goes_on = matches!(asked, Asked::Read(..) | Asked::PassedOver(_));
            left -= usize::from(part.take(id, asked, room));
            if !goes_on {
                break;
            }
        }
        if left > 0 {
            return Ok(part);
        }
        part.read.list = (!unread.is_told).then_some(list);
        let (again, unlisted) = unread.again.into_iter().partition::<Vec<_>, _>(|id| listed.contains_key(id));
        part.read.unlisted = unlisted.into_iter().take(CHUNKS_ENOUGH).collect();
        for id in some_of(&again) {
            if room.is_used_up() {
                break;
            }
            let asked = self.ask_for(project, &listed[id]).await?;
            let goes_on = matches!(asked, Asked::Read(..) | Asked::PassedOver(_));
            part.take(id, asked, room);
            if !goes_on {
                break;
            }
        }
        Ok(part)
    }

    /// Asks for one chunk.
    async fn ask_for(&self, project: &ProjectName, entry: &ManifestEntry) -> Result<Asked, Failure> {
        let host = self.transport.host();
        let Ok(id) = ChunkId::parse(&entry.id) else {
            return Ok(Asked::PassedOver(format!("{host} lists it, and it is no id of a chunk")));
        };
        let bytes = match self.transport.chunk(project, &id).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Asked::PassedOver(format!("{host} lists it, and has no such chunk"))),
            Err(failure) => return Ok(of_this_one(failure)?.map_or(Asked::Unreachable, Asked::Refused)),
        };
        // Its own bytes do not hash to the id (D68); in canonical form they do, or nobody can say what they were.
        Ok(match canonical(project, &bytes) {
            Ok(chunk) => {
                let said = chunk.statements(project.as_str()).into_iter();
                Asked::Read(said.filter_map(|one| row(project, entry, &chunk, one)).collect(), bytes.len())
            }
            Err(why) => Asked::PassedOver(format!("{host} serves what is no chunk: {why}")),
        })
    }
}

impl Room {
    fn is_used_up(&self) -> bool {
        self.bytes == 0 || self.chunks == 0
    }
}

impl Part {
    /// Takes what came of asking for a chunk; tells whether anything is known of it now.
    fn take(&mut self, id: &str, asked: Asked, room: &mut Room) -> bool {
        room.chunks -= 1;
        match asked {
            Asked::Read(rows, bytes) => {
                room.bytes = room.bytes.saturating_sub(bytes);
                self.rows.extend(rows);
                self.read.read.push(id.to_owned());
            }
            Asked::PassedOver(why) | Asked::Refused(why) => self.read.passed_over.push((id.to_owned(), why)),
            Asked::Unreachable => return false,
        }
        true
    }
}

/// Returns why a request for one thing was refused; `None` where nothing was answered, or the next page says why.
///
/// # Errors
/// The failure, where it is about all of them.
fn of_this_one(failure: Failure) -> Result<Option<String>, Failure> {
    match failure {
        Failure::Transport { fault: Fault::Unreachable, .. } | Failure::Project { .. } => Ok(None),
        Failure::Transport { message, .. } => Ok(Some(message)),
        failure => Err(failure),
    }
}

/// Takes some of many, others each time.
fn some_of(ids: &[String]) -> impl Iterator<Item = &String> {
    let any = usize::try_from(clock::now().mono_ms).unwrap_or(0);
    ids.iter().cycle().skip(any % ids.len().max(1)).take(ids.len().min(AGAIN_ENOUGH))
}

/// Leaves out what was made of mutations, which is read as such; each by its id, or so much of it as is kept.
fn pushed(chunks: Vec<ManifestEntry>) -> BTreeMap<String, ManifestEntry> {
    let pushed = chunks.into_iter().filter(|one| !MADE_OF_MUTATIONS.contains(&one.created_by.as_str()));
    pushed.map(|one| (one.id.chars().take(ID_CHARS_MAX).collect(), one)).collect()
}

fn canonical(project: &ProjectName, bytes: &[u8]) -> Result<Chunk, String> {
    let object: Object = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let bytes = canonical_bytes(object, project.as_str()).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// Makes a row without a number of what a chunk says; what has no canonical form goes as it stands, and is held if it says
/// nothing.
fn row(project: &ProjectName, entry: &ManifestEntry, chunk: &Chunk, said: Statement) -> Option<PulledMutation> {
    let raw = || chunk.lists().into_iter().find(|(list, ..)| *list == said.list)?.2.get(said.index).cloned();
    let payload = said.payload.map_or_else(|_| raw().map(Value::Object), |text| Some(Value::from(text)));
    let mut row = PulledMutation {
        seq: 0,
        project: project.to_string(),
        entity: said.entity,
        entity_key: said.key,
        op: said.op,
        payload: payload.unwrap_or_default(),
        occurred_at: entry.created_at.clone(),
    };
    disguise::take_back(&mut row).then_some(row)
}
