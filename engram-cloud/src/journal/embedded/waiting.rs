//! Which relations came before an end of theirs.

use crate::journal::admit::Name;
use engram_proto::id::ProjectName;
use engram_proto::mutation::Entity;
use rusqlite::{Connection, params};

/// Asks for the relations that wait for an observation.
pub(super) const OF: &str = "SELECT project, entity_key FROM cloud_waiting_relations WHERE observation = ?1";

/// Lists the relations that wait for an observation.
pub(super) fn of(connection: &Connection, observation: &str) -> rusqlite::Result<Vec<Name>> {
    let mut statement = connection.prepare_cached(OF)?;
    let rows = statement.query_map([observation], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut relations = Vec::new();
    for row in rows {
        let (project, key) = row?;
        let project = ProjectName::parse(&project).ok();
        relations.extend(project.map(|project| Name::known(&project, Entity::Relation, &key)));
    }
    Ok(relations)
}

/// Notes that a relation waits for an observation, or no longer does.
pub(super) fn set(connection: &Connection, observation: &str, relation: &Name, waits: bool) -> rusqlite::Result<()> {
    let sql = if waits {
        "INSERT INTO cloud_waiting_relations (observation, project, entity_key) VALUES (?1, ?2, ?3)
         ON CONFLICT DO NOTHING"
    } else {
        "DELETE FROM cloud_waiting_relations WHERE observation = ?1 AND project = ?2 AND entity_key = ?3"
    };
    connection.prepare_cached(sql)?.execute(params![observation, relation.project.as_str(), relation.key])?;
    Ok(())
}
