//! A store with a lease, and short ways to write, pull and settle, for the tests of the store.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test file uses a part")]
#![expect(clippy::unwrap_used, reason = "tests")]

use engram_proto::canonical::{Hash, Object};
use engram_proto::http::pull::{PullReply, PulledMutation};
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op};
use engram_proto::time::RowTime;
use engramd::store::{Store, journal, versions};
use engramd_core::rows::{Applied, Batch, BatchLimits, Fence, LeaseOutcome, Settled, Settlement};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const CLOUD: &str = "cloud-1";
pub const OWNER: &str = "engramd-test";

pub fn project(name: &str) -> ProjectName {
    ProjectName::parse(name).unwrap()
}

/// A time so many seconds after the test's beginning.
pub fn at(seconds: i64) -> RowTime {
    RowTime::parse("2026-11-22 14:00:00").unwrap().plus_s(seconds)
}

pub fn object(value: Value) -> Object {
    let Value::Object(object) = value else { panic!("an object") };
    object
}

pub fn session(id: &str, directory: &str, started: i64) -> Value {
    json!({"id": id, "project": "alpha", "directory": directory, "started_at": at(started).to_string()})
}

pub fn observation(key: &str, session: &str, title: &str, updated: i64) -> Value {
    json!({"sync_id": key, "session_id": session, "type": "decision", "title": title, "content": format!("about {title}"),
        "scope": "project", "project": "alpha", "revision_count": 1, "duplicate_count": 1,
        "created_at": at(0).to_string(), "updated_at": at(updated).to_string()})
}

pub fn gone(key: &str, session: &str, deleted: i64, hard: bool) -> Value {
    let mut delete = json!({"sync_id": key, "session_id": session, "type": "", "title": "", "content": "", "scope": "",
        "duplicate_count": 1, "created_at": at(0).to_string(), "deleted": true, "deleted_at": at(deleted).to_string()});
    if hard {
        delete["hard_delete"] = true.into();
    }
    delete
}

pub fn prompt(key: &str, session: &str, content: &str, created: i64) -> Value {
    json!({"sync_id": key, "session_id": session, "content": content, "created_at": at(created).to_string()})
}

pub fn relation(key: &str, source: &str, target: &str, updated: i64) -> Value {
    json!({"sync_id": key, "source_id": source, "target_id": target, "relation": "supersedes",
        "judgment_status": "judged", "marked_by_actor": "ana", "marked_by_kind": "human", "confidence": 0.9,
        "created_at": at(0).to_string(), "updated_at": at(updated).to_string()})
}

/// One pulled row.
pub fn row(seq: u64, project: &str, entity: &str, op: &str, payload: Value) -> PulledMutation {
    let key = payload["id"].as_str().or_else(|| payload["sync_id"].as_str()).unwrap_or("no-key").to_owned();
    PulledMutation {
        seq,
        project: project.to_owned(),
        entity: entity.to_owned(),
        entity_key: key,
        op: op.to_owned(),
        payload,
        occurred_at: "2026-11-22T14:00:00.000001Z".to_owned(),
    }
}

/// One pulled upsert of project alpha.
pub fn up(seq: u64, entity: &str, payload: Value) -> PulledMutation {
    row(seq, "alpha", entity, "upsert", payload)
}

pub fn page(mutations: Vec<PulledMutation>) -> PullReply {
    let mut cursors = BTreeMap::new();
    for row in &mutations {
        cursors.insert(project(&row.project), row.seq);
    }
    PullReply { mutations, cursors, ..PullReply::default() }
}

/// Takes a store of ours back to what it was in version 1.2.
pub const BACK_TO_1_2: &str = "DROP TABLE engramd_reread;
    ALTER TABLE engramd_cursor DROP COLUMN first_head; DROP TABLE engramd_served; DROP TABLE engramd_look;
    DROP TABLE engramd_chunk; DROP TABLE engramd_exported; DROP TABLE engramd_place;
    DROP TABLE engramd_place_chunk; DROP TABLE engramd_place_mark; DROP TABLE engramd_due;
    DROP TABLE engramd_refused; DROP TABLE engramd_held_chunk; DROP TABLE engramd_cloud_chunk;
    DROP TABLE engramd_softly; DROP INDEX engramd_relations_updated;
    DROP TABLE engramd_digest; DROP TABLE engramd_different; DROP TABLE engramd_home; DROP TABLE engramd_remirror;
    DROP TABLE engramd_read; DROP TABLE engramd_held_count; DROP TABLE engramd_arrived; DROP INDEX engramd_held_parent;
    DROP INDEX engramd_observations_topic;
    UPDATE engramd_meta SET value = '1.2' WHERE key = 'schema';";

pub struct Lab {
    pub store: Store,
    pub fence: Fence,
    pub alpha: ProjectName,
}

impl Lab {
    pub fn new() -> Self {
        Self::on(Store::open_in_memory(at(0)).unwrap())
    }

    pub fn on(mut store: Store) -> Self {
        let alpha = project("alpha");
        store.enroll(&alpha, at(0)).unwrap();
        let fence = lease(&mut store, OWNER, 0);
        Self { store, fence, alpha }
    }

    pub fn apply(&mut self, rows: Vec<PulledMutation>) -> Applied {
        let page = page(rows);
        let applied = self.store.apply_page(&self.fence, CLOUD, &BTreeMap::new(), &page, at(1_000)).unwrap();
        applied.get(&self.alpha).copied().unwrap_or_default()
    }

    pub fn stand_ins(&mut self) -> Applied {
        self.store.stand_ins(&self.fence, &self.alpha, at(1_001)).unwrap()
    }

    pub fn batch(&mut self, rows_max: u32) -> Batch {
        let limits = BatchLimits { rows_max, body_bytes_max: 1 << 20 };
        self.store.pending_batch(&self.fence, &self.alpha, limits, at(1_000)).unwrap()
    }

    pub fn ack(&mut self, seq: i64, cloud_seq: u64) -> Settled {
        let settlement = Settlement::Acked { seq, cloud_seq, occurred_at: None };
        self.store.settle(&self.fence, &self.alpha, &[settlement], at(1_002)).unwrap()
    }

    /// Journals and writes as memory does: session rows, memories, deletes.
    pub fn write(&mut self, entity: Entity, op: Op, payload: Value) -> i64 {
        self.write_on(entity, op, payload, None)
    }

    pub fn write_on(&mut self, entity: Entity, op: Op, payload: Value, base: Option<Hash>) -> i64 {
        let alpha = self.alpha.clone();
        self.store.write(|tx| Ok(write(tx, &alpha, entity, op, &payload, base))).unwrap()
    }

    pub fn one<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        self.store.read(|conn| Ok(conn.query_row(sql, [], |row| row.get(0))?)).unwrap()
    }

    pub fn version(&self, entity: Entity, key: &str) -> Option<Version> {
        self.store.read(|conn| versions::local(conn, &self.alpha, entity, key)).unwrap()
    }

    pub fn title(&self, key: &str) -> Option<String> {
        self.store
            .read(|conn| {
                let sql = "SELECT max(title) FROM observations WHERE sync_id = ?1 AND deleted_at IS NULL";
                Ok(conn.query_row(sql, [key], |row| row.get(0))?)
            })
            .unwrap()
    }

    pub fn dump(&self) -> String {
        self.store.canonical_dump(&self.alpha).unwrap()
    }

    /// ACK-2, and that the counts kept in memory are those of the tables.
    pub fn check_books(&mut self) {
        let books = self.store.ack2(&self.alpha).unwrap();
        assert_eq!(books.written, books.pending + books.acked + books.held + books.void, "{books:?}");
        let counted = self.store.counts().unwrap().remove(&self.alpha).unwrap_or_default();
        assert_eq!((counted.pending, counted.quarantined), (books.pending, books.held), "{books:?}");
    }

    /// That the full-text indexes hold what the tables do.
    pub fn check_index(&self) {
        self.store
            .read(|conn| {
                for table in ["observations_fts", "prompts_fts"] {
                    conn.execute(&format!("INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)"), [])?;
                }
                Ok(())
            })
            .unwrap();
    }
}

pub fn lease(store: &mut Store, owner: &str, now_ms: i64) -> Fence {
    match store.acquire_lease(owner, now_ms, 60_000).unwrap() {
        LeaseOutcome::Granted { fence, .. } => fence,
        held => panic!("{held:?}"),
    }
}

/// Runs statements with triggers on, as a connection of another program has them: ours tells the search index itself.
pub fn with_triggers<R>(conn: &rusqlite::Connection, f: impl FnOnce() -> R) -> R {
    let switch = |on| conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, on).unwrap();
    switch(true);
    let result = f();
    switch(false);
    result
}

pub fn write(
    tx: &engramd::store::Transaction<'_>,
    project: &ProjectName,
    entity: Entity,
    op: Op,
    payload: &Value,
    base: Option<Hash>,
) -> i64 {
    let text = |field: &str| payload[field].as_str().map(str::to_owned);
    let key = text("id").or_else(|| text("sync_id")).unwrap();
    let name = project.as_str();
    with_triggers(tx, || match (entity, op) {
        (Entity::Session, _) => tx
            .execute(
                "INSERT OR REPLACE INTO sessions (id, project, directory, started_at) VALUES (?1, ?2, ?3, ?4)",
                rusqlite::params![key, name, text("directory"), text("started_at")],
            )
            .unwrap(),
        (Entity::Observation, Op::Upsert) => {
            tx.execute("DELETE FROM observations WHERE sync_id = ?1 AND project = ?2", [&key, name]).unwrap();
            tx.execute(
                "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, revision_count,
                     created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                rusqlite::params![
                    key,
                    text("session_id"),
                    text("type"),
                    text("title"),
                    text("content"),
                    name,
                    text("scope"),
                    payload["revision_count"].as_i64(),
                    text("created_at"),
                    text("updated_at")
                ],
            )
            .unwrap()
        }
        (Entity::Observation, Op::Delete) if payload["hard_delete"] == true => {
            tx.execute("DELETE FROM observations WHERE sync_id = ?1 AND project = ?2", [&key, name]).unwrap()
        }
        (Entity::Observation, Op::Delete) => tx
            .execute(
                "UPDATE observations SET deleted_at = ?3 WHERE sync_id = ?1 AND project = ?2",
                [&key, name, &text("deleted_at").unwrap()],
            )
            .unwrap(),
        (Entity::Prompt, Op::Upsert) => tx
            .execute(
                "INSERT INTO user_prompts (sync_id, session_id, content, project, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                rusqlite::params![key, text("session_id"), text("content"), name, text("created_at")],
            )
            .unwrap(),
        _ => 0,
    });
    let payload = object(payload.clone());
    journal::append(tx, &journal::LocalWrite { project, entity, key: &key, op, payload: &payload, base, at: at(5) })
        .unwrap()
}
