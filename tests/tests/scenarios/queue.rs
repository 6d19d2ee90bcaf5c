//! Rows as Go processes leave them in a device's journal, and what servers and devices hold of them.

use engram_tests::processes::{Device, until};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// One row of the journal; the payload is text, for not every one is an object.
pub(crate) struct Row {
    pub(crate) project: String,
    pub(crate) entity: &'static str,
    pub(crate) op: &'static str,
    pub(crate) key: String,
    pub(crate) payload: String,
}

impl Row {
    pub(crate) fn new(project: &str, entity: &'static str, key: &str, payload: &Value) -> Self {
        let (project, key, payload) = (project.to_owned(), key.to_owned(), payload.to_string());
        Self { project, entity, op: "upsert", key, payload }
    }

    pub(crate) fn session(project: &str, id: &str) -> Self {
        Self::new(project, "session", id, &session(project, id))
    }

    pub(crate) fn memory(project: &str, id: &str, session: &str) -> Self {
        Self::new(project, "observation", id, &memory(project, id, session))
    }

    /// The same row with one field of its payload changed; null takes the field away.
    pub(crate) fn with(mut self, field: &str, value: Value) -> Self {
        let mut payload: Value = serde_json::from_str(&self.payload).expect("an object");
        let object = payload.as_object_mut().expect("an object");
        if value.is_null() {
            object.remove(field)
        } else {
            object.insert(field.to_owned(), value)
        };
        self.payload = payload.to_string();
        self
    }
}

pub(crate) fn session(project: &str, id: &str) -> Value {
    json!({"id": id, "project": project, "directory": "/d", "started_at": "2026-11-22 10:00:00"})
}

pub(crate) fn memory(project: &str, id: &str, session: &str) -> Value {
    json!({"sync_id": id, "session_id": session, "type": "note", "title": format!("title of {id}"),
        "content": format!("a text of {id}"), "project": project, "scope": "project", "revision_count": 1,
        "duplicate_count": 1, "created_at": "2026-11-22 10:00:01", "updated_at": "2026-11-22 10:00:01"})
}

/// Opens a device's store as another process would.
pub(crate) fn store(device: &Device) -> Connection {
    open(&device.dir.join("engram.db"))
}

fn open(path: &Path) -> Connection {
    let conn = Connection::open(path).expect("a store");
    conn.busy_timeout(Duration::from_secs(10)).expect("a timeout");
    conn
}

/// Writes rows into a device's journal, in one transaction.
pub(crate) fn add(device: &Device, rows: &[Row]) {
    let mut conn = store(device);
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).expect("the lock");
    for row in rows {
        tx.prepare_cached(
            "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project)
             VALUES ('cloud', ?1, ?2, ?3, ?4, 'local', '2026-11-23 10:00:00', ?5)",
        )
        .expect("a statement")
        .execute(params![row.entity, row.key, row.op, row.payload, row.project])
        .expect("a row");
    }
    tx.commit().expect("committed");
}

/// Does the same while the daemon is away, which therefore does not make room for whoever wrote them.
pub(crate) fn add_while_away(device: &mut Device, rows: &[Row]) {
    // It takes them up before it answers: a millisecond for each, without optimisation.
    for part in rows.chunks(5_000) {
        device.daemon.terminate();
        add(device, part);
        device.boot();
    }
}

/// How many rows wait, as the report says it: who asks the store itself is in the daemon's way.
pub(crate) fn pending(device: &Device) -> usize {
    let pending = device.report()["totals"]["pending"].as_u64();
    usize::try_from(pending.expect("a number")).expect("a count")
}

/// Asks a device's store for one number.
pub(crate) fn number(device: &Device, sql: &str) -> i64 {
    store(device).query_row(sql, [], |row| row.get(0)).expect("a number")
}

/// Asks a device's store for rows of one text.
pub(crate) fn texts(device: &Device, sql: &str) -> Vec<String> {
    texts_of(&store(device), sql)
}

/// Asks the embedded server's store for rows of one text.
pub(crate) fn cloud(dir: &Path, sql: &str) -> Vec<String> {
    texts_of(&open(&dir.join("engram-cloud.db")), sql)
}

/// Asks the embedded server's store for one number.
pub(crate) fn cloud_number(dir: &Path, sql: &str) -> usize {
    let number: i64 = open(&dir.join("engram-cloud.db")).query_row(sql, [], |row| row.get(0)).expect("a number");
    usize::try_from(number).expect("a count")
}

fn texts_of(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).expect("a statement");
    statement.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a row")).collect()
}

/// Waits until a count is there, as long as it goes on: how long that takes is a matter of the machine.
pub(crate) fn reached(what: &str, goal: usize, count: impl Fn() -> usize) {
    let mut last = count();
    while last < goal {
        until(what, || count() > last);
        last = count();
    }
    assert_eq!(last, goal, "{what}");
}

/// Lists what a device holds: key and evidence.
pub(crate) fn held(device: &Device) -> Vec<(String, String)> {
    let list = device.json(&["held", "list"]);
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let rows = list["held"].as_array().expect("a list").iter();
    rows.map(|one| (text(one, "entity_key"), text(one, "evidence"))).collect()
}
