//! The version of an entity that goes into a chunk (chunks.md; merging.md, "The canonical dump").

use super::super::apply::sessions;
use super::super::error::StoreError;
use super::super::rows::{observation, relation};
use super::super::versions;
use super::{Candidates, learn};
use engram_proto::id::ProjectName;
use engram_proto::merge::{Kind, PromptVersion, Version};
use engram_proto::mutation::Entity;
use rusqlite::Connection;

/// What goes into a chunk of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Travelling {
    /// Whose it is: a relation belongs to the project of its source.
    pub project: ProjectName,
    /// The version.
    pub version: Version,
    /// Whether it is a session that is deleted as things stand.
    pub session_is_deleted: bool,
}

impl Candidates<'_> {
    /// Reads the version of an entity that goes into a chunk together with those of these projects; `None` where none does:
    /// a stand-in, what has no text at hand, a relation with an end that is gone or was never told.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn travelling(
        &self,
        projects: &[ProjectName],
        (entity, key): (Entity, &str),
    ) -> Result<Option<Travelling>, StoreError> {
        let (conn, project) = (self.conn, self.project);
        if entity == Entity::Relation {
            return self.relation(projects, key);
        }
        let Some(version) = versions::local(conn, project, entity, key)? else { return Ok(None) };
        let alone = |version| Travelling { project: project.clone(), version, session_is_deleted: false };
        if !versions::has_text(&version) {
            // A prompt that went with its session has no row any more.
            return Ok(gone_with_session(conn, project, &version)?.map(alone));
        }
        Ok(match version {
            Version::Session(session) if session.is_stand_in() && session.deleted_at.is_none() => None,
            Version::Session(session) => {
                let session_is_deleted = sessions::is_deleted(conn, project, key, &session)?;
                Some(Travelling { session_is_deleted, ..alone(Version::Session(session)) })
            }
            version => Some(alone(gone_with_session(conn, project, &version)?.unwrap_or(version))),
        })
    }

    /// Reads a relation of a memory that is looked at. Where only its target is in the project, it goes out for whoever has
    /// its source: the project that was exported last takes it along.
    fn relation(&self, projects: &[ProjectName], key: &str) -> Result<Option<Travelling>, StoreError> {
        let mut project = self.project.clone();
        let mut version = versions::local(self.conn, &project, Entity::Relation, key)?;
        if version.is_none()
            && let Some(other) = relation::elsewhere(self.conn, &project, key)?
        {
            version = versions::local(self.conn, &other, Entity::Relation, key)?;
            project = other;
        }
        let version = version.filter(versions::has_text);
        let Some(Version::Relation(relation)) = version else { return Ok(None) };
        for end in [&relation.source_id, &relation.target_id] {
            if !self.end_travels(projects, &project, end)? {
                return Ok(None);
            }
        }
        Ok(Some(Travelling { project, version: Version::Relation(relation), session_is_deleted: false }))
    }

    /// Tells whether a memory is not deleted for good and whoever reads the place has heard more of it than that it is
    /// deleted: it goes out with these projects, or a chunk that lies there told it. A Go process that imports takes a
    /// chunk whole or not at all, and a relation of which it lacks an end keeps all of it out (peers.md, D63).
    fn end_travels(&self, projects: &[ProjectName], own: &ProjectName, end: &str) -> Result<bool, StoreError> {
        for project in [own].into_iter().chain(projects) {
            if self.is_told(projects, project, end)? {
                return Ok(true);
            }
        }
        for project in observation::projects_of(self.conn, end)? {
            if self.is_told(projects, &project, end)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells the same of a memory of one project.
    fn is_told(&self, projects: &[ProjectName], project: &ProjectName, end: &str) -> Result<bool, StoreError> {
        let version = versions::local(self.conn, project, Entity::Observation, end)?;
        Ok(match version {
            Some(version) if !version.is_delete() && versions::has_text(&version) && projects.contains(project) => true,
            Some(Version::Observation(version)) if version.key.kind != Kind::Hard => {
                learn::is_told_at(self.conn, self.place, project, end)?
            }
            _ => false,
        })
    }
}

/// Makes the delete of a prompt that was created until its session was deleted.
fn gone_with_session(
    conn: &Connection,
    project: &ProjectName,
    version: &Version,
) -> Result<Option<Version>, StoreError> {
    let Version::Prompt(prompt) = version else { return Ok(None) };
    if prompt.key.deleted {
        return Ok(None);
    }
    let deleted_at = sessions::deleted_at(conn, project, &prompt.session_id)?;
    let went = deleted_at.is_some() && prompt.key.time <= deleted_at;
    Ok(went.then(|| Version::Prompt(PromptVersion::delete(prompt.session_id.clone(), deleted_at))))
}
