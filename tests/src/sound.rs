//! What SQLite finds wrong with a file, and a store's own tables with each other.

use rusqlite::Connection;

const INTEGRITY: &str = "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'";
const FOREIGN_KEYS: &str = "SELECT \"table\" FROM pragma_foreign_key_check";

fn lines(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).expect("a statement");
    let rows = statement.query_map([], |row| row.get::<_, rusqlite::types::Value>(0)).expect("rows");
    rows.map(|row| format!("{sql}: {row:?}")).collect()
}

/// Lists every fault that SQLite finds in a store's file.
///
/// # Panics
/// Where it cannot be asked.
#[must_use]
pub fn faults(conn: &Connection) -> Vec<String> {
    let mut faults = lines(conn, INTEGRITY);
    faults.extend(lines(conn, FOREIGN_KEYS));
    for table in ["observations_fts", "prompts_fts"] {
        let check = format!("INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)");
        faults.extend(conn.execute(&check, []).err().map(|error| format!("{table}: {error}")));
    }
    faults
}

/// Lists what is wrong with the server's embedded store: its file, and whatever names a row that is not there.
///
/// # Panics
/// Where it cannot be asked.
#[must_use]
pub fn server_faults(conn: &Connection) -> Vec<String> {
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
