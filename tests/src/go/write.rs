//! What its user does: sessions, memories with topic keys and folds, edits, soft and hard deletes, prompts, relations.

use super::GoClient;
use super::cached::Cached as _;
use engram_proto::time::RowTime;
use rusqlite::{OptionalExtension as _, Row, params};
use serde_json::{Map, Value, json};

/// Seconds within which the same text folds into the memory that is there.
const FOLD_S: i64 = 15 * 60;

const OBSERVATION: &str = "SELECT sync_id, session_id, type, title, content, project, scope, topic_key, revision_count,
    duplicate_count, last_seen_at, created_at, updated_at FROM observations WHERE sync_id = ?1";

impl GoClient {
    fn queue(&self, entity: &str, key: &str, op: &str, payload: Value) {
        let Value::Object(payload) = payload else { unreachable!("a payload is an object") };
        let payload: Map<String, Value> = payload.into_iter().filter(|(_, value)| !value.is_null()).collect();
        let project = payload.get("project").and_then(Value::as_str).unwrap_or_default().to_owned();
        let sql =
            "INSERT INTO sync_mutations (target_key, source, entity, entity_key, op, payload, project, occurred_at)
                   VALUES ('cloud', 'local', ?1, ?2, ?3, ?4, ?5, ?6)";
        let payload = Value::Object(payload).to_string();
        self.db.execute_cached(sql, params![entity, key, op, payload, project, self.clock()]).expect("queued");
    }

    fn change(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) {
        self.db.execute_cached(sql, values).expect("a write of its own");
    }

    fn new_id(&mut self, kind: &str) -> String {
        self.written += 1;
        format!("{kind}-{}-{}", self.name, self.written)
    }

    fn clock(&self) -> String {
        self.now.to_string()
    }

    /// Begins a session, or leaves the one of this id as it is but for a directory that it lacks.
    pub fn start_session(&self, id: &str, project: &str, directory: &str) {
        let sql = "INSERT INTO sessions (id, project, directory, started_at) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (id) DO UPDATE SET project = iif(project = '', ?2, project),
                   directory = iif(directory = '', ?3, directory)";
        self.change(sql, params![id, project, directory, self.clock()]);
        self.queue_session(id);
    }

    /// Ends a session.
    pub fn end_session(&self, id: &str, summary: &str) {
        let sql = "UPDATE sessions SET ended_at = ?2, summary = ?3 WHERE id = ?1";
        self.change(sql, params![id, self.clock(), summary]);
        self.queue_session(id);
    }

    /// Saves a memory: revises the one of its topic, folds into the same text, or is a new one. Returns its sync id.
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub fn save(&mut self, project: &str, session_id: &str, title: &str, content: &str, topic: Option<&str>) -> String {
        let found = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            self.db.row_cached(sql, values, |row| row.get::<_, String>(0)).optional().expect("a look")
        };
        if let Some(topic) = topic {
            let sql = "SELECT sync_id FROM observations WHERE topic_key = ?1 AND project = ?2 AND deleted_at IS NULL
                       ORDER BY updated_at DESC LIMIT 1";
            if let Some(id) = found(sql, params![topic, project]) {
                self.edit(&id, title, content);
                return id;
            }
        }
        let after = self.now.plus_s(-FOLD_S).to_string();
        let sql = "SELECT sync_id FROM observations WHERE content = ?1 AND project = ?2 AND title = ?3
                   AND created_at >= ?4 AND deleted_at IS NULL ORDER BY created_at DESC LIMIT 1";
        if let Some(id) = found(sql, params![content, project, title, after]) {
            let sql = "UPDATE observations SET duplicate_count = duplicate_count + 1, last_seen_at = ?2,
                       updated_at = ?2 WHERE sync_id = ?1";
            self.change(sql, params![id, self.clock()]);
            self.queue_observation(&id);
            return id;
        }
        let id = self.new_id("obs");
        let sql = "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, topic_key,
                   last_seen_at, created_at, updated_at)
                   VALUES (?1, ?2, 'decision', ?3, ?4, ?5, 'project', ?6, ?7, ?7, ?7)";
        self.change(sql, params![id, session_id, title, content, project, topic, self.clock()]);
        self.queue_observation(&id);
        id
    }

    /// Edits a memory.
    pub fn edit(&self, sync_id: &str, title: &str, content: &str) {
        let sql = "UPDATE observations SET title = ?2, content = ?3, revision_count = revision_count + 1,
                   updated_at = ?4 WHERE sync_id = ?1 AND deleted_at IS NULL";
        self.change(sql, params![sync_id, title, content, self.clock()]);
        self.queue_observation(sync_id);
    }

    /// Marks a memory as reviewed: its time moves, and no mutation says so.
    pub fn mark_reviewed(&self, sync_id: &str) {
        self.change("UPDATE observations SET updated_at = ?2 WHERE sync_id = ?1", params![sync_id, self.clock()]);
    }

    /// Deletes a memory, if it is there.
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub fn delete(&self, sync_id: &str, is_hard: bool) {
        let sql = "SELECT session_id, project FROM observations WHERE sync_id = ?1 AND deleted_at IS NULL";
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let Some((session_id, project)) = self.db.row_cached(sql, [sync_id], read).optional().expect("a look") else {
            return;
        };
        let sql = if is_hard {
            "DELETE FROM observations WHERE sync_id = ?1 AND ?2 <> ''"
        } else {
            "UPDATE observations SET deleted_at = ?2, updated_at = ?2 WHERE sync_id = ?1"
        };
        self.change(sql, params![sync_id, self.clock()]);
        self.queue_observation_delete(sync_id, &session_id, &project, &self.clock(), is_hard);
    }

    /// Stores a prompt. Returns its sync id.
    pub fn prompt(&mut self, project: &str, session_id: &str, content: &str) -> String {
        let id = self.new_id("prompt");
        let sql =
            "INSERT INTO user_prompts (sync_id, session_id, content, project, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.change(sql, params![id, session_id, content, project, self.clock()]);
        self.queue_prompt(&id);
        id
    }

    /// Deletes a session with its prompts; refused, as `false`, while any row of a memory of it is there.
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub fn delete_session(&self, id: &str) -> bool {
        let project: Option<String> = self
            .db
            .row_cached("SELECT project FROM sessions WHERE id = ?1", [id], |row| row.get(0))
            .optional()
            .expect("a look");
        let sql = "SELECT count(*) FROM observations WHERE session_id = ?1";
        let rows: i64 = self.db.row_cached(sql, [id], |row| row.get(0)).expect("a count");
        let Some(project) = project.filter(|_| rows == 0) else { return false };
        self.change("DELETE FROM user_prompts WHERE session_id = ?1", params![id]);
        self.change("DELETE FROM sessions WHERE id = ?1", params![id]);
        let at = self.clock();
        let payload = json!({"id": id, "project": project, "deleted": true, "deleted_at": at, "hard_delete": true});
        self.queue("session", id, "delete", payload);
        true
    }

    /// Judges how two memories stand to each other. Returns the relation's sync id.
    pub fn relate(&mut self, source_id: &str, target_id: &str) -> String {
        let id = self.new_id("rel");
        let sql = "INSERT INTO memory_relations (sync_id, source_id, target_id, relation, judgment_status,
                   marked_by_actor, marked_by_kind, created_at, updated_at)
                   VALUES (?1, ?2, ?3, 'related', 'judged', 'go', 'agent', ?4, ?4)";
        self.change(sql, params![id, source_id, target_id, self.clock()]);
        self.queue_relation(&id);
        id
    }

    pub(super) fn queue_session(&self, id: &str) {
        let sql = "SELECT id, project, directory, started_at, ended_at, summary FROM sessions WHERE id = ?1";
        let names = ["id", "project", "directory", "started_at", "ended_at", "summary"];
        self.queue("session", id, "upsert", self.read(sql, id, &names));
    }

    pub(super) fn queue_observation(&self, id: &str) {
        let names = [
            "sync_id",
            "session_id",
            "type",
            "title",
            "content",
            "project",
            "scope",
            "topic_key",
            "revision_count",
            "duplicate_count",
            "last_seen_at",
            "created_at",
            "updated_at",
        ];
        self.queue("observation", id, "upsert", self.read(OBSERVATION, id, &names));
    }

    pub(super) fn queue_prompt(&self, id: &str) {
        let sql = "SELECT sync_id, session_id, content, project, created_at FROM user_prompts WHERE sync_id = ?1";
        self.queue(
            "prompt",
            id,
            "upsert",
            self.read(sql, id, &["sync_id", "session_id", "content", "project", "created_at"]),
        );
    }

    pub(super) fn queue_relation(&self, id: &str) {
        let names = [
            "sync_id",
            "source_id",
            "target_id",
            "relation",
            "judgment_status",
            "marked_by_actor",
            "marked_by_kind",
            "created_at",
            "updated_at",
            "project",
        ];
        let sql = "SELECT sync_id, source_id, target_id, relation, judgment_status, marked_by_actor, marked_by_kind,
                   created_at, updated_at, (SELECT project FROM observations o WHERE o.sync_id = source_id)
                   FROM memory_relations WHERE sync_id = ?1";
        self.queue("relation", id, "upsert", self.read(sql, id, &names));
    }

    pub(super) fn queue_observation_delete(&self, id: &str, session_id: &str, project: &str, at: &str, is_hard: bool) {
        let payload = json!({
            "sync_id": id, "session_id": session_id, "project": project, "type": "", "title": "", "content": "",
            "scope": "", "revision_count": 0, "duplicate_count": 0, "deleted": true, "deleted_at": at,
            "hard_delete": is_hard.then_some(true),
        });
        self.queue("observation", id, "delete", payload);
    }

    pub(super) fn queue_prompt_delete(&self, id: &str, session_id: &str, project: &str, at: &str) {
        let payload = json!({
            "sync_id": id, "session_id": session_id, "project": project, "content": "", "deleted": true,
            "deleted_at": at, "hard_delete": true,
        });
        self.queue("prompt", id, "delete", payload);
    }

    /// Deletes a prompt, if it is there.
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub fn delete_prompt(&self, id: &str) {
        let sql = "SELECT session_id, project FROM user_prompts WHERE sync_id = ?1";
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let Some((session_id, project)) = self.db.row_cached(sql, [id], read).optional().expect("a look") else {
            return;
        };
        let at = self.clock();
        self.change("DELETE FROM user_prompts WHERE sync_id = ?1", params![id]);
        let sql = "INSERT OR REPLACE INTO prompt_tombstones (sync_id, session_id, project, deleted_at) VALUES (?1, ?2, ?3, ?4)";
        self.change(sql, params![id, session_id, project, at]);
        self.queue_prompt_delete(id, &session_id, &project, &at);
    }

    fn read(&self, sql: &str, id: &str, names: &[&str]) -> Value {
        self.read_row(sql, id, names).expect("the row")
    }

    /// Reads a row with the fields that have a value; `None` where there is none of this id.
    pub(super) fn read_row(&self, sql: &str, id: &str, names: &[&str]) -> Option<Value> {
        let read = |row: &Row<'_>| {
            let mut fields = Map::new();
            for (at, name) in names.iter().enumerate() {
                match row.get::<_, rusqlite::types::Value>(at)? {
                    rusqlite::types::Value::Text(text) => fields.insert((*name).to_owned(), text.into()),
                    rusqlite::types::Value::Integer(number) => fields.insert((*name).to_owned(), number.into()),
                    _ => None,
                };
            }
            Ok(Value::Object(fields))
        };
        self.db.row_cached(sql, [id], read).optional().expect("a look")
    }

    /// Moves its clock.
    pub fn pass_s(&mut self, seconds: i64) -> RowTime {
        self.now = self.now.plus_s(seconds);
        self.now
    }
}
