//! Whose project a row is that names none, or one as somebody typed it: its payload's, else its session's (the peer's own
//! rule); what nothing tells stays without one.

use super::error::StoreError;
use super::{meta, rows};
use engram_proto::canonical::Object;
use engram_proto::id::ProjectName;
use engram_proto::mutation::{Entity, payload_text, text_of};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Condition under which a column `project` says nothing.
const BLANK: &str = "trim(coalesce(project, '')) = ''";

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
    if let Some((table, key)) = entity.and_then(table_of) {
        let typed = if project.as_str() == row.project { "" } else { row.project };
        let unnamed = format!("{key} = ?1 AND ({BLANK} OR project = ?2)");
        name_rows(conn, &project, table, &unnamed, row.key, typed)?;
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
pub(super) fn adopt(
    conn: &Connection,
    project: &ProjectName,
    entity: Entity,
    key: &str,
) -> Result<bool, StoreError> {
    let Some((table, "sync_id")) = table_of(entity) else { return Ok(false) };
    let unnamed = format!(
        "sync_id = ?1 AND {BLANK} AND NOT EXISTS (SELECT 1 FROM sessions AS s
             WHERE s.id = {table}.session_id AND trim(s.project) NOT IN ('', ?2))"
    );
    name_rows(conn, project, table, &unnamed, key, project.as_str())
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
        Some(Entity::Relation) => return rows::relation::project_of(conn, key),
        None => return Ok(None),
    };
    for (sql, id) in [(of_session, text_of(payload, "session_id")), (of_row, Some(key))] {
        let Some(id) = id else { continue };
        let name: Option<Option<String>> =
            conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
        if let Some(project) = name.flatten().and_then(|name| ProjectName::parse(&name).ok()) {
            return Ok(Some(project));
        }
    }
    Ok(None)
}

/// Names the table of an entity that has a column for its project, and the column of its key.
fn table_of(entity: Entity) -> Option<(&'static str, &'static str)> {
    match entity {
        Entity::Session => Some(("sessions", "id")),
        Entity::Observation => Some(("observations", "sync_id")),
        Entity::Prompt => Some(("user_prompts", "sync_id")),
        Entity::Relation => None,
    }
}

/// Writes a project into the rows that a condition on key and a second text finds; tells whether there were any.
fn name_rows(
    conn: &Connection,
    project: &ProjectName,
    table: &str,
    unnamed: &str,
    key: &str,
    text: &str,
) -> Result<bool, StoreError> {
    let any: bool = conn
        .prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE {unnamed})"))?
        .query_row([key, text], |row| row.get(0))?;
    if any {
        let sql = format!("UPDATE {table} SET project = ?3 WHERE {unnamed}");
        with_triggers(conn, || Ok(conn.execute(&sql, [key, text, project.as_str()])?))?;
    }
    Ok(any)
}

/// Runs a statement with triggers on, for the search index holds the project too; applying a page has them off.
fn with_triggers<R>(conn: &Connection, f: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
    let on = conn.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER)?;
    if on {
        return f();
    }
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
    let result = f();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    result
}
