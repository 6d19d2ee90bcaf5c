//! What every store must hold after anything: sound files, an index that agrees, books that add up.

use engram_proto::id::ProjectName;
use engramd::store::Store;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::path::Path;
use tempfile::TempDir;

const INTEGRITY: &str = "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'";
const FOREIGN_KEYS: &str = "SELECT \"table\" FROM pragma_foreign_key_check";

fn lines(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).expect("a statement");
    let rows = statement.query_map([], |row| row.get::<_, rusqlite::types::Value>(0)).expect("rows");
    rows.map(|row| format!("{sql}: {row:?}")).collect()
}

/// Lists every fault that SQLite finds in a store's file.
pub(crate) fn faults(conn: &Connection) -> Vec<String> {
    let mut faults = lines(conn, INTEGRITY);
    faults.extend(lines(conn, FOREIGN_KEYS));
    for table in ["observations_fts", "prompts_fts"] {
        let check = format!("INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)");
        faults.extend(conn.execute(&check, []).err().map(|error| format!("{table}: {error}")));
    }
    faults
}

/// Copies a store's file with its logs, as a killed process left them.
pub(crate) fn copied(dir: &Path, name: &str) -> TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for file in ["", "-wal", "-journal"].map(|end| format!("{name}{end}")) {
        if dir.join(&file).exists() {
            std::fs::copy(dir.join(&file), copy.path().join(&file)).expect("copied");
        }
    }
    copy
}

/// Lists what is wrong with the server's embedded store: its file, and whatever names a row that is not there.
pub(crate) fn server_faults(conn: &Connection) -> Vec<String> {
    let mut faults = lines(conn, INTEGRITY);
    faults.extend(lines(conn, FOREIGN_KEYS));
    for sql in [
        "SELECT 'head of ' || entity_key FROM cloud_heads AS h WHERE NOT EXISTS (SELECT 1 FROM cloud_mutations AS m
             WHERE m.seq = h.seq AND m.project = h.project AND m.entity = h.entity AND m.entity_key = h.entity_key)",
        "SELECT 'no head of ' || entity_key FROM cloud_mutations AS m WHERE NOT EXISTS (SELECT 1 FROM cloud_heads AS h
             WHERE h.project = m.project AND h.entity = m.entity AND h.entity_key = m.entity_key)",
        "SELECT 'row of ' || mutation_id FROM cloud_mutation_ids AS i WHERE NOT EXISTS (SELECT 1 FROM cloud_mutations
             AS m WHERE m.seq = i.seq AND m.project = i.project)",
        "SELECT 'winner over ' || entity_key FROM cloud_superseded AS s WHERE NOT EXISTS (SELECT 1 FROM cloud_mutations
             AS m WHERE m.seq = s.lost_to_seq)",
    ] {
        faults.extend(lines(conn, sql));
    }
    faults
}

/// Fails where a store is not sound, or a row of a project is in two of the sets or in none (ACK-2).
pub(crate) fn check(store: &mut Store, project: &ProjectName, context: &str) {
    let found = store.read(|conn| Ok(faults(conn))).expect("a read");
    assert!(found.is_empty(), "{context}: {found:?}");
    let books = store.ack2(project).expect("books");
    assert_eq!(books.written, books.pending + books.acked + books.held + books.void, "{context}: {books:?}");
    let counted = store.counts().expect("counts").remove(project).unwrap_or_default();
    assert_eq!((counted.pending, counted.quarantined), (books.pending, books.held), "{context}: {books:?}");
}

/// Writes down every row of every table, without what a device draws at random.
pub(crate) fn dump(store: &Store) -> String {
    let device = store.device_id().to_owned();
    let all = store.read(|conn| {
        let mut names = conn.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '%\\_fts%' ESCAPE '\\'
                 AND name NOT LIKE 'sqlite%' ORDER BY name",
        )?;
        let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut all = String::new();
        for name in names {
            let mut rows = conn.prepare(&format!("SELECT * FROM {name}"))?;
            let columns = rows.column_count();
            let texts = rows.query_map([], |row| {
                (0..columns).map(|at| Ok(text(row.get_ref(at)?))).collect::<Result<Vec<_>, _>>()
            })?;
            let mut texts = texts.map(|text| Ok(text?.join(" "))).collect::<Result<Vec<_>, rusqlite::Error>>()?;
            texts.sort();
            all.extend(texts.iter().map(|text| format!("{name}: {text}\n")));
        }
        Ok(all)
    });
    all.expect("a read").replace(&device, "DEVICE").replace(&device[..8], "DEV")
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

/// Says in which lines two dumps differ.
pub(crate) fn difference(a: &str, b: &str) -> String {
    if a == b {
        return String::new();
    }
    let only = |here: &str, there: &str, mark: &str| -> String {
        let gone = here.lines().filter(|line| !there.lines().any(|other| other == *line));
        gone.map(|line| format!("{mark} {line}\n")).collect()
    };
    only(a, b, "<") + &only(b, a, ">")
}

/// Removes what a crashed process left of a store, so that another course can begin in the directory.
pub(crate) fn clear(dir: &Path) {
    std::fs::remove_dir_all(dir).expect("removed");
    std::fs::create_dir(dir).expect("made");
}
