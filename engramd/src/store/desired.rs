//! What the user wants: which projects take part, what is paused.

use super::Store;
use super::error::StoreError;
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, BTreeSet};

/// Why and since when something is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseNote {
    /// The user's words.
    pub reason: Option<String>,
    /// When it was paused.
    pub since: Option<RowTime>,
}

/// Where project names stand, each with an index that begins with them: the smallest name after one that is known.
const NEXT_NAMES: [&str; 4] = [
    "SELECT min(project) FROM sessions WHERE project > ?1",
    "SELECT min(project) FROM observations WHERE project > ?1",
    "SELECT min(project) FROM sync_mutations INDEXED BY engramd_mutations_pending
     WHERE acked_at IS NULL AND project > ?1",
    "SELECT min(project) FROM sync_enrolled_projects WHERE project > ?1",
];

pub(super) fn is_enrolled(conn: &Connection, project: &ProjectName) -> Result<bool, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM sync_enrolled_projects WHERE project = ?1)")?;
    Ok(statement.query_row([project.as_str()], |row| row.get(0))?)
}

/// Collects every project that is enrolled or has sessions, memories or pending rows.
pub(super) fn names(conn: &Connection) -> Result<BTreeSet<ProjectName>, StoreError> {
    let mut projects = BTreeSet::new();
    for sql in NEXT_NAMES {
        let mut statement = conn.prepare_cached(sql)?;
        let mut last = String::new();
        while let Some(name) = statement.query_row([&last], |row| row.get::<_, Option<String>>(0))? {
            projects.extend(ProjectName::parse(&name).ok());
            last = name;
        }
    }
    Ok(projects)
}

pub(super) fn enrolled(conn: &Connection) -> Result<Vec<ProjectName>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT project FROM sync_enrolled_projects ORDER BY project")?;
    let names = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(names.iter().filter_map(|name| ProjectName::parse(name).ok()).collect())
}

impl Store {
    /// Lists the enrolled projects.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn enrolled(&self) -> Result<Vec<ProjectName>, StoreError> {
        self.read(enrolled)
    }

    /// Lists every project that is enrolled or has sessions, memories or pending rows.
    ///
    /// Skips from name to name in an index: the cost is the number of projects, not of rows (COST-1).
    ///
    /// # Errors
    /// What SQLite says.
    pub fn projects(&self) -> Result<Vec<ProjectName>, StoreError> {
        self.read(|conn| Ok(names(conn)?.into_iter().collect()))
    }

    /// Pauses one project, or everything, and keeps the reason.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn pause(
        &mut self,
        project: Option<&ProjectName>,
        reason: Option<&str>,
        now: RowTime,
    ) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.prepare_cached(
                "INSERT INTO engramd_pause (project, reason, since) VALUES (?1, ?2, ?3)
                 ON CONFLICT (project) DO UPDATE SET reason = ?2",
            )?
            .execute(params![project.map_or("", ProjectName::as_str), reason, now.to_string()])?;
            Ok(())
        })
    }

    /// Ends a pause of one project, or that of everything; tells whether there was one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn resume(&mut self, project: Option<&ProjectName>) -> Result<bool, StoreError> {
        self.write(|tx| {
            let mut statement = tx.prepare_cached("DELETE FROM engramd_pause WHERE project = ?1")?;
            Ok(statement.execute([project.map_or("", ProjectName::as_str)])? > 0)
        })
    }

    /// Lists what is paused; `None` stands for everything.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn paused(&self) -> Result<BTreeMap<Option<ProjectName>, PauseNote>, StoreError> {
        let mut statement = self.conn.prepare_cached("SELECT project, reason, since FROM engramd_pause")?;
        let mut rows = statement.query([])?;
        let mut paused = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (name, since): (String, String) = (row.get(0)?, row.get(2)?);
            let note = PauseNote { reason: row.get(1)?, since: RowTime::parse(&since) };
            paused.insert(ProjectName::parse(&name).ok(), note);
        }
        Ok(paused)
    }
}
