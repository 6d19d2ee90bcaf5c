//! What the Go program's autosync does to a store: its lease, the rows it acknowledges, and the rows it pulls, which it
//! writes over what is there in the order of arrival.

use super::Go;
use engram_proto::http::pull::PulledMutation;
use rusqlite::params;
use serde_json::Value;

impl Go {
    /// Takes the lease on the target `cloud`, or gives it back.
    pub fn hold_lease(&self, until: Option<&str>) {
        let owner = until.map(|_| "autosync-1795356000000000000");
        let sql = "UPDATE sync_state SET lease_owner = ?1, lease_until = ?2 WHERE target_key = 'cloud'";
        assert_eq!(self.0.execute(sql, [owner, until]).unwrap(), 1);
    }

    /// Pushes what it would: rows that are not acknowledged, of enrolled projects and of none. Returns their keys.
    pub fn push(&self, at: &str) -> Vec<String> {
        let sql = "SELECT seq, entity_key FROM sync_mutations WHERE target_key = 'cloud' AND acked_at IS NULL
            AND (project = '' OR project IN (SELECT project FROM sync_enrolled_projects)) ORDER BY seq LIMIT 100";
        let mut statement = self.0.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let rows: Vec<(i64, String)> = rows.map(Result::unwrap).collect();
        self.acknowledge(&rows.iter().map(|&(seq, _)| seq).collect::<Vec<_>>(), at);
        rows.into_iter().map(|(_, key)| key).collect()
    }

    /// Acknowledges rows as after a push.
    pub fn acknowledge(&self, seqs: &[i64], at: &str) {
        self.0.execute_batch("BEGIN").unwrap();
        for seq in seqs {
            let sql = "UPDATE sync_mutations SET acked_at = ?2 WHERE seq = ?1 AND acked_at IS NULL";
            self.0.execute(sql, params![seq, at]).unwrap();
        }
        let sql = "UPDATE sync_state SET last_acked_seq = max(last_acked_seq, ?1) WHERE target_key = 'cloud'";
        self.0.execute(sql, [seqs.iter().max().copied().unwrap_or(0)]).unwrap();
        self.0.execute_batch("COMMIT").unwrap();
    }

    /// Pulls rows, each in a transaction with its one cursor; the last to come wins.
    pub fn pull(&self, rows: &[PulledMutation]) {
        for row in rows {
            self.0.execute_batch("BEGIN").unwrap();
            self.apply(row);
            let sql = "UPDATE sync_state SET last_pulled_seq = ?1 WHERE target_key = 'cloud'";
            assert_eq!(self.0.execute(sql, [row.seq.cast_signed()]).unwrap(), 1);
            self.0.execute_batch("COMMIT").unwrap();
        }
    }

    fn apply(&self, row: &PulledMutation) {
        let text = |field: &str| row.payload[field].as_str().map(str::to_owned);
        let key = row.entity_key.as_str();
        match (row.entity.as_str(), row.op.as_str()) {
            ("session", "upsert") => {
                let sql = "INSERT INTO sessions (id, project, directory, started_at, ended_at, summary)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO UPDATE SET project = ?2, directory = ?3,
                    ended_at = coalesce(?5, ended_at), summary = coalesce(?6, summary)";
                let directory = text("directory").unwrap_or_default();
                self.0
                    .execute(
                        sql,
                        params![key, text("project"), directory, text("started_at"), text("ended_at"), text("summary")],
                    )
                    .unwrap();
            }
            ("observation", "upsert") => self.apply_memory(key, &row.payload),
            ("observation", "delete") => {
                let sql = "UPDATE observations SET deleted_at = ?2 WHERE sync_id = ?1";
                self.0.execute(sql, params![key, text("deleted_at")]).unwrap();
            }
            other => panic!("no test pulls {other:?}"),
        }
    }

    fn apply_memory(&self, key: &str, payload: &Value) {
        let known = "SELECT EXISTS (SELECT 1 FROM observations WHERE sync_id = ?1)";
        let known: bool = self.0.query_row(known, [key], |row| row.get(0)).unwrap();
        let sql = if known {
            "UPDATE observations SET session_id = ?2, type = ?3, title = ?4, content = ?5, project = ?6, scope = ?7,
                 revision_count = ?8, created_at = ?9, updated_at = ?10, deleted_at = NULL WHERE sync_id = ?1"
        } else {
            "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, revision_count,
                 created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        };
        let text = |field: &str| payload[field].as_str().map(str::to_owned);
        let values = params![
            key,
            text("session_id"),
            text("type"),
            text("title"),
            text("content"),
            text("project"),
            text("scope"),
            payload["revision_count"].as_i64(),
            text("created_at"),
            text("updated_at")
        ];
        self.0.execute(sql, values).unwrap();
    }
}
