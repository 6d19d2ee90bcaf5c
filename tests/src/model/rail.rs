//! The chunk rail of the model.

use super::{Disk, ModelJournal};
use engram_cloud::journal::JournalError;
use engram_cloud::journal::admit::{Admission, Name};
use engram_cloud::journal::rail::{ChunkPush, ChunkPushed, NewChunk, Rail, RailState, Slice};
use engram_proto::chunk::{ChunkId, ManifestEntry};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Kind, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::rfc3339_from_ms;
use std::collections::{BTreeMap, BTreeSet};

const MS_PER_S: i64 = 1_000;

/// What a data set holds of one project's list of chunks.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunks {
    told_to: u64,
    kept: BTreeMap<ChunkId, NewChunk>,
    listed: Vec<(ChunkId, i64)>,
}

impl Chunks {
    /// Keeps a chunk under the first id that is free; one that is there already changes nothing.
    fn keep(&mut self, chunk: &NewChunk, is_listed: bool, now_us: i64) -> (ChunkId, bool) {
        let ids = chunk.ids();
        let [.., longest] = &ids;
        let mine = |id: &&ChunkId| self.kept.get(*id).is_none_or(|kept| kept.text == chunk.text);
        let id = ids.iter().find(mine).unwrap_or(longest).clone();
        let is_new = !self.kept.contains_key(&id);
        if is_new {
            self.kept.insert(id.clone(), chunk.clone());
            if is_listed {
                self.listed.push((id.clone(), now_us));
            }
        }
        (id, is_new)
    }

    fn has(&self, chunk: &NewChunk) -> Option<ChunkId> {
        chunk.ids().into_iter().find(|id| self.kept.get(id).is_some_and(|kept| kept.text == chunk.text))
    }
}

impl Disk {
    fn rail(&self, project: &ProjectName) -> RailState {
        let told_to = self.chunks.get(project).map_or(0, |chunks| chunks.told_to);
        RailState { told_to, head: self.end_of(project) }
    }

    fn push_chunk(&mut self, push: &ChunkPush, now_us: i64) -> (ChunkPushed, BTreeSet<ProjectName>) {
        let (project, nothing) = (&push.chunk.project, BTreeSet::new());
        if let Some(control) = self.controls.get(project).filter(|control| !control.is_sync_enabled) {
            return (ChunkPushed::Paused(control.clone()), nothing);
        }
        if let Some(id) = self.chunks.get(project).and_then(|chunks| chunks.has(&push.chunk)) {
            return (ChunkPushed::Kept(id), nothing);
        }
        let facts = self.answer(push.asks(), std::slice::from_ref(&push.batch));
        let mut admission = Admission::new(facts, now_us);
        let missing = admission.missing_sessions(push);
        if !missing.is_empty() {
            return (ChunkPushed::MissingSessions(missing), nothing);
        }
        let before = self.rail(project);
        admission.batch(&push.batch);
        let is_listed = before.told_to >= before.head && admission.is_told_by(push);
        let changes = admission.changes();
        let (touched, last) =
            (changes.touched(), changes.rows.last().map_or(before.head, |row| row.seq.unsigned_abs()));
        self.write(changes);
        let chunks = self.chunks.entry(project.clone()).or_default();
        let (id, _) = chunks.keep(&push.chunk, is_listed, now_us);
        if is_listed {
            chunks.told_to = last;
        }
        (ChunkPushed::Kept(id), touched)
    }

    fn is_standing(&self, project: &ProjectName, key: &str, upto: u64) -> bool {
        let name = Name::known(project, Entity::Observation, key);
        let upsert = |version: &Version| matches!(version, Version::Observation(one) if one.key.kind == Kind::Upsert);
        let is_hard = matches!(self.head(&name), Some(Version::Observation(one)) if one.key.kind == Kind::Hard);
        let mut told = self.rows_of(&name).filter(|row| row.seq <= upto && !row.is_compacted);
        !is_hard && told.any(|row| row.version.as_ref().is_some_and(upsert))
    }
}

impl Rail for ModelJournal {
    async fn rail(&self, project: &ProjectName) -> Result<RailState, JournalError> {
        Ok(self.open_disk()?.rail(project))
    }

    async fn tell(&self, slice: Slice) -> Result<bool, JournalError> {
        let now_us = self.now_us();
        let mut disk = self.open_disk()?;
        if disk.rail(&slice.project).told_to != slice.after {
            return Ok(false);
        }
        let chunks = disk.chunks.entry(slice.project).or_default();
        if let Some(chunk) = &slice.chunk {
            chunks.keep(chunk, true, now_us);
        }
        chunks.told_to = slice.upto;
        Ok(true)
    }

    async fn push_chunk(&self, push: ChunkPush) -> Result<ChunkPushed, JournalError> {
        let now_us = self.now_us();
        let (pushed, touched) = self.open_disk()?.push_chunk(&push, now_us);
        self.wake(&touched);
        Ok(pushed)
    }

    async fn chunks(&self, project: &ProjectName) -> Result<Vec<ManifestEntry>, JournalError> {
        let disk = self.open_disk()?;
        let Some(chunks) = disk.chunks.get(project) else { return Ok(Vec::new()) };
        let entry = |(id, at_us): &(ChunkId, i64)| {
            let kept = &chunks.kept[id];
            let [sessions, memories, prompts] = kept.counts;
            let created_at = rfc3339_from_ms(at_us.div_euclid(MS_PER_S * MS_PER_S) * MS_PER_S);
            let created_by = kept.created_by.clone();
            ManifestEntry { id: id.to_string(), created_by, created_at, sessions, memories, prompts }
        };
        Ok(chunks.listed.iter().map(entry).collect())
    }

    async fn chunk(&self, project: &ProjectName, id: &ChunkId) -> Result<Option<String>, JournalError> {
        let disk = self.open_disk()?;
        Ok(disk.chunks.get(project).and_then(|chunks| chunks.kept.get(id)).map(|chunk| chunk.text.clone()))
    }

    async fn standing(
        &self,
        project: &ProjectName,
        observations: BTreeSet<String>,
        upto: u64,
    ) -> Result<BTreeSet<String>, JournalError> {
        let disk = self.open_disk()?;
        Ok(observations.into_iter().filter(|key| disk.is_standing(project, key, upto)).collect())
    }
}
