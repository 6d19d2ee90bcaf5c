//! The tables of a Go client's store that syncing touches, with its foreign keys.

/// Makes the tables where there are none.
pub(super) const TABLES: &str = "
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, project TEXT NOT NULL, directory TEXT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT,
    summary TEXT);
CREATE TABLE IF NOT EXISTS observations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sync_id TEXT, session_id TEXT NOT NULL REFERENCES sessions(id),
    type TEXT NOT NULL, title TEXT NOT NULL, content TEXT NOT NULL, project TEXT, scope TEXT NOT NULL,
    topic_key TEXT, revision_count INTEGER NOT NULL DEFAULT 1, duplicate_count INTEGER NOT NULL DEFAULT 1,
    last_seen_at TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, deleted_at TEXT);
CREATE TABLE IF NOT EXISTS user_prompts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sync_id TEXT, session_id TEXT NOT NULL REFERENCES sessions(id),
    content TEXT NOT NULL, project TEXT, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS prompt_tombstones (
    sync_id TEXT PRIMARY KEY, session_id TEXT, project TEXT, deleted_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS memory_relations (
    sync_id TEXT PRIMARY KEY, source_id TEXT, target_id TEXT, relation TEXT NOT NULL, judgment_status TEXT NOT NULL,
    marked_by_actor TEXT, marked_by_kind TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sync_apply_deferred (
    sync_id TEXT PRIMARY KEY, entity TEXT NOT NULL, payload TEXT NOT NULL, apply_status TEXT NOT NULL DEFAULT 'deferred',
    retry_count INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS sync_mutations (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, target_key TEXT NOT NULL, source TEXT NOT NULL, occurred_at TEXT NOT NULL,
    entity TEXT NOT NULL, entity_key TEXT NOT NULL, op TEXT NOT NULL,
    payload TEXT NOT NULL, project TEXT NOT NULL, acked_at TEXT);
CREATE TABLE IF NOT EXISTS sync_enrolled_projects (project TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS sync_chunks (target_key TEXT NOT NULL, chunk_id TEXT NOT NULL,
    PRIMARY KEY (target_key, chunk_id));
CREATE TABLE IF NOT EXISTS sync_state (
    target_key TEXT PRIMARY KEY, last_pulled_seq INTEGER NOT NULL DEFAULT 0, last_acked_seq INTEGER NOT NULL DEFAULT 0,
    lease_owner TEXT, lease_until TEXT);
";

/// Makes the row of the target where there is none.
pub(super) const TARGET: &str = "INSERT OR IGNORE INTO sync_state (target_key) VALUES ('cloud')";
