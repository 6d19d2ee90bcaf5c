//! Rows of `user_prompts` and `prompt_tombstones`.

use super::super::error::StoreError;
use super::super::fts::Index;
use super::time_at;
use engram_proto::id::ProjectName;
use engram_proto::merge::PromptVersion;
use engram_proto::time::{RowTime, row_text};
use rusqlite::{Connection, OptionalExtension as _, params};

/// The copies of one prompt in one project, or its tombstone.
#[derive(Debug)]
pub(in super::super) struct Found {
    /// Numbers of the rows, the one that speaks for all first; none where only a tombstone is left.
    pub(in super::super) ids: Vec<i64>,
    /// What it says.
    pub(in super::super) version: PromptVersion,
}

/// Looks a prompt up.
pub(in super::super) fn find(conn: &Connection, project: &ProjectName, key: &str) -> Result<Option<Found>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, session_id, content, created_at FROM user_prompts WHERE sync_id = ?1 AND project = ?2",
    )?;
    let mut rows = statement.query([key, project.as_str()])?;
    let mut found: Option<Found> = None;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let version = PromptVersion::upsert(row.get(1)?, row.get(2)?, time_at(row, 3)?, String::new());
        match &mut found {
            None => found = Some(Found { ids: vec![id], version }),
            Some(first) if version.key > first.version.key => {
                first.ids.insert(0, id);
                first.version = version;
            }
            Some(first) => first.ids.push(id),
        }
    }
    if found.is_none() {
        let version = tombstone(conn, project, key)?;
        found = version.map(|version| Found { ids: Vec::new(), version });
    }
    Ok(found)
}

fn tombstone(conn: &Connection, project: &ProjectName, key: &str) -> Result<Option<PromptVersion>, StoreError> {
    let mut statement = conn
        .prepare_cached("SELECT session_id, deleted_at FROM prompt_tombstones WHERE sync_id = ?1 AND project = ?2")?;
    let row = statement
        .query_row([key, project.as_str()], |row| {
            Ok((row.get::<_, Option<String>>(0)?.unwrap_or_default(), row.get::<_, String>(1)?))
        })
        .optional()?;
    Ok(row.map(|(session_id, at)| PromptVersion::delete(session_id, RowTime::parse(&at))))
}

/// Makes the tables show a version; tells whether anything had to change.
pub(in super::super) fn write(
    conn: &Connection,
    index: &mut Index,
    (project, key): (&ProjectName, &str),
    found: Option<&Found>,
    version: &PromptVersion,
) -> Result<bool, StoreError> {
    let ids = found.map_or(&[][..], |found| &found.ids);
    let same = found.is_some_and(|found| {
        let (row, new) = (&found.version.key, &version.key);
        (row.deleted, row.time) == (new.deleted, new.time) && (row.deleted || row.hash == new.hash)
    });
    if same {
        return Ok(false);
    }
    if version.key.deleted {
        remove(conn, index, ids)?;
        keep_tombstone(conn, project, key, version)?;
        return Ok(true);
    }
    let Some(content) = &version.content.0 else { return Ok(false) };
    if let Some(&id) = ids.first() {
        index.prompt_changes(conn, id)?;
        conn.prepare_cached("UPDATE user_prompts SET session_id = ?2, content = ?3, created_at = ?4 WHERE id = ?1")?
            .execute(params![id, version.session_id, content, row_text(version.key.time)])?;
        return Ok(true);
    }
    conn.prepare_cached(
        "INSERT INTO user_prompts (sync_id, session_id, content, project, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![key, version.session_id, content, project.as_str(), row_text(version.key.time)])?;
    index.prompt_added(conn.last_insert_rowid());
    Ok(true)
}

/// Removes rows, with what the index holds of them.
pub(in super::super) fn remove(conn: &Connection, index: &mut Index, ids: &[i64]) -> Result<(), StoreError> {
    for &id in ids {
        index.prompt_changes(conn, id)?;
        conn.prepare_cached("DELETE FROM user_prompts WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// Keeps a tombstone; the table has room for one per sync id, and the last delete to come speaks.
fn keep_tombstone(
    conn: &Connection,
    project: &ProjectName,
    key: &str,
    version: &PromptVersion,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO prompt_tombstones (sync_id, session_id, project, deleted_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (sync_id) DO UPDATE SET session_id = ?2, project = ?3, deleted_at = ?4",
    )?
    .execute(params![key, version.session_id, project.as_str(), row_text(version.key.time)])?;
    Ok(())
}

/// A prompt of a session.
pub(in super::super) struct Child {
    /// The number of its row.
    pub(in super::super) id: i64,
    /// Its sync id; blank where it has none.
    pub(in super::super) key: String,
    /// When it was created.
    pub(in super::super) created_at: Option<RowTime>,
}

/// Reads the first prompts of a session in one project behind a number.
pub(in super::super) fn of_session(
    conn: &Connection,
    project: &ProjectName,
    session_id: &str,
    (after, rows_max): (i64, usize),
) -> Result<Vec<Child>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, coalesce(sync_id, ''), created_at FROM user_prompts INDEXED BY idx_prompts_session
         WHERE session_id = ?1 AND project = ?2 AND id > ?3 ORDER BY id LIMIT ?4",
    )?;
    let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![session_id, project.as_str(), after, rows_max])?;
    let mut children = Vec::new();
    while let Some(row) = rows.next()? {
        children.push(Child { id: row.get(0)?, key: row.get(1)?, created_at: time_at(row, 2)? });
    }
    Ok(children)
}

/// Tells whether a session has a prompt in one project that was created after a time.
pub(in super::super) fn is_any_after(
    conn: &Connection,
    project: &ProjectName,
    session_id: &str,
    until: Option<RowTime>,
) -> Result<bool, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT created_at FROM user_prompts WHERE session_id = ?1 AND project = ?2")?;
    let mut rows = statement.query([session_id, project.as_str()])?;
    while let Some(row) = rows.next()? {
        if until.is_none() || time_at(row, 0)? > until {
            return Ok(true);
        }
    }
    Ok(false)
}
