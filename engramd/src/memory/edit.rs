//! Editing a memory that is there: which version is edited, which one it leads to, and writing it down.

use super::error::MemoryError;
use super::write::{Now, journal};
use super::{read, text};
use crate::store::fts::{self, Indexed};
use crate::store::{Transaction, moved, normalized_hash, versions};
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::Observation;
use engram_proto::merge::{ObservationBody, ObservationKey, ObservationVersion, Version, merge};
use engram_proto::mutation::Entity;
use engram_proto::stand_in::session_id_of;
use engram_proto::time::RowTime;
use rusqlite::{OptionalExtension as _, params};

/// A memory that is about to be edited.
pub(super) struct Edited {
    pub(super) project: ProjectName,
    pub(super) sync_id: String,
    /// What its row shows.
    pub(super) before: ObservationVersion,
    /// The greatest key this device holds of it: usually that of the row.
    beats: ObservationKey,
}

/// Finds the memory that someone named, with its row.
pub(super) fn named(tx: &Transaction<'_>, id: &str, now: &Now) -> Result<(Observation, Edited), MemoryError> {
    let mut row = read::find(tx, id)?.ok_or_else(|| read::missing(id))?;
    let project = adopt(tx, &mut row, now)?;
    moved::settle(tx, &project, Entity::Observation, &row.sync_id, now.at)?;
    let edited = Edited::of(tx, project, &row.sync_id)?;
    Ok((row, edited))
}

/// Gives a row of an older age the sync id and the project it lacks: its session's, as the journal would have it.
fn adopt(tx: &Transaction<'_>, row: &mut Observation, now: &Now) -> Result<ProjectName, MemoryError> {
    let named = row.project.clone().filter(|name| !name.trim().is_empty());
    let complete = named.is_some() && !row.sync_id.is_empty();
    let name = match named {
        Some(name) => name,
        None => tx
            .prepare_cached("SELECT project FROM sessions WHERE id = ?1")?
            .query_row([&row.session_id], |row| row.get(0))
            .optional()?
            .unwrap_or_default(),
    };
    let project = text::project(&name)?;
    if !complete {
        if row.sync_id.is_empty() {
            row.sync_id = now.new_id("obs-");
        }
        fts::change(tx, Indexed::Observations, &[row.id], || {
            let names = params![row.id, row.sync_id, project.as_str()];
            tx.prepare_cached("UPDATE observations SET sync_id = ?2, project = ?3 WHERE id = ?1")?.execute(names)?;
            Ok::<_, MemoryError>(())
        })?;
        row.project = Some(project.to_string());
    }
    Ok(project)
}

impl Edited {
    /// Reads the version that an edit of a memory is about.
    ///
    /// The row is what was seen. What is known and queued adds the joined fields and those of a newer peer, which no row
    /// has a column for; should it be ahead of the row, the edit beats it all the same (CONV-3).
    pub(super) fn of(tx: &Transaction<'_>, project: ProjectName, sync_id: &str) -> Result<Self, MemoryError> {
        let names = (&project, Entity::Observation, sync_id);
        let Some(Version::Observation(row)) = versions::row_version(tx, names.0, names.1, names.2)? else {
            return Err(read::missing(sync_id));
        };
        let row = with_own_session(&project, row);
        let held = versions::local(tx, names.0, names.1, names.2)?.unwrap_or_else(|| Version::Observation(row.clone()));
        let Version::Observation(joined) = merge(held, Version::Observation(row.clone())) else {
            unreachable!("an observation and an observation make one");
        };
        let beats = joined.key.clone();
        let is_the_row = (beats.kind, beats.hash) == (row.key.kind, row.key.hash);
        let key = if is_the_row { beats.clone() } else { row.key };
        let before = ObservationVersion { key, session_id: row.session_id, body: row.body, ..joined };
        Ok(Self { sync_id: sync_id.to_owned(), project, before, beats })
    }

    /// Makes the version that an edit leads to: one revision more, and a key that is greater (CONV-3).
    pub(super) fn with(&self, body: &ObservationBody, now: &Now) -> ObservationVersion {
        let revision = self.before.key.revision + 1;
        let (session, extra) = (&self.before.session_id, &self.before.key.extra);
        self.growing(now, |at| {
            ObservationVersion::upsert(session.clone(), body.clone(), revision, Some(at), extra.clone())
        })
    }

    /// Makes the version that a delete leads to (CONV-5).
    pub(super) fn deleted(&self, hard: bool, now: &Now) -> ObservationVersion {
        self.growing(now, |at| ObservationVersion::delete(self.before.session_id.clone(), hard, Some(at)))
    }

    fn growing(&self, now: &Now, make: impl Fn(RowTime) -> ObservationVersion) -> ObservationVersion {
        let made = now.growing(self.beats.time, make, |version| version.key > self.beats);
        ObservationVersion {
            duplicate_count: self.before.duplicate_count,
            last_seen_at: self.before.last_seen_at,
            created_at: self.before.created_at,
            ..made
        }
    }

    /// Shows an edit in every copy of the row, with its search index, and journals it.
    pub(super) fn write(&self, tx: &Transaction<'_>, after: ObservationVersion, now: &Now) -> Result<(), MemoryError> {
        let Some(body) = &after.body.0 else { unreachable!("an edit has its text") };
        fts::change_copies(tx, (&self.project, &self.sync_id), || {
            tx.prepare_cached(
                "UPDATE observations SET type = ?3, title = ?4, content = ?5, tool_name = ?6, scope = ?7, topic_key = ?8,
                     normalized_hash = ?9, revision_count = ?10, last_seen_at = ?11, updated_at = ?12
                 WHERE project = ?1 AND sync_id = ?2",
            )?
            .execute(params![
                self.project.as_str(),
                self.sync_id,
                body.kind,
                body.title,
                body.content,
                body.tool_name,
                body.scope,
                body.topic_key,
                normalized_hash(&body.content),
                after.key.revision,
                after.last_seen_at.map(|at| at.to_string()),
                after.key.time.map(|at| at.to_string()),
            ])?;
            Ok::<_, MemoryError>(())
        })?;
        self.journal(tx, after, now)
    }

    /// Journals a version whose row was written, naming the one it was made from.
    pub(super) fn journal(
        &self,
        tx: &Transaction<'_>,
        after: ObservationVersion,
        now: &Now,
    ) -> Result<(), MemoryError> {
        let base = Some(self.before.key.hash);
        journal(tx, (&self.project, &self.sync_id), &Version::Observation(after), base, now.at)
    }
}

/// Gives what the peer's autosync stored under a stand-in its session again, as the journal has it (peers.md, "The `GET`
/// form").
fn with_own_session(project: &ProjectName, row: ObservationVersion) -> ObservationVersion {
    let own = session_id_of(project, &row.session_id);
    let Some(body) = row.body.0.clone().filter(|_| own != row.session_id) else { return row };
    let key =
        ObservationVersion::upsert(own.to_owned(), body, row.key.revision, row.key.time, row.key.extra.clone()).key;
    ObservationVersion { key, session_id: own.to_owned(), ..row }
}
