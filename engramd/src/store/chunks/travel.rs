//! The version of an entity that goes into a chunk (chunks.md; merging.md, "The canonical dump").

use super::super::apply::sessions;
use super::super::error::StoreError;
use super::super::versions;
use engram_proto::id::ProjectName;
use engram_proto::merge::{Kind, PromptVersion, RelationVersion, Version};
use engram_proto::mutation::Entity;
use rusqlite::Connection;

/// What goes into a chunk of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Travelling {
    /// The version.
    pub version: Version,
    /// Whether it is a session that is deleted as things stand.
    pub session_is_deleted: bool,
}

/// Reads the version of an entity that goes into a chunk together with those of these projects; `None` where none does:
/// a stand-in, what has no text at hand, a relation with an end that is gone or does not travel.
///
/// # Errors
/// What SQLite says.
pub fn travelling(
    conn: &Connection,
    projects: &[ProjectName],
    project: &ProjectName,
    (entity, key): (Entity, &str),
) -> Result<Option<Travelling>, StoreError> {
    let Some(version) = versions::local(conn, project, entity, key)? else { return Ok(None) };
    if !versions::has_text(&version) {
        // A prompt that went with its session has no row any more.
        return Ok(gone_with_session(conn, project, &version)?.map(alone));
    }
    Ok(match version {
        Version::Session(session) if session.is_stand_in() && session.deleted_at.is_none() => None,
        Version::Session(session) => {
            let session_is_deleted = sessions::is_deleted(conn, project, key, &session)?;
            Some(Travelling { version: Version::Session(session), session_is_deleted })
        }
        Version::Relation(relation) if !ends_travel(conn, projects, project, &relation)? => None,
        version => Some(alone(gone_with_session(conn, project, &version)?.unwrap_or(version))),
    })
}

fn alone(version: Version) -> Travelling {
    Travelling { version, session_is_deleted: false }
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

fn ends_travel(
    conn: &Connection,
    projects: &[ProjectName],
    own: &ProjectName,
    relation: &RelationVersion,
) -> Result<bool, StoreError> {
    for end in [&relation.source_id, &relation.target_id] {
        let mut travels = is_kept(conn, own, end)?;
        for project in projects.iter().filter(|&project| project != own) {
            travels = travels || is_kept(conn, project, end)?;
        }
        if !travels {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Tells whether a memory is known in a project and not deleted for good.
fn is_kept(conn: &Connection, project: &ProjectName, sync_id: &str) -> Result<bool, StoreError> {
    let version = versions::local(conn, project, Entity::Observation, sync_id)?;
    Ok(matches!(version, Some(Version::Observation(version)) if version.key.kind != Kind::Hard))
}
