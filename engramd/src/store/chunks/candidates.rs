//! What an export looks at: everything that got a new row in some list since the last export to the place (COST-1).
//!
//! Every write leaves a row in one of these lists: local ones, and those of Go processes, in the journal; what came in
//! and is new, in its table and by its mark; a change of what was known before, in `engramd_due`. The first export looks
//! at all of them, and at all that is known.

use super::super::error::StoreError;
use super::{Travelling, learn, place};
use engram_proto::id::ProjectName;
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension as _, Statement, params};

/// Up to which row of a list a project was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose.
    pub project: ProjectName,
    /// Which list.
    pub list: String,
    /// A row number, or a time.
    pub through: i64,
}

/// One list: its name, its last row now, and what of a project (1) stands behind a row (2).
struct List {
    name: &'static str,
    last: &'static str,
    behind: &'static str,
}

/// The list of what has no row elsewhere.
pub(super) const DUE: &str = "due";
/// The list that is read by time: a Go process judges a relation in place, and only enrolled projects journal it.
const JUDGED: &str = "judged";
/// A Go process judges by the clock of this machine, which may have been set back by as much.
const CLOCK_BACK_MAX_S: i64 = 86_400;
/// Where nothing else moves, up to when it was read is kept this often: an export of nothing writes nothing.
const JUDGED_STEP_S: i64 = 3_600;

const LISTS: [List; 8] = [
    List {
        name: "sessions",
        last: "SELECT coalesce(max(rowid), 0) FROM sessions",
        behind: "SELECT 'session', id FROM sessions INDEXED BY engramd_backfill_sessions
                 WHERE project = ?1 AND rowid > ?2",
    },
    List {
        name: "observations",
        last: "SELECT coalesce(max(id), 0) FROM observations",
        behind: "SELECT 'observation', sync_id FROM observations INDEXED BY idx_obs_project
                 WHERE project = ?1 AND id > ?2",
    },
    List {
        name: "prompts",
        last: "SELECT coalesce(max(id), 0) FROM user_prompts",
        behind: "SELECT 'prompt', sync_id FROM user_prompts INDEXED BY idx_prompts_project
                 WHERE project = ?1 AND id > ?2",
    },
    List {
        name: "tombstones",
        last: "SELECT coalesce(max(rowid), 0) FROM prompt_tombstones",
        behind: "SELECT 'prompt', sync_id FROM prompt_tombstones INDEXED BY engramd_tombstones_project
                 WHERE project = ?1 AND rowid > ?2",
    },
    List {
        name: "relations",
        last: "SELECT coalesce(max(id), 0) FROM memory_relations",
        // From the new relations to their memories: the other way round is every memory of the project.
        behind: "SELECT 'relation', r.sync_id FROM memory_relations AS r NOT INDEXED
                     CROSS JOIN observations AS o INDEXED BY idx_obs_sync_id
                 WHERE r.id > ?2 AND o.sync_id = r.source_id AND o.project = ?1",
    },
    List {
        name: "journal",
        last: "SELECT coalesce(max(seq), 0) FROM sync_mutations",
        behind: "SELECT entity, entity_key FROM sync_mutations INDEXED BY idx_sync_mutations_project
                 WHERE project = ?1 AND seq > ?2",
    },
    // Only the first time; from then on what is news is in one of the others.
    List {
        name: "known",
        last: "SELECT 1",
        behind: "SELECT entity, entity_key FROM engramd_version WHERE project = ?1 AND ?2 = 0",
    },
    List {
        name: DUE,
        last: "SELECT coalesce(max(n), 0) FROM engramd_due",
        behind: "SELECT entity, entity_key FROM engramd_due WHERE place = ?3 AND project = ?1 AND n > ?2",
    },
];

const JUDGED_SINCE: &str = "SELECT 'relation', r.sync_id
    FROM memory_relations AS r INDEXED BY engramd_relations_updated
        CROSS JOIN observations AS o INDEXED BY idx_obs_sync_id
    WHERE r.updated_at >= ?2 AND o.sync_id = r.source_id AND o.project = ?1";

/// The relations of every memory that is looked at.
const OF_ENDS: &str = "INSERT OR IGNORE INTO temp.engramd_candidates
    SELECT 'relation', r.sync_id FROM temp.engramd_candidates AS c
        CROSS JOIN memory_relations AS r INDEXED BY idx_memrel_source ON r.source_id = c.entity_key
    WHERE c.entity = 'observation'
    UNION ALL SELECT 'relation', r.sync_id FROM temp.engramd_candidates AS c
        CROSS JOIN memory_relations AS r INDEXED BY idx_memrel_target ON r.target_id = c.entity_key
    WHERE c.entity = 'observation'";

/// What an export of one project to one place looks at, on a connection that sees one state of the store.
pub struct Candidates<'c> {
    pub(super) conn: &'c Connection,
    pub(super) place: Option<i64>,
    pub(super) project: &'c ProjectName,
}

impl<'c> Candidates<'c> {
    /// Makes the temporary table that they are gathered in. A connection that makes it in a transaction, and rolls that
    /// back, reads the whole schema again the next time.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn prepare(conn: &Connection) -> Result<(), StoreError> {
        Ok(conn.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS engramd_candidates (
                 entity TEXT, entity_key TEXT, PRIMARY KEY (entity, entity_key)) WITHOUT ROWID",
        )?)
    }

    /// Gathers them in a temporary table, each once; returns up to where the lists were read that have something new.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn gather(
        conn: &'c Connection,
        path: &str,
        project: &'c ProjectName,
        now: RowTime,
    ) -> Result<(Self, Vec<Mark>), StoreError> {
        Self::prepare(conn)?;
        conn.prepare_cached("DELETE FROM temp.engramd_candidates")?.execute([])?;
        let place = place::find(conn, path)?;
        let mut marks = Vec::new();
        let mark = |list: &str, through| Mark { project: project.clone(), list: list.to_owned(), through };
        for list in &LISTS {
            // Behind the last row of all there is none of this project's.
            let Some((after, last)) = ahead(conn, place, project, list)? else { continue };
            let found = keep(conn, list.behind, (project, after.into(), place))?;
            // What is due is forgotten, without a mark; other places' may stand there for ever.
            if list.name != DUE || found > 0 {
                marks.push(mark(list.name, last));
            }
        }
        let judged = through(conn, place, project, JUDGED)?;
        if let Some(since) = judged.and_then(judged_since) {
            keep(conn, JUDGED_SINCE, (project, since, place))?;
        }
        if is_old(judged, now) || !marks.is_empty() {
            marks.push(mark(JUDGED, now.unix_s()));
        }
        // One that was left out for an end that did not travel may travel when that end comes, or comes back; its source may
        // be in another project.
        conn.prepare_cached(OF_ENDS)?.execute([])?;
        Ok((Self { conn, place, project }, marks))
    }

    /// Tells whether [`gather`](Self::gather) would find nothing, and no mark to keep either; needs no temporary table.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn are_none(conn: &Connection, path: &str, project: &ProjectName, now: RowTime) -> Result<bool, StoreError> {
        let place = place::find(conn, path)?;
        for list in &LISTS {
            let Some((after, _)) = ahead(conn, place, project, list)? else { continue };
            if list.name != DUE || is_any(conn, list.behind, (project, after.into(), place))? {
                return Ok(false);
            }
        }
        let judged = through(conn, place, project, JUDGED)?;
        let Some(since) = judged.filter(|_| !is_old(judged, now)).and_then(judged_since) else { return Ok(false) };
        Ok(!is_any(conn, JUDGED_SINCE, (project, since, place))?)
    }

    /// Calls a closure for each, by entity and key, until it fails.
    ///
    /// # Errors
    /// Those of the closure, and what SQLite says.
    pub fn each(&self, mut f: impl FnMut(Entity, &str) -> Result<(), StoreError>) -> Result<(), StoreError> {
        for entity in Entity::ALL {
            let mut statement = self.conn.prepare_cached(
                "SELECT entity_key FROM temp.engramd_candidates WHERE entity = ?1 AND entity_key <> '' ORDER BY entity_key",
            )?;
            let mut rows = statement.query([entity.as_str()])?;
            while let Some(row) = rows.next()? {
                f(entity, &row.get::<_, String>(0)?)?;
            }
        }
        Ok(())
    }

    /// Tells whether a chunk at the place holds this version.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn is_there(&self, key: &str, travelling: &Travelling) -> Result<bool, StoreError> {
        learn::is_at(self.conn, self.place, (&travelling.project, key), &travelling.version)
    }
}

/// What a query of a list asks for: of a project (1), behind a row or a time (2), at a place (3).
type Behind<'a> = (&'a ProjectName, SqlValue, Option<i64>);

fn bind(found: &mut Statement<'_>, (project, behind, place): Behind<'_>) -> Result<(), StoreError> {
    found.raw_bind_parameter(1, project.as_str())?;
    found.raw_bind_parameter(2, behind)?;
    if found.parameter_count() > 2 {
        found.raw_bind_parameter(3, place)?;
    }
    Ok(())
}

/// Keeps the entities that a query finds; counts them.
fn keep(conn: &Connection, sql: &str, behind: Behind<'_>) -> Result<usize, StoreError> {
    let mut found = conn.prepare_cached(sql)?;
    bind(&mut found, behind)?;
    let mut insert = conn.prepare_cached("INSERT OR IGNORE INTO temp.engramd_candidates VALUES (?1, ?2)")?;
    let (mut rows, mut count) = (found.raw_query(), 0);
    while let Some(row) = rows.next()? {
        insert.execute(params![row.get::<_, SqlValue>(0)?, row.get::<_, SqlValue>(1)?])?;
        count += 1;
    }
    Ok(count)
}

/// Tells whether a query finds any.
fn is_any(conn: &Connection, sql: &str, behind: Behind<'_>) -> Result<bool, StoreError> {
    let mut found = conn.prepare_cached(sql)?;
    bind(&mut found, behind)?;
    let is_any = found.raw_query().next()?.is_some();
    Ok(is_any)
}

/// Returns up to which row of a list a project was looked at, and the last one that there is, where that is behind it.
fn ahead(
    conn: &Connection,
    place: Option<i64>,
    project: &ProjectName,
    list: &List,
) -> Result<Option<(i64, i64)>, StoreError> {
    let after = through(conn, place, project, list.name)?.unwrap_or(0);
    let last: i64 = conn.prepare_cached(list.last)?.query_row([], |row| row.get(0))?;
    Ok((last > after).then_some((after, last)))
}

/// Returns since when relations are looked at again that were judged, where they were read up to this time.
fn judged_since(judged: i64) -> Option<SqlValue> {
    RowTime::from_unix_s(judged).map(|since| since.plus_s(-CLOCK_BACK_MAX_S).to_string().into())
}

/// Tells whether it is time to keep up to when that list was read.
fn is_old(judged: Option<i64>, now: RowTime) -> bool {
    judged.is_none_or(|judged| now.unix_s() - judged > JUDGED_STEP_S)
}

fn through(
    conn: &Connection,
    place: Option<i64>,
    project: &ProjectName,
    list: &str,
) -> Result<Option<i64>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT through FROM engramd_place_mark WHERE place = ?1 AND project = ?2 AND list = ?3")?;
    Ok(statement.query_row(params![place, project.as_str(), list], |row| row.get(0)).optional()?)
}
