//! A writer that does to the store what the Go program does: its own connection, plain SQL, a journal row for each write
//! in the same transaction, and what it queues whenever it opens a store.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test file uses a part")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod autosync;

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use std::path::Path;

/// A Go process with the store open.
pub struct Go(pub Connection);

impl Go {
    pub fn open(path: &Path) -> Self {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000; PRAGMA synchronous = NORMAL;
             PRAGMA foreign_keys = ON",
        )
        .unwrap();
        Self(conn)
    }

    /// Queues what it finds no journal row for, in every enrolled project; returns what it queued.
    pub fn store_open(&self, at: &str) -> Vec<String> {
        let missing =
            "NOT EXISTS (SELECT 1 FROM sync_mutations AS m WHERE m.target_key = 'cloud' AND m.source = 'local'
            AND m.entity = ?1 AND m.entity_key = key";
        let enrolled = "project IN (SELECT project FROM sync_enrolled_projects)";
        let all = format!("{missing})");
        let deletes = format!("{missing} AND m.op = 'delete')");
        let mut queued = Vec::new();
        for (entity, op, source, condition) in [
            ("session", "upsert", "SELECT id AS key, project FROM sessions", &all),
            (
                "observation",
                "upsert",
                "SELECT sync_id AS key, project FROM observations WHERE deleted_at IS NULL",
                &all,
            ),
            ("prompt", "upsert", "SELECT sync_id AS key, project FROM user_prompts", &all),
            (
                "relation",
                "upsert",
                "SELECT r.sync_id AS key, o.project FROM memory_relations AS r
                 JOIN observations AS o ON o.sync_id = r.source_id
                 WHERE r.judgment_status = 'judged' AND r.marked_by_actor IS NOT NULL AND r.marked_by_kind IS NOT NULL",
                &all,
            ),
            (
                "observation",
                "delete",
                "SELECT sync_id AS key, project FROM observations WHERE deleted_at IS NOT NULL",
                &deletes,
            ),
            ("prompt", "delete", "SELECT sync_id AS key, project FROM prompt_tombstones", &deletes),
        ] {
            let sql = format!("SELECT key, project FROM ({source}) WHERE {enrolled} AND {condition} ORDER BY key");
            let mut statement = self.0.prepare(&sql).unwrap();
            let rows = statement.query_map([entity], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            let rows: Vec<(String, String)> = rows.map(Result::unwrap).collect();
            for (key, project) in rows {
                self.journal(entity, &key, op, &self.payload(entity, &key), &project, at);
                queued.push(format!("{op} {entity} {key}"));
            }
        }
        queued
    }

    /// Writes a new memory.
    pub fn save(&self, project: &str, session: &str, key: &str, title: &str, at: &str) {
        self.0.execute_batch("BEGIN").unwrap();
        self.0
            .execute(
                "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, last_seen_at,
                     created_at, updated_at) VALUES (?1, ?2, 'decision', ?3, 'about ' || ?3, ?4, 'project', ?5, ?5, ?5)",
                params![key, session, title, project, at],
            )
            .unwrap();
        self.journal("observation", key, "upsert", &self.payload("observation", key), project, at);
        self.0.execute_batch("COMMIT").unwrap();
    }

    /// Edits a memory: one revision more, its time is now.
    pub fn edit(&self, project: &str, key: &str, title: &str, at: &str) {
        self.change("title = ?2, revision_count = revision_count + 1, updated_at = ?3", project, key, title, at);
    }

    /// Counts a duplicate: no revision more, its time is now.
    pub fn fold(&self, project: &str, key: &str, at: &str) {
        let set =
            "duplicate_count = duplicate_count + 1, last_seen_at = ?3, updated_at = ?3, title = coalesce(?2, title)";
        let title: String =
            self.0.query_row("SELECT title FROM observations WHERE sync_id = ?1", [key], |row| row.get(0)).unwrap();
        self.change(set, project, key, &title, at);
    }

    fn change(&self, set: &str, project: &str, key: &str, title: &str, at: &str) {
        self.0.execute_batch("BEGIN").unwrap();
        let sql = format!("UPDATE observations SET {set} WHERE sync_id = ?1");
        assert_eq!(self.0.execute(&sql, params![key, title, at]).unwrap(), 1);
        self.journal("observation", key, "upsert", &self.payload("observation", key), project, at);
        self.0.execute_batch("COMMIT").unwrap();
    }

    /// Deletes a memory softly.
    pub fn delete(&self, project: &str, key: &str, at: &str) {
        self.0.execute_batch("BEGIN").unwrap();
        self.0.execute("UPDATE observations SET deleted_at = ?2 WHERE sync_id = ?1", [key, at]).unwrap();
        let session = self.payload("observation", key)["session_id"].clone();
        let payload = json!({"sync_id": key, "session_id": session, "type": "", "title": "", "content": "",
            "project": project, "scope": "", "revision_count": 0, "duplicate_count": 0, "deleted": true,
            "deleted_at": at});
        self.journal("observation", key, "delete", &payload, project, at);
        self.0.execute_batch("COMMIT").unwrap();
    }

    /// Writes what a row shows as the journal has it.
    pub fn payload(&self, entity: &str, key: &str) -> Value {
        let sql = match entity {
            "session" => {
                "SELECT json_object('id', id, 'project', project, 'directory', directory, 'started_at', started_at,
                     'ended_at', ended_at, 'summary', summary) FROM sessions WHERE id = ?1"
            }
            "observation" => {
                "SELECT json_object('sync_id', sync_id, 'session_id', session_id, 'type', type, 'title', title,
                     'content', content, 'project', project, 'scope', scope, 'topic_key', topic_key,
                     'revision_count', revision_count, 'duplicate_count', duplicate_count,
                     'last_seen_at', last_seen_at, 'created_at', created_at, 'updated_at', updated_at)
                 FROM observations WHERE sync_id = ?1"
            }
            "prompt" => {
                "SELECT json_object('sync_id', sync_id, 'session_id', session_id, 'content', content,
                     'project', project, 'created_at', created_at) FROM user_prompts WHERE sync_id = ?1
                 UNION ALL SELECT json_object('sync_id', sync_id, 'deleted_at', deleted_at) FROM prompt_tombstones
                 WHERE sync_id = ?1"
            }
            _ => {
                "SELECT json_object('sync_id', sync_id, 'source_id', source_id, 'target_id', target_id,
                     'relation', relation, 'judgment_status', judgment_status, 'marked_by_actor', marked_by_actor,
                     'marked_by_kind', marked_by_kind, 'created_at', created_at, 'updated_at', updated_at)
                 FROM memory_relations WHERE sync_id = ?1"
            }
        };
        let text: String = self.0.query_row(sql, [key], |row| row.get(0)).unwrap();
        let mut payload: Value = serde_json::from_str(&text).unwrap();
        payload.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        payload
    }

    /// Puts one row into the journal.
    pub fn journal(&self, entity: &str, key: &str, op: &str, payload: &Value, project: &str, at: &str) -> i64 {
        self.0
            .execute(
                "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project)
                 VALUES ('cloud', ?1, ?2, ?3, ?4, 'local', ?6, ?5)",
                params![entity, key, op, payload.to_string(), project, at],
            )
            .unwrap();
        self.0.last_insert_rowid()
    }
}
