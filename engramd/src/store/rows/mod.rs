//! The shared tables as rows of versions: one file per entity, each reads and writes its own table.

pub(super) mod observation;
pub(super) mod prompt;
pub(super) mod relation;
pub(super) mod session;

use super::error::StoreError;
use engram_proto::canonical::Object;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

/// Reads a time column; whatever is not a time is an unknown one.
fn time_at(row: &Row<'_>, column: usize) -> Result<Option<RowTime>, StoreError> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(RowTime::parse),
        _ => None,
    })
}

/// Reads a text column where null and empty mean that there is none.
fn filled(row: &Row<'_>, column: usize) -> Result<Option<String>, StoreError> {
    Ok(row.get::<_, Option<String>>(column)?.filter(|text| !text.is_empty()))
}

/// What the tables hold of one entity of one project.
#[derive(Debug)]
pub(super) enum Found {
    Session(session::Found),
    Observation(observation::Found),
    Prompt(prompt::Found),
    Relation(relation::Found),
}

/// Looks an entity up. A session, and a relation, is found in whatever project its one row is.
pub(super) fn find(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Option<Found>, StoreError> {
    Ok(match entity {
        Entity::Session => session::find(conn, key)?.map(Found::Session),
        Entity::Observation => observation::find(conn, project, key)?.map(Found::Observation),
        Entity::Prompt => prompt::find(conn, project, key)?.map(Found::Prompt),
        Entity::Relation => relation::find(conn, key)?.map(Found::Relation),
    })
}

impl Found {
    /// Returns the version shown, if it is one of this project.
    pub(super) fn version(
        &self,
        conn: &Connection,
        project: &ProjectName,
        key: &str,
    ) -> Result<Option<Version>, StoreError> {
        Ok(match self {
            Self::Session(found) if found.stand_in || found.project != project.as_str() => None,
            Self::Session(found) => Some(Version::Session(found.version.clone())),
            Self::Observation(found) => Some(Version::Observation(found.version.clone())),
            Self::Prompt(found) => Some(Version::Prompt(found.version.clone())),
            Self::Relation(_) if relation::project_of(conn, key)?.as_ref() != Some(project) => None,
            Self::Relation(found) => Some(Version::Relation(found.version.clone())),
        })
    }
}

/// Writes what the tables hold of an entity as a payload, with the text that a soft delete keeps.
pub(super) fn payload(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<Option<Object>, StoreError> {
    let Some(found) = find(conn, project, entity, key)? else { return Ok(None) };
    if let Found::Observation(found) = &found {
        return observation::texts(conn, found.id).map(Some);
    }
    let version = found.version(conn, project, key)?;
    Ok(version.and_then(|version| version.write(project, key)).map(|(_, payload)| payload))
}
