//! The file's format: the shared tables as the Go program makes them, and no loop query that reads a whole table.
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::mutation::{Entity, Op};
use engramd::store::Store;
use rusqlite::Connection;
use std::collections::BTreeMap;
use store_support::{Lab, at, observation, page, row, session, up};

/// Taken once from a store that the Go program wrote.
const SHARED: &str = include_str!("../../tests/fixtures/shared-schema.txt");

fn texts(conn: &Connection, sql: &str, params: impl rusqlite::Params) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map(params, |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Describes everything that is not ours, in the fixture's words.
fn describe(conn: &Connection) -> Vec<String> {
    let mut facts = Vec::new();
    let own = "name NOT LIKE 'engramd_%' AND name NOT LIKE 'sqlite_%'
        AND tbl_name NOT GLOB 'observations_fts_*' AND tbl_name NOT GLOB 'prompts_fts_*'";
    for table in
        texts(conn, &format!("SELECT name FROM sqlite_master WHERE type = 'table' AND {own} ORDER BY name"), [])
    {
        facts.extend(texts(
            conn,
            "SELECT 'table ' || ?1 || ' column ' || name || ' ' || type || ' notnull=' || \"notnull\" || ' default='
                 || coalesce(dflt_value, 'None') || ' pk=' || pk
             FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid",
            [&table],
        ));
        facts.extend(texts(
            conn,
            "SELECT 'table ' || ?1 || ' foreign key ' || \"from\" || ' -> ' || \"table\" || '(' || \"to\"
                 || ') on delete ' || on_delete
             FROM pragma_foreign_key_list(?1) ORDER BY \"from\"",
            [&table],
        ));
    }
    facts.extend(texts(
        conn,
        &format!(
            "SELECT 'index ' || m.name || ' on ' || m.tbl_name || ' ('
                 || (SELECT group_concat(i.name || iif(i.desc, ' desc', ''), ', ')
                     FROM pragma_index_xinfo(m.name) AS i WHERE i.key = 1) || ')'
             FROM sqlite_master AS m WHERE m.type = 'index' AND {} ORDER BY m.name",
            own.replace("name NOT", "m.name NOT").replace("tbl_m.name", "tbl_name")
        ),
        [],
    ));
    facts.extend(texts(
        conn,
        "SELECT 'trigger ' || name || ' on ' || tbl_name FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
        [],
    ));
    facts
}

#[test]
fn the_shared_tables_are_those_of_the_go_program_column_by_column() {
    let store = Store::open_in_memory(at(0)).unwrap();
    let ours = store.read(|conn| Ok(describe(conn))).unwrap();
    let theirs: Vec<&str> = SHARED.lines().collect();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

/// A Go program that makes a shared table anew drops what lies on it.
#[test]
fn our_indexes_on_shared_tables_are_made_again_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let indexes = |conn: &Connection, what: &str| {
        let sql = format!(
            "SELECT {what} FROM sqlite_master WHERE type = 'index' AND name LIKE 'engramd^_%' ESCAPE '^'
                 AND tbl_name NOT LIKE 'engramd^_%' ESCAPE '^' ORDER BY name"
        );
        let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        texts(conn, &sql, []).into_iter().map(words).collect::<Vec<_>>()
    };
    let before = Store::open(&path, at(0)).unwrap().read(|conn| Ok(indexes(conn, "sql"))).unwrap();
    let conn = Connection::open(&path).unwrap();
    for name in indexes(&conn, "name") {
        conn.execute_batch(&format!("DROP INDEX {name}")).unwrap();
    }
    drop(conn);
    let after = Store::open(&path, at(1)).unwrap().read(|conn| Ok(indexes(conn, "sql"))).unwrap();
    assert_eq!(after, before);
    assert!(before.len() >= 10, "{before:?}");
}

#[test]
fn a_store_that_the_go_program_wrote_is_opened_and_added_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    // Everything but what is ours: what the Go program would leave.
    {
        let store = Store::open(&path, at(0)).unwrap();
        store
            .read(|conn| {
                let names = texts(
                    conn,
                    "SELECT type || ' ' || name FROM sqlite_master WHERE name LIKE 'engramd_%'
                    AND sql IS NOT NULL ORDER BY type",
                    [],
                );
                names.iter().try_for_each(|name| Ok(conn.execute_batch(&format!("DROP {name}"))?))
            })
            .unwrap();
    }
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    assert_eq!(lab.apply(vec![up(1, "session", session("s1", "/a", 0))]).changed, 1);
}

#[test]
fn cost_1_opening_a_store_looks_at_nothing_that_grows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
    for from in 0..5_u64 {
        let rows = (0..1_000).map(|n| from * 1_000 + n + 2);
        lab.apply(rows.map(|n| up(n, "observation", observation(&format!("o{n}"), "s1", "t", 1))).collect());
    }
    lab.store.checkpoint().unwrap();
    drop(lab);
    // Whatever is not among the pages of the format itself becomes rubbish: opening has no business there.
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 4_000_000, "{}", bytes.len());
    bytes[1_000_000..].fill(0xFF);
    std::fs::write(&path, &bytes).unwrap();
    let store = Store::open(&path, at(0)).unwrap();
    assert_eq!(store.enrolled().unwrap().len(), 1);
    assert_eq!(store.commits(), 0);
    let scanned = store.read(|conn| Ok(conn.query_row("SELECT max(title) FROM observations", [], |_| Ok(()))?));
    assert!(scanned.is_err(), "a scan would have been noticed");
}

/// Tables that grow with what people write; those of projects and session ids are walked knowingly.
const GROWING: [&str; 12] = [
    "observations",
    "user_prompts",
    "sessions",
    "memory_relations",
    "sync_mutations",
    "prompt_tombstones",
    "engramd_version",
    "engramd_journal",
    "engramd_served",
    "engramd_look",
    "engramd_held",
    "engramd_cloud_chunk",
];

/// Statements that look at a whole table on purpose: one count at the start, the digests that a file of an older version
/// gets once, dumps and books for tests, the index of
/// one page, the question whether anything is held at all, the list of held rows that a command shows or tries again,
/// and steps of a walk that is bounded by its own limit.
const ON_PURPOSE: [&str; 4] = [
    "SELECT project, entity_key, head FROM engramd_version",
    "count(*) FROM sync_mutations INDEXED BY engramd_mutations_pending",
    "SELECT EXISTS (SELECT 1 FROM engramd_held)",
    "FROM engramd_held ORDER BY id",
];

/// What no loop runs: dumps for tests, and the one walk through a store of an older age.
const ONCE: [&str; 2] = ["dump.rs", "schema/older.rs"];

#[test]
fn cost_1_no_statement_of_the_loop_scans_a_table_that_grows() {
    let statements = statements();
    assert!(statements.len() > 60, "{}", statements.len());
    let mut lab = Lab::new();
    lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
    // An export keeps what it found here.
    let kept = "CREATE TEMP TABLE engramd_candidates (entity TEXT, entity_key TEXT, PRIMARY KEY (entity, entity_key))";
    lab.store.read(|conn| Ok(conn.execute_batch(kept)?)).unwrap();
    let mut faults = Vec::new();
    for sql in statements.iter().filter(|sql| !ON_PURPOSE.iter().any(|on_purpose| sql.contains(on_purpose))) {
        let plan = lab.store.read(|conn| Ok(plan(conn, sql))).unwrap();
        for step in plan {
            let scans = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            let aliases = [
                ("m", "sync_mutations"),
                ("o", "observations"),
                ("r", "memory_relations"),
                ("s", "sessions"),
                ("j", "engramd_journal"),
                ("h", "engramd_held"),
            ];
            let table = aliases.iter().find(|(alias, _)| *alias == scans).map_or(scans, |(_, table)| table);
            if GROWING.contains(&table) {
                faults.push(format!("{step}\n    {sql}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap_or_else(|e| panic!("{e}: {sql}"));
    for at in 1..=statement.parameter_count() {
        statement.raw_bind_parameter(at, 1).unwrap();
    }
    let mut rows = statement.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        plan.push(row.get::<_, String>(3).unwrap());
    }
    plan
}

/// Every statement in the sources of the store, taken from the files so that a new one cannot be forgotten.
fn statements() -> Vec<String> {
    fn walk(dir: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") && !ONCE.iter().any(|name| path.ends_with(name)) {
                found.extend(literals(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store")), &mut found);
    found
}

/// The string literals of a source that begin like a statement.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in source.split('"').skip(1).step_by(2) {
        let text = part.trim().replace("{COLUMNS}", "id").replace("{table}", "sync_mutations");
        let text = text.replace("{index}", "observations_fts").replace("{columns}", "").replace("{values}", "");
        if ["SELECT ", "UPDATE ", "DELETE ", "INSERT "].iter().any(|verb| text.starts_with(verb)) {
            found.push(text);
        }
    }
    found
}

/// D66: between what a Go process reads and what it writes nobody may commit, so it must not read for long. It compares
/// projects in a form that no index of its own serves.
#[test]
fn what_the_go_program_looks_up_before_it_writes_is_found_by_an_index() {
    let lab = Lab::new();
    let scope = "ifnull(project, '') = ifnull(?2, '') AND scope = ?3 AND deleted_at IS NULL";
    let same =
        format!("normalized_hash = ?1 AND {scope} AND type = ?4 AND title = ?5 ORDER BY created_at DESC LIMIT 1");
    let topic = format!("topic_key = ?1 AND {scope} ORDER BY datetime(updated_at) DESC LIMIT 1");
    for (what, index) in
        [(same, "idx_obs_dedupe (normalized_hash=?"), (topic, "engramd_observations_topic (topic_key=?")]
    {
        let sql = format!("SELECT id FROM observations WHERE {what}");
        let plan = lab.store.read(|conn| Ok(plan(conn, &sql))).unwrap();
        assert!(plan.iter().any(|step| step.contains(index)), "{sql}: {plan:?}");
    }
}

/// Whatever else is asked of memories is found as it would be if nothing were said of that index.
#[test]
fn what_is_said_of_one_index_changes_no_other_plan() {
    let terms = [
        "session_id = 1",
        "type = 1",
        "project = 1",
        "scope = 1",
        "sync_id = 1",
        "topic_key = 1",
        "deleted_at IS NULL",
    ];
    let orders = ["id", "created_at DESC", "updated_at DESC"];
    let mut asked: Vec<String> = Vec::new();
    for (at, one) in terms.iter().enumerate() {
        for other in &terms[at..] {
            let all = orders
                .iter()
                .map(|order| format!("SELECT * FROM observations WHERE {one} AND {other} ORDER BY {order}"));
            asked.extend(all);
        }
        asked.push(format!("SELECT o.id FROM sessions s JOIN observations o ON o.session_id = s.id WHERE o.{one}"));
        asked.push(format!(
            "SELECT r.id FROM memory_relations r JOIN observations o ON o.sync_id = r.source_id WHERE o.{one}"
        ));
    }
    let plans = |conn: &Connection| Ok(asked.iter().map(|sql| plan(conn, sql)).collect::<Vec<_>>());
    let said = Lab::new().store.read(plans).unwrap();
    let unsaid = Lab::new().store.read(|conn| {
        conn.execute_batch("DELETE FROM sqlite_stat1; ANALYZE sqlite_schema")?;
        plans(conn)
    });
    assert_eq!(said, unsaid.unwrap());
}

#[test]
fn t7_a_page_costs_at_most_one_commit_per_hundred_rows_and_the_index_keeps_up() {
    let mut lab = Lab::new();
    lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
    // A machine so slow that a transaction ends as early as it may.
    lab.store.set_stopwatch({
        use std::sync::atomic::{AtomicU64, Ordering};
        static NOW: AtomicU64 = AtomicU64::new(0);
        || NOW.fetch_add(1, Ordering::Relaxed)
    });
    let rows = (2..1_002).map(|n| up(n, "observation", observation(&format!("o{n}"), "s1", "words to find", 1)));
    let before = lab.store.commits();
    lab.apply(rows.collect());
    assert!(lab.store.commits() - before <= 10, "{}", lab.store.commits() - before);
    let edits = (1_002..1_302).map(|n| up(n, "observation", observation(&format!("o{}", n - 1_000), "s1", "other", 9)));
    lab.apply(edits.collect());
    lab.check_index();
    let hits = "SELECT count(*) FROM observations_fts WHERE observations_fts MATCH 'find'";
    assert_eq!(lab.one::<i64>(hits), 700);
}

#[test]
fn full_syncing_is_back_after_a_page_and_after_a_failed_one() {
    let mut lab = Lab::new();
    let stolen = engramd_core::rows::Fence { number: 99, owner: "nobody".to_owned() };
    let rows = page(vec![row(1, "alpha", "session", "upsert", session("s1", "/a", 0))]);
    lab.store.apply_page(&stolen, "c", &BTreeMap::new(), &rows, at(1)).unwrap_err();
    lab.apply(rows.mutations);
    assert_eq!(lab.one::<i64>("SELECT synchronous FROM pragma_synchronous"), 2);
    lab.write(Entity::Observation, Op::Upsert, observation("o1", "s1", "findable", 1));
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations_fts WHERE observations_fts MATCH 'findable'"), 1);
    lab.check_index();
}
