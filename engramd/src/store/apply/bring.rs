//! Taking in versions that did not come from the cloud: each that is news here is queued for it like a local write, for
//! devices without the repository would never see it (local-store.md, "Enrolling").

use super::super::chunks::{Part, Row};
use super::super::error::StoreError;
use super::super::rows::{self, relation};
use super::super::{Store, chunks, conflict, journal, versions};
use super::{Applying, Source};
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Kind, Version};
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use engramd_core::rows::Applied;
use std::collections::BTreeMap;

/// More rows than this at once are a part of many.
const MUCH: usize = 200;

/// A place in a list of parts: which one, and which of its rows.
type Place = (usize, usize);

impl Store {
    /// Brings rows of chunks in, each by itself (ISO-3), and writes down which chunk holds them, and that it was read
    /// where no more of it follow.
    ///
    /// What a power cut takes of it is read again, for the chunk counts as read only with its last row.
    ///
    /// # Errors
    /// What SQLite says; what was brought before stays.
    pub fn bring(&mut self, parts: &[Part], now: RowTime) -> Result<BTreeMap<ProjectName, Applied>, StoreError> {
        if parts.iter().map(|part| part.rows.len()).sum::<usize>() > MUCH {
            self.turns.let_log_grow(&self.conn)?;
        }
        let mut all = BTreeMap::<ProjectName, Applied>::new();
        let mut from = (0, 0);
        while from.0 < parts.len() {
            let slice = |store: &mut Self, careful: bool| {
                store.applying(false, now, |applying| applying.slice(parts, from, careful))
            };
            let (done, applied) = match slice(self, false) {
                Err(error) if error.is_the_rows_fault() => slice(self, true)?,
                result => result?,
            };
            for (project, part) in applied {
                all.entry(project).or_default().add(part);
            }
            from = done;
        }
        Ok(all)
    }

    /// Ends the calls of [`bring`](Self::bring) that belong together: where they made the log grow, it is moved into the
    /// file.
    ///
    /// # Errors
    /// What SQLite says; that others still read is none.
    pub fn brought_all(&mut self) -> Result<(), StoreError> {
        if self.turns.let_log_be(&self.conn)? { self.checkpoint() } else { Ok(()) }
    }
}

impl Applying<'_> {
    /// Brings as many rows as a transaction takes; returns where the next one goes on.
    fn slice(&mut self, parts: &[Part], (mut at, mut row): Place, careful: bool) -> Result<Place, StoreError> {
        while let Some(part) = parts.get(at) {
            let chunk = chunks::number_of(self.conn, part.hash)?;
            self.source = Source::Chunk(chunk);
            for Row { project, mutation, version } in part.rows.iter().skip(row) {
                if !self.takes() {
                    return Ok((at, row));
                }
                row += 1;
                match project {
                    Some(project) => self.row_of_chunk(project, mutation, version.as_ref(), careful)?,
                    None => self.row_without_project(&part.id, mutation, careful)?,
                }
            }
            if part.last {
                chunks::read_through(self.conn, part, (chunk, chunks::APPLIED), self.now)?;
            }
            (at, row) = (at + 1, 0);
        }
        Ok((at, row))
    }

    /// Takes one row, and its version where that was read before; writes down in which chunk it is, where it is held now.
    pub(super) fn row_of_chunk(
        &mut self,
        project: &ProjectName,
        row: &PulledMutation,
        version: Option<&Version>,
        careful: bool,
    ) -> Result<(), StoreError> {
        self.row(project, row, version, careful)?;
        if self.any_held { chunks::note_held(self.conn, self.source, project.as_str(), row) } else { Ok(()) }
    }

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
        // Of most that a chunk brings, nothing was heard before: then there is nothing to look for either.
        let is_new = known.is_none() && !journal::names(self.conn, project, entity, key)?;
        let found = if is_new {
            self.find_unheard((project, entity, key))?
        } else {
            self.find((project, entity, key), known.as_ref())?;
            rows::find(self.conn, project, entity, key)?
        };
        let mut joined = known.clone();
        if !is_new {
            joined = versions::pending(self.conn, project, entity, key)?.into_iter().fold(joined, versions::join);
        }
        if self.any_held {
            joined = versions::held(self.conn, project, entity, key)?.into_iter().fold(joined, versions::join);
        }
        let row_version = || found.as_ref().map(|found| found.version(self.conn, project, key)).transpose();
        let local = versions::shown(joined, || Ok(row_version()?.flatten()))?;
        let Some(merged) = versions::join(local.clone(), brought.clone()) else { return Ok(()) };
        if local.as_ref() == Some(&merged) {
            return Ok(());
        }
        if entity == Entity::Relation
            && let Some(other) = relation::elsewhere(self.conn, project, key)?
        {
            return self.dead(project, row, &relation::no_room(&other));
        }
        if !is_new {
            conflict::note_brought(self.conn, (project, key), row, brought, self.now)?;
        }
        self.queue(project, key, &merged, known.map(|known| known.hash()))?;
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
