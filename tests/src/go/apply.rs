//! What a pulled row does: the last one that arrives wins, and one that does not fit stops everything.

use super::cached::Cached as _;
use super::{GoClient, Halt};
use engram_proto::http::pull::PulledMutation;
use rusqlite::{OptionalExtension as _, Transaction, params};
use serde_json::{Map, Value};

pub(super) type Payload = Map<String, Value>;

/// Rows that wait for a parent are tried so many times.
const TRIES_MAX: i64 = 5;

/// Waiting rows looked at in one cycle.
const REPLAY_ROWS: i64 = 50;

pub(super) fn text<'a>(payload: &'a Payload, field: &str) -> Option<&'a str> {
    payload.get(field).and_then(Value::as_str)
}

fn number(payload: &Payload, field: &str) -> i64 {
    payload.get(field).and_then(Value::as_i64).unwrap_or(1)
}

impl GoClient {
    /// Applies one row and moves the cursor, both or none. A row at or below the cursor is passed over.
    pub(super) fn apply(&mut self, row: PulledMutation) -> Result<(), Halt> {
        if row.seq <= self.cursor() {
            return Ok(());
        }
        let now = self.now.to_string();
        let transaction = self.db.transaction().expect("a transaction");
        let applied = decode(&row.payload).and_then(|payload| one(&transaction, &row, &payload, &now));
        if let Err(error) = applied {
            drop(transaction);
            return Err(Halt::Apply { row: Box::new(row), error });
        }
        let sql = "UPDATE sync_state SET last_pulled_seq = ?1 WHERE target_key = 'cloud'";
        transaction.execute_cached(sql, [row.seq.cast_signed()]).expect("the cursor");
        transaction.commit().expect("a commit");
        Ok(())
    }

    /// Tries waiting relations again; one that waited through five cycles is given up for ever.
    ///
    /// # Panics
    /// Where SQLite refuses.
    pub fn replay(&mut self) {
        let now = self.now.to_string();
        let transaction = self.db.transaction().expect("a transaction");
        let sql = "SELECT sync_id, payload FROM sync_apply_deferred WHERE apply_status = 'deferred' LIMIT ?1";
        let waiting: Vec<(String, String)> = {
            let mut statement = transaction.prepare_cached(sql).expect("a statement");
            let rows = statement.query_map([REPLAY_ROWS], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
            rows.collect::<Result<_, _>>().expect("rows")
        };
        for (sync_id, payload) in waiting {
            let payload: Payload = serde_json::from_str(&payload).expect("it was written here");
            let sql = if relation(&transaction, &payload, &now).expect("it applies or waits") {
                "DELETE FROM sync_apply_deferred WHERE sync_id = ?1 AND ?2 > 0"
            } else {
                "UPDATE sync_apply_deferred SET retry_count = retry_count + 1,
                 apply_status = iif(retry_count + 1 >= ?2, 'dead', 'deferred') WHERE sync_id = ?1"
            };
            transaction.execute_cached(sql, params![sync_id, TRIES_MAX]).expect("recorded");
        }
        transaction.commit().expect("a commit");
    }
}

pub(super) fn decode(payload: &Value) -> Result<Payload, String> {
    match payload {
        Value::Object(object) => Ok(object.clone()),
        Value::String(text) => serde_json::from_str(text).map_err(|error| error.to_string()),
        _ => Err("not an object".to_owned()),
    }
}

pub(super) fn one(db: &Transaction<'_>, row: &PulledMutation, payload: &Payload, now: &str) -> Result<(), String> {
    let done = match (row.entity.as_str(), row.op.as_str()) {
        ("session", "upsert") => session(db, payload, now),
        ("session", "delete") => session_delete(db, &row.entity_key),
        ("observation", "upsert") => observation(db, payload, now),
        ("observation", "delete") => observation_delete(db, &row.entity_key, payload, now),
        ("prompt", "upsert") => prompt(db, payload, now),
        ("prompt", "delete") => prompt_delete(db, &row.entity_key, payload, now),
        ("relation", "upsert") => relation(db, payload, now).and_then(|is_done| {
            let sql = "INSERT INTO sync_apply_deferred (sync_id, entity, payload) VALUES (?1, 'relation', ?2)
                       ON CONFLICT DO NOTHING";
            let waits = || db.execute_cached(sql, params![row.entity_key, Value::Object(payload.clone()).to_string()]);
            if is_done { Ok(()) } else { waits().map(drop) }
        }),
        _ => return Err(format!("unknown: {} {}", row.op, row.entity)),
    };
    done.map_err(|error| error.to_string())
}

fn session(db: &Transaction<'_>, payload: &Payload, now: &str) -> rusqlite::Result<()> {
    // Project and directory are overwritten, whatever they say; an end and a summary that are not said are kept.
    let sql = "INSERT INTO sessions (id, project, directory, started_at, ended_at, summary)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (id) DO UPDATE SET project = ?2, directory = ?3,
               ended_at = coalesce(?5, ended_at), summary = coalesce(?6, summary)";
    let field = |name| text(payload, name);
    let started_at = field("started_at").unwrap_or(now);
    let (project, directory) = (field("project").unwrap_or_default(), field("directory").unwrap_or_default());
    db.execute_cached(sql, params![field("id"), project, directory, started_at, field("ended_at"), field("summary")])?;
    Ok(())
}

fn session_delete(db: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    db.execute_cached("DELETE FROM user_prompts WHERE session_id = ?1", [id])?;
    db.execute_cached("DELETE FROM sessions WHERE id = ?1", [id])?;
    Ok(())
}

fn observation(db: &Transaction<'_>, payload: &Payload, now: &str) -> rusqlite::Result<()> {
    let field = |name| text(payload, name);
    let is_known = db
        .row_cached("SELECT 1 FROM observations WHERE sync_id = ?1", [field("sync_id")], |_| Ok(()))
        .optional()?
        .is_some();
    let sql = if is_known {
        "UPDATE observations SET session_id = ?2, type = ?3, title = ?4, content = ?5, project = ?6, scope = ?7,
         topic_key = ?8, revision_count = ?9, duplicate_count = ?10, last_seen_at = ?11, created_at = ?12,
         updated_at = ?13, deleted_at = NULL WHERE sync_id = ?1"
    } else {
        "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, topic_key,
         revision_count, duplicate_count, last_seen_at, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
    };
    let words = |name| text(payload, name).unwrap_or_default();
    db.execute_cached(
        sql,
        params![
            words("sync_id"),
            words("session_id"),
            words("type"),
            words("title"),
            words("content"),
            field("project"),
            words("scope"),
            field("topic_key"),
            number(payload, "revision_count"),
            number(payload, "duplicate_count"),
            field("last_seen_at"),
            field("created_at").unwrap_or(now),
            field("updated_at").unwrap_or(now)
        ],
    )?;
    Ok(())
}

fn observation_delete(db: &Transaction<'_>, sync_id: &str, payload: &Payload, now: &str) -> rusqlite::Result<()> {
    if payload.get("hard_delete") == Some(&Value::Bool(true)) {
        db.execute_cached("DELETE FROM observations WHERE sync_id = ?1", [sync_id])?;
    } else {
        let at = text(payload, "deleted_at").unwrap_or(now);
        db.execute_cached("UPDATE observations SET deleted_at = ?2 WHERE sync_id = ?1", [sync_id, at])?;
    }
    Ok(())
}

fn prompt(db: &Transaction<'_>, payload: &Payload, now: &str) -> rusqlite::Result<()> {
    let words = |name| text(payload, name).unwrap_or_default();
    let tombstone = "SELECT deleted_at FROM prompt_tombstones WHERE sync_id = ?1";
    let buried: Option<String> = db.row_cached(tombstone, [words("sync_id")], |row| row.get(0)).optional()?;
    if buried.is_some_and(|at| text(payload, "created_at").is_none_or(|created_at| created_at <= at.as_str())) {
        return Ok(());
    }
    db.execute_cached("DELETE FROM prompt_tombstones WHERE sync_id = ?1", [words("sync_id")])?;
    let changed =
        "UPDATE user_prompts SET session_id = ?2, content = ?3, project = ?4, created_at = ?5 WHERE sync_id = ?1";
    let created_at = text(payload, "created_at").unwrap_or(now);
    let all = [words("sync_id"), words("session_id"), words("content"), words("project"), created_at];
    if db.execute_cached(changed, all)? == 0 {
        let sql =
            "INSERT INTO user_prompts (sync_id, session_id, content, project, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
        db.execute_cached(sql, all)?;
    }
    Ok(())
}

fn prompt_delete(db: &Transaction<'_>, sync_id: &str, payload: &Payload, now: &str) -> rusqlite::Result<()> {
    db.execute_cached("DELETE FROM user_prompts WHERE sync_id = ?1", [sync_id])?;
    let sql = "INSERT INTO prompt_tombstones (sync_id, session_id, project, deleted_at) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (sync_id) DO UPDATE SET deleted_at = ?4";
    let field = |name| text(payload, name);
    db.execute_cached(
        sql,
        params![sync_id, field("session_id"), field("project"), field("deleted_at").unwrap_or(now)],
    )?;
    Ok(())
}

/// Stores a relation; `false` where one of its ends is missing.
pub(super) fn relation(db: &Transaction<'_>, payload: &Payload, now: &str) -> rusqlite::Result<bool> {
    let words = |name| text(payload, name).unwrap_or_default();
    for end in ["source_id", "target_id"] {
        let sql = "SELECT 1 FROM observations WHERE sync_id = ?1";
        if db.row_cached(sql, [words(end)], |_| Ok(())).optional()?.is_none() {
            return Ok(false);
        }
    }
    let sql = "INSERT OR REPLACE INTO memory_relations (sync_id, source_id, target_id, relation, judgment_status,
               marked_by_actor, marked_by_kind, created_at, updated_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let at = |name| text(payload, name).unwrap_or(now);
    db.execute_cached(
        sql,
        params![
            words("sync_id"),
            words("source_id"),
            words("target_id"),
            words("relation"),
            words("judgment_status"),
            words("marked_by_actor"),
            words("marked_by_kind"),
            at("created_at"),
            at("updated_at")
        ],
    )?;
    Ok(true)
}
