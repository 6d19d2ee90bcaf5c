//! Whose project a row is that names none, or one as somebody typed it: its payload's, else its session's (the peer's own
//! rule); what nothing tells stays without one.

use super::error::StoreError;
use super::fts::{self, Indexed};
use super::{meta, rows};
use engram_proto::canonical::Object;
use engram_proto::id::ProjectName;
use engram_proto::mutation::{Entity, payload_text, text_of};
use rusqlite::{Connection, OptionalExtension as _, params};

/// A table whose rows have a project: how one is found by its key (?1) that names none, or this typed name (?2), with the
/// project of its session, and how such rows get a project (?3), which the search index of some holds too.
struct Table {
    unnamed: &'static str,
    name: &'static str,
    indexed: Option<(Indexed, &'static str)>,
}

const SESSIONS: Table = Table {
    unnamed: "SELECT '' FROM sessions WHERE id = ?1 AND (trim(project) = '' OR project = ?2)",
    name: "UPDATE sessions SET project = ?3 WHERE id = ?1 AND (trim(project) = '' OR project = ?2)",
    indexed: None,
};

const OBSERVATIONS: Table = Table {
    unnamed: "SELECT coalesce((SELECT trim(s.project) FROM sessions AS s WHERE s.id = o.session_id), '')
              FROM observations AS o WHERE o.sync_id = ?1 AND (trim(coalesce(o.project, '')) = '' OR o.project = ?2)",
    name: "UPDATE observations SET project = ?3
           WHERE sync_id = ?1 AND (trim(coalesce(project, '')) = '' OR project = ?2)",
    indexed: Some((
        Indexed::Observations,
        "SELECT id FROM observations WHERE sync_id = ?1 AND (trim(coalesce(project, '')) = '' OR project = ?2)",
    )),
};

const PROMPTS: Table = Table {
    unnamed: "SELECT coalesce((SELECT trim(s.project) FROM sessions AS s WHERE s.id = p.session_id), '')
              FROM user_prompts AS p WHERE p.sync_id = ?1 AND (trim(coalesce(p.project, '')) = '' OR p.project = ?2)",
    name: "UPDATE user_prompts SET project = ?3
           WHERE sync_id = ?1 AND (trim(coalesce(project, '')) = '' OR project = ?2)",
    indexed: Some((
        Indexed::Prompts,
        "SELECT id FROM user_prompts WHERE sync_id = ?1 AND (trim(coalesce(project, '')) = '' OR project = ?2)",
    )),
};

/// A journal row, as far as its project is concerned.
pub(super) struct Unnamed<'a> {
    pub(super) seq: i64,
    pub(super) project: &'a str,
    pub(super) entity: &'a str,
    pub(super) key: &'a str,
    pub(super) payload: &'a str,
}

/// Gives a journal row, and the row that it tells of, their project in its normal form; returns it, if there is one.
pub(super) fn name(conn: &Connection, row: &Unnamed<'_>) -> Result<Option<ProjectName>, StoreError> {
    let entity = Entity::parse(row.entity);
    let project = match ProjectName::parse(row.project) {
        Ok(project) => Some(project),
        Err(_) => project_of(conn, entity, row.key, &payload_text(row.payload).unwrap_or_default())?,
    };
    let Some(project) = project else { return Ok(None) };
    if project.as_str() != row.project {
        conn.prepare_cached("UPDATE sync_mutations SET project = ?2 WHERE seq = ?1")?
            .execute(params![row.seq, project.as_str()])?;
        meta::recount(conn)?;
    }
    if let Some(table) = entity.and_then(table_of) {
        let typed = if project.as_str() == row.project { "" } else { row.project };
        if unnamed(conn, table, row.key, typed)?.is_some() {
            name_rows(conn, table, row.key, typed, &project)?;
        }
    }
    Ok(Some(project))
}

/// Names a journal row that was set aside because nothing told its project; tells whether something does now.
pub(super) fn name_later(conn: &Connection, seq: i64) -> Result<bool, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT project, entity, entity_key, payload FROM sync_mutations WHERE seq = ?1")?;
    let text = |row: &rusqlite::Row<'_>, at| row.get::<_, String>(at);
    let found = statement.query_row([seq], |row| Ok((text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?)));
    let Some((project, entity, key, payload)) = found.optional()? else { return Ok(false) };
    let unnamed = Unnamed { seq, project: &project, entity: &entity, key: &key, payload: &payload };
    Ok(name(conn, &unnamed)?.is_some())
}

/// Gives a row without a project to the one that speaks of its sync id, unless its session is another's: the peer stores
/// what it pulls as the payload names it, or does not. Tells whether there was one.
pub(super) fn adopt(conn: &Connection, project: &ProjectName, entity: Entity, key: &str) -> Result<bool, StoreError> {
    let Some(table) = table_of(entity).filter(|_| entity != Entity::Session) else { return Ok(false) };
    let of_session = unnamed(conn, table, key, "")?;
    let is_its = of_session.is_some_and(|name| name.is_empty() || name == project.as_str());
    if is_its {
        name_rows(conn, table, key, "", project)?;
    }
    Ok(is_its)
}

/// Finds the project of an entity from what its payload and the tables say.
pub(super) fn project_of(
    conn: &Connection,
    entity: Option<Entity>,
    key: &str,
    payload: &Object,
) -> Result<Option<ProjectName>, StoreError> {
    if let Some(project) = text_of(payload, "project").and_then(|name| ProjectName::parse(name).ok()) {
        return Ok(Some(project));
    }
    let of_session = "SELECT project FROM sessions WHERE id = ?1";
    let of_row = match entity {
        Some(Entity::Session) => of_session,
        Some(Entity::Observation) => {
            "SELECT coalesce(nullif(trim(o.project), ''), s.project) FROM observations AS o
             LEFT JOIN sessions AS s ON s.id = o.session_id WHERE o.sync_id = ?1 LIMIT 1"
        }
        Some(Entity::Prompt) => {
            "SELECT coalesce(nullif(trim(p.project), ''), s.project) FROM user_prompts AS p
             LEFT JOIN sessions AS s ON s.id = p.session_id WHERE p.sync_id = ?1 LIMIT 1"
        }
        Some(Entity::Relation) => {
            let of_row = rows::relation::project_of(conn, key)?;
            let source = text_of(payload, "source_id").filter(|_| of_row.is_none());
            return source.map_or(Ok(of_row), |source| project_of_memory(conn, source));
        }
        None => return Ok(None),
    };
    for (sql, id) in [(of_session, text_of(payload, "session_id")), (of_row, Some(key))] {
        let Some(id) = id else { continue };
        let name: Option<Option<String>> = conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
        if let Some(project) = name.flatten().and_then(|name| ProjectName::parse(&name).ok()) {
            return Ok(Some(project));
        }
    }
    Ok(None)
}

/// Finds the project of a relation's source: a relation belongs there.
fn project_of_memory(conn: &Connection, sync_id: &str) -> Result<Option<ProjectName>, StoreError> {
    let sql = "SELECT project FROM observations WHERE sync_id = ?1 AND trim(coalesce(project, '')) <> '' LIMIT 1";
    let name: Option<String> = conn.prepare_cached(sql)?.query_row([sync_id], |row| row.get(0)).optional()?;
    Ok(name.and_then(|name| ProjectName::parse(&name).ok()))
}

fn table_of(entity: Entity) -> Option<&'static Table> {
    match entity {
        Entity::Session => Some(&SESSIONS),
        Entity::Observation => Some(&OBSERVATIONS),
        Entity::Prompt => Some(&PROMPTS),
        Entity::Relation => None,
    }
}

/// Finds a row that names no project, or the typed one; returns its session's, which may be blank.
fn unnamed(conn: &Connection, table: &Table, key: &str, typed: &str) -> Result<Option<String>, StoreError> {
    Ok(conn.prepare_cached(table.unnamed)?.query_row([key, typed], |row| row.get(0)).optional()?)
}

fn name_rows(
    conn: &Connection,
    table: &Table,
    key: &str,
    typed: &str,
    project: &ProjectName,
) -> Result<(), StoreError> {
    let name = || -> Result<(), StoreError> {
        conn.prepare_cached(table.name)?.execute([key, typed, project.as_str()])?;
        Ok(())
    };
    let Some((indexed, rows)) = table.indexed else { return name() };
    let mut statement = conn.prepare_cached(rows)?;
    let ids = statement.query_map([key, typed], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
    fts::change(conn, indexed, &ids, name)
}
