//! What stores of older ages lack, and how they get it: the columns, tables, indexes and triggers that the Go program
//! itself would add, the sync ids it would fill, and project names in normal form (local-store.md).

use super::super::error::StoreError;
use super::super::naming;
use engram_proto::id::ProjectName;
use engram_proto::mutation::{Entity, payload_text};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

/// Columns that came after their tables: table, column, definition.
const COLUMNS: [(&str, &str, &str); 18] = [
    ("observations", "sync_id", "TEXT"),
    ("observations", "scope", "TEXT NOT NULL DEFAULT 'project'"),
    ("observations", "topic_key", "TEXT"),
    ("observations", "normalized_hash", "TEXT"),
    ("observations", "revision_count", "INTEGER NOT NULL DEFAULT 1"),
    ("observations", "duplicate_count", "INTEGER NOT NULL DEFAULT 1"),
    ("observations", "last_seen_at", "TEXT"),
    ("observations", "pinned", "BOOLEAN NOT NULL DEFAULT 0"),
    ("observations", "deleted_at", "TEXT"),
    ("observations", "review_after", "TEXT"),
    ("observations", "expires_at", "TEXT"),
    ("observations", "embedding", "BLOB"),
    ("observations", "embedding_model", "TEXT"),
    ("observations", "embedding_created_at", "TEXT"),
    ("user_prompts", "sync_id", "TEXT"),
    ("sync_mutations", "project", "TEXT NOT NULL DEFAULT ''"),
    ("sync_state", "reason_code", "TEXT"),
    ("sync_state", "reason_message", "TEXT"),
];

/// What a file must have to be a store of the Go program at all.
const ALWAYS: [(&str, &str); 6] = [
    ("sessions", "id"),
    ("sessions", "project"),
    ("sessions", "directory"),
    ("observations", "session_id"),
    ("observations", "title"),
    ("observations", "content"),
];

/// Tables of the newest age.
const TABLES: [&str; 12] = [
    "user_prompts",
    "prompt_tombstones",
    "memory_relations",
    "sync_state",
    "sync_mutations",
    "sync_chunks",
    "sync_enrolled_projects",
    "sync_apply_deferred",
    "cloud_upgrade_state",
    "observations_fts",
    "prompts_fts",
    "sessions",
];

/// Where project names stand that people typed.
const NAMED: [&str; 5] = ["sessions", "observations", "user_prompts", "prompt_tombstones", "sync_mutations"];

/// Refuses a file that another program made; an empty one is nobody's.
pub(super) fn refuse_foreign(conn: &Connection) -> Result<(), StoreError> {
    let mut statement = conn.prepare(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name LIMIT 4",
    )?;
    let names = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    for (table, column) in ALWAYS {
        if !names.is_empty() && !has_column(conn, table, column)? {
            return Err(StoreError::Foreign(names.join(", ")));
        }
    }
    Ok(())
}

/// Tells whether a store of the Go program is of an older age, or has rows that older ages left.
pub(super) fn is_older(conn: &Connection) -> Result<bool, StoreError> {
    if !has_table(conn, "observations")? {
        return Ok(false);
    }
    for table in TABLES {
        if !has_table(conn, table)? {
            return Ok(true);
        }
    }
    for (table, column, _) in COLUMNS {
        if !has_column(conn, table, column)? {
            return Ok(true);
        }
    }
    Ok(!has_column(conn, "sync_chunks", "target_key")?
        || !has_column(conn, "observations_fts", "topic_key")?
        || unfilled(conn)?
        || !typed_names(conn)?.is_empty())
}

/// Makes room for what the newest age adds: columns, and the tables that have to be made anew.
pub(super) fn add_columns(conn: &Connection) -> Result<(), StoreError> {
    for (table, column, definition) in COLUMNS {
        if has_table(conn, table)? && !has_column(conn, table, column)? {
            conn.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {definition}"))?;
        }
    }
    if has_table(conn, "sync_chunks")? && !has_column(conn, "sync_chunks", "target_key")? {
        conn.execute_batch(
            "ALTER TABLE sync_chunks RENAME TO sync_chunks_without_target;
             CREATE TABLE sync_chunks (
                 target_key  TEXT NOT NULL DEFAULT 'local',
                 chunk_id    TEXT NOT NULL,
                 imported_at TEXT NOT NULL DEFAULT (datetime('now')),
                 PRIMARY KEY (target_key, chunk_id)
             );
             INSERT INTO sync_chunks (chunk_id, imported_at)
                 SELECT chunk_id, imported_at FROM sync_chunks_without_target;
             DROP TABLE sync_chunks_without_target;",
        )?;
    }
    // The index is filled anew at the end; what feeds it goes with it.
    for name in ["obs_fts_insert", "obs_fts_update", "obs_fts_delete"] {
        conn.execute_batch(&format!("DROP TRIGGER IF EXISTS {name}"))?;
    }
    Ok(conn.execute_batch("DROP TABLE IF EXISTS observations_fts")?)
}

/// Fills and rewrites rows once every column is there, and the search index after them.
pub(super) fn fill(conn: &Connection) -> Result<(), StoreError> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    let filled = fill_rows(conn);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
    filled?;
    for index in ["observations_fts", "prompts_fts"] {
        conn.execute_batch(&format!("INSERT INTO {index} ({index}) VALUES ('rebuild')"))?;
    }
    Ok(())
}

fn fill_rows(conn: &Connection) -> Result<(), StoreError> {
    conn.execute_batch(
        "UPDATE observations SET sync_id = 'obs-' || lower(hex(randomblob(16))) WHERE coalesce(sync_id, '') = '';
         UPDATE user_prompts SET sync_id = 'prompt-' || lower(hex(randomblob(16))) WHERE coalesce(sync_id, '') = '';",
    )?;
    // As in the journal: a row without a project belongs to its session's.
    for table in ["observations", "user_prompts", "prompt_tombstones"] {
        conn.execute_batch(&format!(
            "UPDATE {table} SET project = (SELECT s.project FROM sessions AS s WHERE s.id = {table}.session_id)
             WHERE trim(coalesce(project, '')) = ''
                 AND EXISTS (SELECT 1 FROM sessions AS s WHERE s.id = {table}.session_id)"
        ))?;
    }
    name_journal_rows(conn)?;
    for (typed, normal) in typed_names(conn)? {
        for table in NAMED {
            conn.execute(&format!("UPDATE {table} SET project = ?2 WHERE project = ?1"), [&typed, normal.as_str()])?;
        }
        let enrolled = "UPDATE OR IGNORE sync_enrolled_projects SET project = ?2 WHERE project = ?1";
        conn.execute(enrolled, [&typed, normal.as_str()])?;
        conn.execute("DELETE FROM sync_enrolled_projects WHERE project = ?1", [&typed])?;
    }
    Ok(())
}

/// Gives journal rows from before the column their project: the payload's, else the session's.
fn name_journal_rows(conn: &Connection) -> Result<(), StoreError> {
    let mut statement =
        conn.prepare("SELECT seq, entity, entity_key, payload FROM sync_mutations WHERE trim(project) = ''")?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<Vec<(i64, String, String, String)>, _>>()?;
    for (seq, entity, key, payload) in rows {
        let Ok(payload) = payload_text(&payload) else { continue };
        if let Some(name) = naming::project_of(conn, Entity::parse(&entity), &key, &payload)? {
            conn.execute("UPDATE sync_mutations SET project = ?2 WHERE seq = ?1", params![seq, name.as_str()])?;
        }
    }
    Ok(())
}

/// Tells whether a row lacks its sync id, or the project that its session has.
fn unfilled(conn: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM observations WHERE coalesce(sync_id, '') = '')
            OR EXISTS (SELECT 1 FROM user_prompts WHERE coalesce(sync_id, '') = '')
            OR EXISTS (SELECT 1 FROM observations AS o JOIN sessions AS s ON s.id = o.session_id
                WHERE trim(coalesce(o.project, '')) = '' AND trim(s.project) <> '')
            OR EXISTS (SELECT 1 FROM user_prompts AS p JOIN sessions AS s ON s.id = p.session_id
                WHERE trim(coalesce(p.project, '')) = '' AND trim(s.project) <> '')";
    Ok(conn.query_row(sql, [], |row| row.get(0))?)
}

/// Lists the names that are not in normal form, each with that form; a blank name has none and stays.
fn typed_names(conn: &Connection) -> Result<Vec<(String, ProjectName)>, StoreError> {
    let tables = NAMED.iter().chain(&["sync_enrolled_projects"]);
    let parts: Vec<_> = tables.map(|table| format!("SELECT DISTINCT project FROM {table}")).collect();
    let mut statement = conn.prepare(&parts.join(" UNION "))?;
    let names = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<Option<String>>, _>>()?;
    let normal = |typed: String| {
        let normal = ProjectName::parse(&typed).ok()?;
        (normal.as_str() != typed).then_some((typed, normal))
    };
    Ok(names.into_iter().flatten().filter_map(normal).collect())
}

fn has_table(conn: &Connection, table: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1)";
    Ok(conn.query_row(sql, [table], |row| row.get(0))?)
}

fn has_column(conn: &Connection, table: &str, column: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pragma_table_xinfo(?1) WHERE name = ?2)";
    Ok(conn.query_row(sql, [table, column], |row| row.get(0))?)
}
