//! Taking in versions that did not come from the cloud: each that is news here is queued for it like a local write, for
//! devices without the repository would never see it (local-store.md, "Enrolling").

use super::super::error::StoreError;
use super::super::rows::{self, relation};
use super::super::{Store, chunks, conflict, versions};
use super::{Applying, Source};
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Kind, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use engramd_core::rows::Applied;
use std::collections::BTreeMap;

impl Store {
    /// Brings rows of a chunk in, each by itself (ISO-3), and writes down that the chunk holds them.
    ///
    /// What a power cut takes of it is read again, for the chunk counts as read only after its last row.
    ///
    /// # Errors
    /// What SQLite says; what was brought before stays.
    pub fn bring(
        &mut self,
        chunk: i64,
        rows: &[(ProjectName, PulledMutation)],
        now: RowTime,
    ) -> Result<BTreeMap<ProjectName, Applied>, StoreError> {
        let mut all = BTreeMap::<ProjectName, Applied>::new();
        let mut rest = rows;
        while !rest.is_empty() {
            let slice = |store: &mut Self, careful: bool| {
                store.applying(false, now, |applying| {
                    applying.source = Source::Chunk(chunk);
                    let mut done = 0;
                    for (project, row) in rest {
                        if !applying.takes() {
                            break;
                        }
                        done += 1;
                        applying.row(project, row, careful)?;
                    }
                    Ok(done)
                })
            };
            let (done, applied) = match slice(self, false) {
                Err(error) if error.is_the_rows_fault() => slice(self, true)?,
                result => result?,
            };
            for (project, part) in applied {
                all.entry(project).or_default().add(part);
            }
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(all)
    }
}

impl Applying<'_> {
    /// Takes one version in as if it were written here, unless it adds nothing to what this device has.
    pub(super) fn bring(
        &mut self,
        project: &ProjectName,
        (entity, key): (Entity, &str),
        brought: &Version,
        row: &PulledMutation,
    ) -> Result<(), StoreError> {
        if let Source::Chunk(chunk) = self.source {
            chunks::learn(self.conn, chunk, (project, key), brought)?;
        }
        let known = versions::known(self.conn, project, entity, key)?;
        self.find((project, entity, key), known.as_ref())?;
        let local = self.local(project, entity, key)?;
        let Some(merged) = versions::join(local.clone(), brought.clone()) else { return Ok(()) };
        if local.as_ref() == Some(&merged) {
            return Ok(());
        }
        if entity == Entity::Relation
            && let Some(other) = relation::elsewhere(self.conn, project, key)?
        {
            return self.dead(project, row, &relation::no_room(&other));
        }
        conflict::note_brought(self.conn, (project, key), row, brought, self.now)?;
        self.queue(project, key, &merged, known.map(|known| known.hash()))?;
        let found = rows::find(self.conn, project, entity, key)?;
        if found.is_none()
            && let Version::Observation(version) = &merged
            && version.key.kind == Kind::Soft
        {
            self.conn
                .prepare_cached(
                    "INSERT OR IGNORE INTO engramd_softly (project, session_id, entity_key) VALUES (?1, ?2, ?3)",
                )?
                .execute([project.as_str(), &version.session_id, key])?;
        }
        self.place((project, key), &merged, found.as_ref(), Some(row))
    }
}
