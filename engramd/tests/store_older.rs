//! Stores that the Go program wrote, of three ages: each opens, keeps every row, and delivers its history once.
#![expect(clippy::unwrap_used, reason = "tests")]

mod go_support;
mod store_support;

use engramd::store::{Store, StoreError};
use go_support::Go;
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use store_support::{at, project};

const FIXTURES: [(&str, bool); 5] = [
    ("v2026-02", true),
    ("v2026-04", true),
    ("v2026-07-pending", false),
    ("v2026-07-synced", false),
    ("v2026-07-second-device", false),
];

/// Taken once from a store that the Go program wrote.
const SHARED: &str = include_str!("../../tests/fixtures/shared-schema.txt");

const TABLES: [&str; 7] = [
    "sessions",
    "observations",
    "user_prompts",
    "prompt_tombstones",
    "memory_relations",
    "sync_mutations",
    "sync_enrolled_projects",
];

fn fixture(dir: &Path, name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/store").join(format!("{name}.db"));
    let to = dir.join("engram.db");
    std::fs::write(&to, std::fs::read(from).unwrap()).unwrap();
    to
}

fn texts(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// How many rows each table has; none where it is not there yet.
fn counts(conn: &Connection) -> Vec<i64> {
    let count = |table| conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap_or(0);
    TABLES.into_iter().map(count).collect()
}

/// What people wrote, row by row.
fn memories(conn: &Connection) -> Vec<String> {
    texts(
        conn,
        "SELECT id || '|' || session_id || '|' || type || '|' || title || '|' || content || '|' || scope || '|'
             || revision_count || '|' || duplicate_count || '|' || created_at || '|' || updated_at || '|'
             || coalesce(deleted_at, '') FROM observations ORDER BY id",
    )
}

fn check_sound(conn: &Connection) {
    assert_eq!(texts(conn, "PRAGMA integrity_check"), ["ok"]);
    assert_eq!(conn.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get::<_, i64>(0)), Ok(0));
    for index in ["observations_fts", "prompts_fts"] {
        conn.execute(&format!("INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)"), []).unwrap();
    }
}

fn enroll_all(store: &mut Store) {
    for name in store.projects().unwrap() {
        store.enroll(&name, at(10_000)).unwrap();
        while store.backfill_slice(&name, at(10_000), 7).unwrap() {}
    }
}

/// Names every entity that a cloud has to hear of, as the tables show it.
fn history(conn: &Connection) -> BTreeSet<String> {
    let sql = "SELECT 'session ' || id FROM sessions
         UNION ALL SELECT 'observation ' || sync_id FROM observations
         UNION ALL SELECT 'prompt ' || sync_id FROM user_prompts
         UNION ALL SELECT 'prompt ' || sync_id FROM prompt_tombstones
         UNION ALL SELECT 'relation ' || r.sync_id FROM memory_relations AS r
             JOIN observations AS o ON o.sync_id = r.source_id WHERE r.judgment_status = 'judged'";
    texts(conn, sql).into_iter().collect()
}

#[test]
fn stores_of_every_age_open_and_lose_no_row() {
    for (name, older) in FIXTURES {
        let dir = tempfile::tempdir().unwrap();
        let path = fixture(dir.path(), name);
        let before = Connection::open(&path).unwrap();
        let (counted, written) = (counts(&before), memories(&before));
        drop(before);
        let store = Store::open(&path, at(0)).unwrap();
        assert_eq!(store.backup().is_some(), older, "{name}");
        store
            .read(|conn| {
                assert_eq!((counts(conn), memories(conn)), (counted.clone(), written.clone()), "{name}");
                check_sound(conn);
                Ok(())
            })
            .unwrap();
        if let Some(backup) = store.backup() {
            assert_eq!(backup.parent().unwrap(), dir.path().join("backups"));
            assert_eq!(std::fs::metadata(backup).unwrap().permissions().mode() & 0o777, 0o600);
            let copy = Connection::open(backup).unwrap();
            assert_eq!((counts(&copy), memories(&copy)), (counted, written), "{name}");
            assert!(copy.prepare("SELECT 1 FROM engramd_meta").is_err(), "the copy is from before");
        }
        drop(store);
        let again = Store::open(&path, at(1)).unwrap();
        assert_eq!((again.backup(), again.commits()), (None, 0), "{name}: once");
    }
}

#[test]
fn an_older_store_gets_what_the_newest_age_has_and_nothing_else() {
    for (name, _) in FIXTURES {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&fixture(dir.path(), name), at(0)).unwrap();
        let facts = "SELECT 'table ' || m.name || ' column ' || c.name || ' ' || c.type || ' notnull=' || c.\"notnull\"
                 || ' default=' || coalesce(c.dflt_value, 'None') || ' pk=' || c.pk
             FROM sqlite_master AS m, pragma_table_xinfo(m.name) AS c
             WHERE m.type = 'table' AND c.hidden = 0 AND m.name NOT LIKE 'engramd_%' AND m.name NOT LIKE 'sqlite_%'
                 AND m.name NOT GLOB 'observations_fts_*' AND m.name NOT GLOB 'prompts_fts_*'
             UNION ALL SELECT type || ' ' || name || ' on ' || tbl_name FROM sqlite_master
             WHERE type IN ('trigger', 'index') AND sql IS NOT NULL AND name NOT LIKE 'engramd_%'";
        let ours: BTreeSet<String> = store.read(|conn| Ok(texts(conn, facts).into_iter().collect())).unwrap();
        let theirs = SHARED.lines().filter(|line| !line.contains(" foreign key "));
        let theirs: BTreeSet<String> = theirs.map(|line| line.split(" (").next().unwrap().to_owned()).collect();
        let strange: Vec<_> = ours.symmetric_difference(&theirs).collect();
        assert!(strange.is_empty(), "{name}: {strange:?}");
    }
}

#[test]
fn rows_of_an_older_age_get_sync_ids_and_their_project_its_normal_form() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&fixture(dir.path(), "v2026-02"), at(0)).unwrap();
    assert_eq!(store.projects().unwrap(), [project("legacy-app"), project("other")]);
    store
        .read(|conn| {
            let ids = "SELECT sync_id FROM observations UNION ALL SELECT sync_id FROM user_prompts";
            let ids: BTreeSet<String> = texts(conn, ids).into_iter().collect();
            assert_eq!(ids.len(), 22);
            for id in ids {
                let (prefix, hex) = id.split_once('-').unwrap();
                assert!(matches!(prefix, "obs" | "prompt") && hex.len() == 32, "{id}");
            }
            let found = "SELECT count(*) FROM observations_fts WHERE observations_fts MATCH 'topic_key: topic'";
            assert_eq!(conn.query_row(found, [], |row| row.get::<_, i64>(0))?, 1);
            Ok(())
        })
        .unwrap();
}

#[test]
fn enrolling_a_store_of_any_age_queues_its_whole_history_once() {
    for (name, _) in FIXTURES {
        let dir = tempfile::tempdir().unwrap();
        let path = fixture(dir.path(), name);
        let mut store = Store::open(&path, at(0)).unwrap();
        let journal = "SELECT entity || ' ' || entity_key FROM sync_mutations ORDER BY seq";
        let before = store.read(|conn| Ok(texts(conn, journal))).unwrap();
        enroll_all(&mut store);
        let (history, after) = store.read(|conn| Ok((history(conn), texts(conn, journal)))).unwrap();
        let told: BTreeSet<_> = before.iter().cloned().collect();
        let missing = history.difference(&told).count();
        assert_eq!(after.len() - before.len(), missing, "{name}: what no row told of, once each");
        assert!(history.is_subset(&after.iter().cloned().collect()), "{name}");
        drop(store);
        let mut store = Store::open(&path, at(20)).unwrap();
        enroll_all(&mut store);
        assert_eq!(store.read(|conn| Ok(texts(conn, journal))).unwrap(), after, "{name}: nothing twice");
        drop(store);
        assert_eq!(Go::open(&path).store_open("2026-11-23 00:00:00"), [""; 0], "{name}: the Go program adds nothing");
    }
}

#[test]
fn what_fails_in_the_middle_leaves_an_older_store_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = fixture(dir.path(), "v2026-02");
    let conn = Connection::open(&path).unwrap();
    // A name that takes the place of an index fails after columns were added.
    conn.execute_batch("CREATE TABLE engramd_mutations_pending (x)").unwrap();
    let schema = "SELECT coalesce(sql, name) FROM sqlite_master ORDER BY name";
    let before = (texts(&conn, schema), memories(&conn));
    drop(conn);
    Store::open(&path, at(0)).unwrap_err();
    let conn = Connection::open(&path).unwrap();
    assert_eq!((texts(&conn, schema), memories(&conn)), before);
    conn.execute_batch("DROP TABLE engramd_mutations_pending").unwrap();
    drop(conn);
    assert!(Store::open(&path, at(0)).unwrap().backup().is_some());
    assert_eq!(std::fs::read_dir(dir.path().join("backups")).unwrap().count(), 2, "no copy takes another's place");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a deadline for a hang")]
fn dur_1_a_kill_in_the_middle_leaves_an_older_store_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = fixture(dir.path(), "v2026-02");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
         INSERT INTO observations (session_id, type, title, content, project)
         SELECT 'old-1', 'decision', 'note ' || i, 'about ' || i, 'Legacy-App' FROM n",
    )
    .unwrap();
    let before = (counts(&conn), memories(&conn));
    drop(conn);
    let mut daemon = std::process::Command::new(env!("CARGO_BIN_EXE_engramd"))
        .args(["--data-dir".as_ref(), dir.path().as_os_str()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The copy has its final name, and the log is long: the transaction is in its middle, and one before it had ended.
    let copied = || {
        let entries = std::fs::read_dir(dir.path().join("backups")).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.path().extension().is_some_and(|extension| extension == "db"))
    };
    let wrote = || std::fs::metadata(path.with_extension("db-wal")).is_ok_and(|log| log.len() > 1 << 20);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !(copied() && wrote()) {
        assert!(std::time::Instant::now() < end, "no copy was made, or little written");
        std::thread::yield_now();
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let conn = Connection::open(&path).unwrap();
    let there = |sql| conn.prepare(sql).is_ok();
    // On a machine that is busy the kill may come late: then all of it is there.
    let (first, last) = ("SELECT sync_id FROM observations", "SELECT takes_time FROM engramd_journal");
    assert_eq!(there(first), there(last), "all of it or nothing");
    assert_eq!((counts(&conn), memories(&conn)), before);
    drop(conn);
    let store = Store::open(&path, at(0)).unwrap();
    store
        .read(|conn| {
            assert_eq!((counts(conn), memories(conn)), before);
            check_sound(conn);
            Ok(())
        })
        .unwrap();
}

#[test]
fn half_a_copy_that_a_crash_left_gives_its_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = fixture(dir.path(), "v2026-02");
    let folder = dir.path().join("backups");
    std::fs::create_dir(&folder).unwrap();
    for (name, text) in [("engram-20260101000000.part", "half of it"), ("engram-20260101000000.db", "another copy")] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let store = Store::open(&path, at(0)).unwrap();
    let left: BTreeSet<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let made = store.backup().unwrap().to_owned();
    assert_eq!(left, BTreeSet::from([folder.join("engram-20260101000000.db"), made]));
}

#[test]
fn without_room_for_a_copy_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = fixture(dir.path(), "v2026-02");
    std::fs::write(dir.path().join("backups"), "in the way").unwrap();
    let error = Store::open(&path, at(0)).unwrap_err();
    assert!(matches!(error, StoreError::Backup(_)), "{error}");
    let conn = Connection::open(&path).unwrap();
    assert!(conn.prepare("SELECT sync_id FROM observations").is_err());
}

#[test]
fn files_that_are_no_store_of_ours_are_refused_and_left_as_they_are() {
    let make = |path: &Path, sql: &str| Connection::open(path).unwrap().execute_batch(sql).unwrap();
    let foreign = "CREATE TABLE sessions (token TEXT); CREATE TABLE users (id); INSERT INTO users VALUES (1)";
    let newer = "CREATE TABLE engramd_meta (key TEXT PRIMARY KEY, value TEXT); CREATE TABLE later (x);
        INSERT INTO engramd_meta VALUES ('schema', '2.0')";
    for (what, words) in [(foreign, "another program"), (newer, "upgrade engramd"), ("", "damaged")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engram.db");
        if what.is_empty() {
            std::fs::write(&path, "these are letters to my grandmother, not a database").unwrap();
        } else {
            make(&path, what);
        }
        let before = std::fs::read(&path).unwrap();
        let error = Store::open(&path, at(0)).unwrap_err().to_string();
        assert!(error.contains(words) && error.lines().count() == 1, "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{words}: untouched");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{words}: nothing beside it");
    }
}
