//! What every store must hold after anything: sound files, an index that agrees, books that add up.

use engram_proto::id::ProjectName;
pub(crate) use engram_tests::sound::{faults, server_faults};
use engramd::store::Store;
use rusqlite::types::ValueRef;
use std::path::Path;
use tempfile::TempDir;

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
