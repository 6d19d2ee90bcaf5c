//! What goes into a chunk: every version that no chunk at the place holds (chunks.md, "Export by absence").

use super::form;
use crate::store::StoreError;
use crate::store::chunks::{Candidates, Mark};
use engram_proto::id::ProjectName;
use engram_proto::ipc::chunks::ChunkRow;
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::Connection;
use std::collections::BTreeSet;

/// What has a row for whatever is known of a project, each with an index that begins with its name.
const TABLES: [&str; 6] =
    ["sync_mutations", "observations", "sessions", "user_prompts", "prompt_tombstones", "engramd_version"];

/// Calls a closure with every row that is in no chunk at a place, and returns up to where the lists were read.
///
/// The connection should see one state of the store for as long as this takes.
///
/// # Errors
/// Those of the closure, and what SQLite says.
pub fn export(
    conn: &Connection,
    place: &str,
    projects: &[ProjectName],
    now: RowTime,
    mut put: impl FnMut(ChunkRow) -> Result<(), StoreError>,
) -> Result<Vec<Mark>, StoreError> {
    let (mut all, mut relations) = (Vec::new(), BTreeSet::new());
    for project in projects {
        let (candidates, marks) = Candidates::gather(conn, place, project, now)?;
        candidates.each(|entity, key| {
            let Some(travelling) = candidates.travelling(projects, (entity, key))? else { return Ok(()) };
            if candidates.is_there(key, &travelling)? {
                return Ok(());
            }
            // One between two projects is looked at for both.
            if entity == Entity::Relation && projects.len() > 1 && !relations.insert(key.to_owned()) {
                return Ok(());
            }
            form::rows(key, &travelling).into_iter().try_for_each(&mut put)
        })?;
        all.extend(marks);
    }
    Ok(all)
}

/// Tells whether an export of a project would give no row, and no mark to keep: a few looks at the ends of lists.
///
/// # Errors
/// What SQLite says.
pub fn finds_nothing(conn: &Connection, place: &str, project: &ProjectName, now: RowTime) -> Result<bool, StoreError> {
    // All of one state.
    let tx = conn.unchecked_transaction()?;
    Candidates::are_none(&tx, place, project, now)
}

/// Tells whether a project is enrolled, or something is known of it, if only by a chunk that was read.
///
/// # Errors
/// What SQLite says.
pub fn is_known(conn: &Connection, project: &ProjectName) -> Result<bool, StoreError> {
    for table in TABLES.iter().chain(&["sync_enrolled_projects", "engramd_exported"]) {
        let mut known = conn.prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE project = ?1)"))?;
        if known.query_row([project.as_str()], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lists every project that something is known of.
///
/// # Errors
/// What SQLite says.
pub fn projects_of(conn: &Connection) -> Result<Vec<ProjectName>, StoreError> {
    let mut names = Vec::new();
    // Each step is one look into an index, however many rows a project has.
    for table in TABLES {
        let sql = format!(
            "WITH RECURSIVE p(name) AS (
                 SELECT min(project) FROM {table} WHERE project > ''
                 UNION ALL SELECT (SELECT min(project) FROM {table} WHERE project > p.name) FROM p WHERE name IS NOT NULL)
             SELECT name FROM p WHERE name IS NOT NULL"
        );
        let mut statement = conn.prepare_cached(&sql)?;
        let found = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        names.extend(found.iter().filter_map(|name| ProjectName::parse(name).ok()));
    }
    names.sort();
    names.dedup();
    Ok(names)
}
