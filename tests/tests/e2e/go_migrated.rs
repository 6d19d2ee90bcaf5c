//! A Go program of another age opens, changes and writes to the file between two runs of the daemon (local-store.md): it
//! adds columns and tables, makes a search index and shared tables anew. Nothing is lost, what it made stays as it made it,
//! and both go on.

use engram_proto::time::RowTime;
use engram_tests::go::GoClient;
use engram_tests::processes::{Cloud, Device, until};
use rusqlite::Connection;

/// What a later Go program does to a file: the ways in which earlier ones brought files forward, on more tables.
const LATER: &str = "
    ALTER TABLE observations ADD COLUMN importance TEXT NOT NULL DEFAULT 'normal';
    ALTER TABLE user_prompts ADD COLUMN agent TEXT;
    ALTER TABLE sync_state ADD COLUMN worker TEXT;
    CREATE TABLE memory_tags (observation_id INTEGER NOT NULL REFERENCES observations(id), tag TEXT NOT NULL);
    CREATE INDEX idx_obs_importance ON observations(importance);
    INSERT INTO memory_tags SELECT id, 'old' FROM observations;
    UPDATE observations SET importance = 'high';

    DROP TRIGGER obs_fts_insert;
    DROP TRIGGER obs_fts_update;
    DROP TRIGGER obs_fts_delete;
    DROP TABLE observations_fts;
    CREATE VIRTUAL TABLE observations_fts USING fts5(
        title, content, tool_name, type, project, topic_key, importance, content='observations', content_rowid='id');
    INSERT INTO observations_fts (observations_fts) VALUES ('rebuild');
    CREATE TRIGGER obs_fts_insert AFTER INSERT ON observations BEGIN
        INSERT INTO observations_fts (rowid, title, content, tool_name, type, project, topic_key, importance)
        VALUES (new.id, new.title, new.content, new.tool_name, new.type, new.project, new.topic_key, new.importance);
    END;
    CREATE TRIGGER obs_fts_delete AFTER DELETE ON observations BEGIN
        INSERT INTO observations_fts
            (observations_fts, rowid, title, content, tool_name, type, project, topic_key, importance)
        VALUES ('delete', old.id, old.title, old.content, old.tool_name, old.type, old.project, old.topic_key,
            old.importance);
    END;
    CREATE TRIGGER obs_fts_update AFTER UPDATE ON observations BEGIN
        INSERT INTO observations_fts
            (observations_fts, rowid, title, content, tool_name, type, project, topic_key, importance)
        VALUES ('delete', old.id, old.title, old.content, old.tool_name, old.type, old.project, old.topic_key,
            old.importance);
        INSERT INTO observations_fts (rowid, title, content, tool_name, type, project, topic_key, importance)
        VALUES (new.id, new.title, new.content, new.tool_name, new.type, new.project, new.topic_key, new.importance);
    END;

    ALTER TABLE sync_mutations RENAME TO sync_mutations_before;
    CREATE TABLE sync_mutations (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, target_key TEXT NOT NULL REFERENCES sync_state(target_key),
        entity TEXT NOT NULL, entity_key TEXT NOT NULL, op TEXT NOT NULL, payload TEXT NOT NULL,
        source TEXT NOT NULL DEFAULT 'local', occurred_at TEXT NOT NULL DEFAULT (datetime('now')), acked_at TEXT,
        project TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0);
    INSERT INTO sync_mutations (seq, target_key, entity, entity_key, op, payload, source, occurred_at, acked_at, project)
        SELECT seq, target_key, entity, entity_key, op, payload, source, occurred_at, acked_at, project
        FROM sync_mutations_before;
    DROP TABLE sync_mutations_before;
    CREATE INDEX idx_sync_mutations_target_seq ON sync_mutations(target_key, seq);
    CREATE INDEX idx_sync_mutations_pending ON sync_mutations(target_key, acked_at, seq);
    CREATE INDEX idx_sync_mutations_project ON sync_mutations(project);
    CREATE INDEX idx_sync_mutations_lookup ON sync_mutations(target_key, entity, entity_key, source);
";

/// What an earlier Go program, which knew no sync ids and no sync, writes by its own statements.
const EARLIER: &str = "
    INSERT INTO observations (session_id, type, title, content, project)
        VALUES ('s-go', 'decision', 'by an earlier one', 'shared and old', 'demo');
    INSERT INTO user_prompts (session_id, content, project) VALUES ('s-go', 'why so old?', 'demo');
";

/// What a Go program that knows sync ids does for rows without one whenever it opens a file.
const FILLED: &str = "
    UPDATE observations SET sync_id = 'obs-' || lower(hex(randomblob(16))) WHERE coalesce(sync_id, '') = '';
    UPDATE user_prompts SET sync_id = 'prompt-' || lower(hex(randomblob(16))) WHERE coalesce(sync_id, '') = '';
";

fn store(device: &Device) -> Connection {
    let store = Connection::open(device.dir.join("engram.db")).expect("the store");
    store.busy_timeout(engram_tests::processes::DEADLINE).expect("a timeout");
    store.pragma_update(None, "foreign_keys", true).expect("a setting");
    store
}

fn now(store: &Connection) -> RowTime {
    let text: String = store.query_row("SELECT datetime('now')", [], |row| row.get(0)).expect("a time");
    RowTime::parse(&text).expect("a time")
}

fn texts(store: &Connection, sql: &str) -> Vec<String> {
    let mut statement = store.prepare(sql).expect("a statement");
    statement.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a text")).collect()
}

/// Everything in the file that is the Go program's, as it made it.
fn its_own(store: &Connection) -> Vec<String> {
    texts(
        store,
        "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master WHERE name NOT LIKE 'engramd^_%' ESCAPE '^'
         ORDER BY type, name",
    )
}

/// Both indexes say what their tables say, and the file is sound.
fn check_sound(store: &Connection) {
    for index in ["observations_fts", "prompts_fts"] {
        let sql = format!("INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)");
        store.execute(&sql, []).unwrap_or_else(|error| panic!("{index}: {error}"));
    }
    assert_eq!(texts(store, "PRAGMA integrity_check"), ["ok"]);
    assert_eq!(texts(store, "SELECT \"table\" FROM pragma_foreign_key_check"), [""; 0]);
}

fn titles(device: &Device) -> Vec<String> {
    let mut titles = device.titles("shared");
    titles.sort();
    titles
}

fn synced(device: &Device) {
    let sync = device.ctl(&["sync", "--json"]);
    assert_eq!(sync.code, 0, "{sync:?}");
}

fn ran(device: &Device, args: &[&str]) {
    let answer = device.ctl(args);
    assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
}

/// A device whose daemon ran and was stopped with a change that waits, and another one that has the rest.
struct Fleet {
    _temp: tempfile::TempDir,
    _cloud: Cloud,
    a: Device,
    b: Device,
    edited: String,
    deleted: String,
}

impl Fleet {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let cloud = Cloud::start(&temp.path().join("cloud"));
        let mut a = Device::enrolled(&temp.path().join("a"), &cloud, "demo");
        let b = Device::enrolled(&temp.path().join("b"), &cloud, "demo");
        let edited = a.save("demo", "of a", "shared one");
        let deleted = b.save("demo", "of b", "shared two");
        until("both have both", || titles(&a).len() == 2 && titles(&b).len() == 2);
        ran(&a, &["pause"]);
        let _ = a.save("demo", "waits", "shared three");
        assert_eq!(a.daemon.terminate(), Some(0));
        Self { _temp: temp, _cloud: cloud, a, b, edited, deleted }
    }

    /// The daemon goes on, and both end with the same.
    fn goes_on(&mut self, expected: &[&str]) {
        self.a.boot();
        ran(&self.a, &["resume"]);
        until("both show the same", || titles(&self.a) == expected && titles(&self.b) == expected);
        for device in [&self.a, &self.b] {
            synced(device);
            let report = device.report();
            assert_eq!(report["findings"].as_array().map(Vec::len), Some(0), "{report}");
            assert_eq!(report["totals"]["pending"], 0, "{report}");
        }
    }
}

#[test]
fn a_file_that_a_later_go_program_changed_is_gone_on_with_as_it_is() {
    let mut fleet = Fleet::new();
    let db = store(&fleet.a);
    db.execute_batch(&format!("PRAGMA foreign_keys = OFF; BEGIN; {LATER} COMMIT; PRAGMA foreign_keys = ON"))
        .expect("changed");
    let at = now(&db);
    let mut go = GoClient::beside(db, "later", at);
    go.start_session("s-go", "demo", "/go");
    let _saved = go.save("demo", "s-go", "by a later one", "shared four", None);
    go.edit(&fleet.edited, "of a, edited by it", "shared one");
    let made = its_own(&go.db);
    check_sound(&go.db);
    drop(go);
    fleet.goes_on(&["by a later one", "of a, edited by it", "of b", "waits"]);
    // Everything that the daemon does to rows: here, and for what comes in.
    ran(&fleet.a, &["update", &fleet.edited, "--title", "of a, edited here"]);
    ran(&fleet.b, &["delete", &fleet.deleted]);
    let _ = fleet.a.save("demo", "new here", "shared five");
    let _ = fleet.b.save("demo", "new there", "shared six");
    let expected = ["by a later one", "new here", "new there", "of a, edited here", "waits"];
    until("both show the same", || titles(&fleet.a) == expected && titles(&fleet.b) == expected);
    synced(&fleet.a);
    let db = store(&fleet.a);
    assert_eq!(its_own(&db), made, "as it made it");
    check_sound(&db);
    let importance =
        "SELECT importance FROM observations WHERE title IN ('of a, edited here', 'waits', 'new here') ORDER BY title";
    assert_eq!(texts(&db, importance), ["normal", "high", "high"]);
    assert_eq!(texts(&db, "SELECT tag FROM memory_tags").len(), 3);
    let found = "SELECT title FROM observations WHERE id IN
        (SELECT rowid FROM observations_fts WHERE observations_fts MATCH 'importance: high') ORDER BY title";
    assert_eq!(texts(&db, found), ["of a, edited here", "of b", "waits"]);
    // What it does at its next start finds nothing that it would queue.
    let go = GoClient::beside(db, "later", at);
    let rows = go.journal_rows();
    go.open_again();
    assert_eq!(go.journal_rows(), rows);
}

#[test]
fn what_an_earlier_go_program_wrote_without_sync_ids_goes_on_its_way_once_they_are_filled() {
    let mut fleet = Fleet::new();
    let db = store(&fleet.a);
    let at = now(&db);
    let go = GoClient::beside(db, "earlier", at);
    go.start_session("s-go", "demo", "/go");
    go.db.execute_batch(EARLIER).expect("written");
    let made = its_own(&go.db);
    drop(go);
    fleet.a.boot();
    ran(&fleet.a, &["resume"]);
    // It is here, and disturbs nobody.
    until("it is shown here", || titles(&fleet.a) == ["by an earlier one", "of a", "of b", "waits"]);
    until("the rest goes on", || titles(&fleet.b) == ["of a", "of b", "waits"]);
    synced(&fleet.a);
    let db = store(&fleet.a);
    db.execute_batch(FILLED).expect("filled");
    let go = GoClient::beside(db, "this", at);
    until("it is on its way", || titles(&fleet.b) == ["by an earlier one", "of a", "of b", "waits"]);
    synced(&fleet.a);
    assert_eq!(its_own(&go.db), made, "as it was");
    check_sound(&go.db);
}
