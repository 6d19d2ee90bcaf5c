//! What opening the store queues: everything of an enrolled project that has no journal row, pulled or written.

use super::GoClient;
use rusqlite::params;

impl GoClient {
    /// Queues what no journal row names.
    pub(super) fn backfill(&self) {
        let missing = |entity: &str, key: &str| {
            format!(
                "project IN (SELECT project FROM sync_enrolled_projects) AND NOT EXISTS
                 (SELECT 1 FROM sync_mutations m WHERE m.entity = '{entity}' AND m.entity_key = {key})"
            )
        };
        let keys = |sql: String| {
            let mut statement = self.db.prepare_cached(&sql).expect("a statement");
            let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
            rows.collect::<Result<Vec<_>, _>>().expect("rows")
        };
        let of = |entity: &str, table: &str, key: &str, also: &str| {
            keys(format!("SELECT {key} FROM {table} WHERE {} {also} ORDER BY rowid", missing(entity, key)))
        };
        for id in of("session", "sessions", "id", "") {
            self.queue_session(&id);
        }
        for id in of("observation", "observations", "sync_id", "AND deleted_at IS NULL") {
            self.queue_observation(&id);
        }
        for id in of("prompt", "user_prompts", "sync_id", "") {
            self.queue_prompt(&id);
        }
        // The project of a relation is its source's; only judged ones travel.
        let relations = "(SELECT r.rowid, r.sync_id, o.project FROM memory_relations r JOIN observations o ON o.sync_id = r.source_id
                          WHERE r.judgment_status = 'judged')";
        for id in of("relation", relations, "sync_id", "") {
            self.queue_relation(&id);
        }
        self.backfill_deletes();
    }

    fn backfill_deletes(&self) {
        let deleted = |sql: &str| {
            let mut statement = self.db.prepare_cached(sql).expect("a statement");
            let rows = statement.query_map(params![], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
            rows.expect("rows").collect::<Result<Vec<(String, String, String, String)>, _>>().expect("rows")
        };
        let no_delete = "NOT EXISTS (SELECT 1 FROM sync_mutations m WHERE m.entity_key = t.sync_id AND m.op = 'delete')
                         AND project IN (SELECT project FROM sync_enrolled_projects)";
        let sql = format!(
            "SELECT sync_id, session_id, project, deleted_at FROM observations t WHERE deleted_at IS NOT NULL AND {no_delete}"
        );
        for (id, session_id, project, at) in deleted(&sql) {
            self.queue_observation_delete(&id, &session_id, &project, &at, false);
        }
        let sql = format!(
            "SELECT sync_id, coalesce(session_id, ''), project, deleted_at FROM prompt_tombstones t WHERE {no_delete}"
        );
        for (id, session_id, project, at) in deleted(&sql) {
            self.queue_prompt_delete(&id, &session_id, &project, &at);
        }
    }
}
