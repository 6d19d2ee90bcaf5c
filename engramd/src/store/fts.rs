//! The full-text index of what we write.
//!
//! The writing connection has triggers off: FTS5 flushes at every statement of one, and to switch them on and off makes
//! every prepared statement be prepared anew. So whoever writes an indexed column says so here, and once per transaction
//! of a page, or at once for a single row, it is worked off: a 'delete' command with the old values for rows that
//! changed, one statement for all that are new. The triggers stay in the file, for other programs.

use super::error::StoreError;
use engram_proto::id::ProjectName;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// Makes SQLite read everything it knows of the indexes again, where the disk failed in the middle of a write.
///
/// FTS5 takes totals that it could not read for read, keeps them over the rollback and would store them with the next
/// row: rankings would be off, and deletes end in "malformed".
pub(super) fn doubt(conn: &Connection, error: &StoreError) {
    if error.is_of_the_disk()
        && let Err(error) = conn.execute_batch("PRAGMA writable_schema = RESET")
    {
        tracing::warn!(%error, "what is known of the indexes could not be read again");
    }
}

/// A table whose rows are searched, and its index.
struct Searched {
    table: &'static str,
    index: &'static str,
}

const OBSERVATIONS: Searched = Searched { table: "observations", index: "observations_fts" };

const PROMPTS: Searched = Searched { table: "user_prompts", index: "prompts_fts" };

/// What is done to an index. Its columns are those that the file has: the Go program made it anew once to add one, and an
/// index that is told less than it holds of a row is damaged.
#[derive(Debug)]
struct Statements {
    columns: usize,
    read: String,
    forget: String,
    add_one: String,
    add_from: String,
}

impl Searched {
    fn statements(&self, conn: &Connection) -> Result<Statements, StoreError> {
        let Self { table, index } = self;
        let mut statement = conn.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
        let names = statement.query_map([index], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        let columns: String = names.iter().map(|name| format!(", [{name}]")).collect();
        let values: String = (0..names.len()).map(|at| format!(", ?{}", at + 2)).collect();
        Ok(Statements {
            columns: names.len() + 1,
            read: format!("SELECT rowid{columns} FROM {table} WHERE rowid = ?1"),
            forget: format!("INSERT INTO {index} ({index}, rowid{columns}) VALUES ('delete', ?1{values})"),
            add_one: format!(
                "INSERT INTO {index} (rowid{columns}) SELECT rowid{columns} FROM {table} WHERE rowid = ?1"
            ),
            add_from: format!(
                "INSERT INTO {index} (rowid{columns}) SELECT rowid{columns} FROM {table} WHERE rowid >= ?1"
            ),
        })
    }
}

/// What has to be done to both indexes before the transaction commits.
#[derive(Debug, Default)]
pub(super) struct Index {
    observations: Table,
    prompts: Table,
}

#[derive(Debug, Default)]
struct Table {
    /// The first row inserted in this transaction; those behind it are new too.
    first_new: Option<i64>,
    /// Old values of rows that were there before.
    changed: Vec<(i64, Vec<Value>)>,
    /// What is done, once anything is.
    sql: Option<Statements>,
}

/// A table whose rows are searched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Indexed {
    Observations,
    Prompts,
}

/// Changes rows of these numbers, or takes them away, and brings the index up at once.
pub(crate) fn change<E: From<StoreError>>(
    conn: &Connection,
    indexed: Indexed,
    ids: &[i64],
    change: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let mut index = Index::default();
    for &id in ids {
        match indexed {
            Indexed::Observations => index.observation_changes(conn, id)?,
            Indexed::Prompts => index.prompt_changes(conn, id)?,
        }
    }
    change()?;
    Ok(index.write(conn)?)
}

/// Changes every copy of a memory, or takes them away, and brings the index up at once.
pub(crate) fn change_copies<E: From<StoreError>>(
    conn: &Connection,
    (project, sync_id): (&ProjectName, &str),
    f: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let ids = || -> Result<Vec<i64>, StoreError> {
        let mut statement = conn.prepare_cached("SELECT id FROM observations WHERE sync_id = ?1 AND project = ?2")?;
        let ids = statement.query_map([sync_id, project.as_str()], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    };
    change(conn, Indexed::Observations, &ids()?, f)
}

/// Brings the index up to a row that was inserted last.
pub(crate) fn added(conn: &Connection, indexed: Indexed, id: i64) -> Result<(), StoreError> {
    let mut index = Index::default();
    match indexed {
        Indexed::Observations => index.observation_added(id),
        Indexed::Prompts => index.prompt_added(id),
    }
    index.write(conn)
}

/// How far the list was, to go back there when one row fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark([(Option<i64>, usize); 2]);

impl Index {
    /// Says that an observation was inserted.
    pub(super) fn observation_added(&mut self, id: i64) {
        self.observations.added(id);
    }

    /// Says that an observation is about to change or go; its old values are read now.
    pub(super) fn observation_changes(&mut self, conn: &Connection, id: i64) -> Result<(), StoreError> {
        self.observations.changes(conn, &OBSERVATIONS, id)
    }

    /// Says that a prompt was inserted.
    pub(super) fn prompt_added(&mut self, id: i64) {
        self.prompts.added(id);
    }

    /// Says that a prompt is about to change or go; its old values are read now.
    pub(super) fn prompt_changes(&mut self, conn: &Connection, id: i64) -> Result<(), StoreError> {
        self.prompts.changes(conn, &PROMPTS, id)
    }

    /// Remembers how far the list is.
    pub(super) fn mark(&self) -> Mark {
        Mark([&self.observations, &self.prompts].map(|table| (table.first_new, table.changed.len())))
    }

    /// Goes back to a mark, together with a savepoint.
    pub(super) fn rewind(&mut self, mark: Mark) {
        for (table, (first_new, changed)) in [&mut self.observations, &mut self.prompts].into_iter().zip(mark.0) {
            table.first_new = first_new;
            table.changed.truncate(changed);
        }
    }

    /// Brings both indexes up to the tables.
    pub(super) fn write(self, conn: &Connection) -> Result<(), StoreError> {
        self.observations.write(conn, &OBSERVATIONS)?;
        self.prompts.write(conn, &PROMPTS)
    }
}

impl Table {
    fn added(&mut self, id: i64) {
        self.first_new = Some(self.first_new.map_or(id, |first| first.min(id)));
    }

    fn changes(&mut self, conn: &Connection, searched: &Searched, id: i64) -> Result<(), StoreError> {
        let unindexed = self.first_new.is_some_and(|first| id >= first);
        if unindexed || self.changed.iter().any(|&(changed, _)| changed == id) {
            return Ok(());
        }
        let sql = match self.sql.take() {
            Some(sql) => sql,
            None => searched.statements(conn)?,
        };
        let sql = self.sql.insert(sql);
        let mut statement = conn.prepare_cached(&sql.read)?;
        let old = statement.query_row([id], |row| (0..sql.columns).map(|at| row.get(at)).collect())?;
        self.changed.push((id, old));
        Ok(())
    }

    fn write(self, conn: &Connection, searched: &Searched) -> Result<(), StoreError> {
        if self.changed.is_empty() && self.first_new.is_none() {
            return Ok(());
        }
        let sql = match self.sql {
            Some(sql) => sql,
            None => searched.statements(conn)?,
        };
        for (id, old) in self.changed {
            conn.prepare_cached(&sql.forget)?.execute(params_from_iter(old))?;
            conn.prepare_cached(&sql.add_one)?.execute([id])?;
        }
        if let Some(first) = self.first_new {
            conn.prepare_cached(&sql.add_from)?.execute([first])?;
        }
        Ok(())
    }
}
