//! Storms over each kind of server.

use crate::course::PROJECT;
use crate::plain::Plain;
use crate::storm::{CloudRow, Tally, Writer, dies, moment, named, settle};
use crate::{Dice, books, child, ledger, rounds};
use engram_tests::postgres::Database;
use engram_tests::processes::{Cloud, Device, Process, until};
use rusqlite::Connection;
use std::path::Path;

/// The durable steps of the server's store, by file.
const SERVER_POINTS: &[&str] =
    &["engram-cloud.db-wal write", "engram-cloud.db-wal sync", "engram-cloud.db write", "engram-cloud.db sync"];

/// Every row of a server's journal, in order, as SQL.
const ROWS: &str = "SELECT seq, project, entity, entity_key FROM cloud_mutations ORDER BY seq";

fn writers(dir: &Path, url: &str) -> [Writer; 2] {
    [("a", 1), ("b", 2)].map(|(name, seed)| {
        let device = Device::enrolled_at(&dir.join(name), url, PROJECT);
        Writer::start(device, url, seed)
    })
}

fn add_up(what: &str, tally: &Tally, writers: &[Writer; 2], plain: &Plain) {
    let (mut answered, mut unanswered) = (plain.ledger.answered, 0);
    for writer in writers {
        let ledger = writer.ledger.lock().expect("no panic");
        (answered, unanswered) = (answered + ledger.answered, unanswered + ledger.unanswered);
    }
    let (kills, deferred, met) = (tally.kills, tally.deferred, tally.met.values().sum::<u64>());
    eprintln!("{what}: {kills} kills ({met} at failpoints: {:?}), with {deferred} rows waiting", tally.met);
    eprintln!("{what}: {answered} writes answered, {unanswered} not");
    ledger::add_up(what, kills, answered);
    assert!(answered > plain.ledger.answered, "{what}: no device answered anything");
    assert!(deferred > 0, "{what}: no device was killed while a row waited for what it belongs to");
}

fn embedded(dir: &Path) -> Connection {
    let conn = Connection::open(dir.join("engram-cloud.db")).expect("the server's store");
    conn.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    conn
}

fn rows_in(conn: &Connection) -> Vec<CloudRow> {
    let mut statement = conn.prepare(ROWS).expect("a statement");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

/// Counts versions that the server's store holds twice (IDEM-1). A relation may stand there once more for each of its
/// ends that came later (peers.md).
fn embedded_doubles(dir: &Path) -> i64 {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM cloud_mutations GROUP BY project, entity, entity_key, version_hash
        HAVING count(*) > iif(entity = 'relation', 3, 1))";
    embedded(dir).query_row(sql, [], |row| row.get(0)).expect("a number")
}

/// DUR-1, ACK-1, CUR-1, IDEM-1: both daemons and the server are killed, again and again, while both devices write.
#[test]
fn dur_1_kills_of_everybody_lose_nothing_and_double_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let mut cloud = Cloud::start(&dir);
    let mut plain = Plain::new(&cloud.url, &temp.path().join("plain.ledger"));
    let mut writers = writers(temp.path(), &cloud.url);
    let rows = || rows_in(&embedded(&dir));
    let (mut dice, mut tally) = (Dice::new(7), Tally::default());
    for round in 0..24 * rounds() {
        plain.step();
        match round % 3 {
            2 => cloud = kill_server(cloud, &dir, &mut dice, &mut tally),
            which => writers[usize::try_from(which).expect("few")].kill(&mut dice, &mut tally, &rows),
        }
    }
    settle(&mut writers, &mut plain, &rows);
    assert_eq!((embedded_doubles(&dir), books::server_faults(&embedded(&dir))), (0, Vec::new()));
    add_up("embedded", &tally, &writers, &plain);
}

fn kill_server(mut cloud: Cloud, dir: &Path, dice: &mut Dice, tally: &mut Tally) -> Cloud {
    let before = rows_in(&embedded(dir));
    if dice.below(2) == 0 {
        moment(dice);
        cloud.process.kill();
    } else {
        cloud.process.kill();
        let point = SERVER_POINTS[usize::try_from(dice.below(SERVER_POINTS.len() as u64)).expect("few")];
        let address = cloud.url.trim_start_matches("http://").to_owned();
        let mut child = Process::new(child::server_with(dir, &address, &named(point, dice)));
        if dies(&mut child) {
            *tally.met.entry(point.to_owned()).or_default() += 1;
        }
        child.kill();
    }
    tally.kills += 1;
    let copy = books::copied(dir, "engram-cloud.db");
    let conn = embedded(copy.path());
    let context = format!("kill {}, of the server", tally.kills);
    assert_eq!(books::server_faults(&conn), Vec::<String>::new(), "{context}");
    assert!(rows_in(&conn).starts_with(&before), "{context}: a row that was there is gone or another one");
    cloud.restart()
}

/// DUR-1: processes of Postgres are killed, so that all of it ends and recovers from its log, and the server's own,
/// while both devices write and are killed.
#[test]
fn dur_1_kills_of_postgres_lose_nothing_and_double_nothing() {
    let Some(database) = Database::new() else { return };
    let temp = tempfile::tempdir().expect("a directory");
    let mut cloud = Cloud::start_on(&temp.path().join("cloud"), Some(database.url()));
    let mut plain = Plain::new(&cloud.url, &temp.path().join("plain.ledger"));
    let mut writers = writers(temp.path(), &cloud.url);
    let rows = || postgres_rows(&database);
    let (mut dice, mut tally) = (Dice::new(8), Tally::default());
    for _ in 0..4 * rounds() {
        plain.step();
        let before = rows();
        moment(&mut dice);
        let pids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let pids = answered(&database, &format!("{pids} ORDER BY random() LIMIT 1"));
        if let Some(pid) = pids.parse().ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
            tally.kills += 1;
        }
        let which = usize::try_from(dice.below(2)).expect("few");
        writers[which].kill(&mut dice, &mut tally, &rows);
        plain.step();
        moment(&mut dice);
        cloud.process.kill();
        tally.kills += 1;
        assert!(rows().starts_with(&before), "kill {}: a row that was there is gone or another one", tally.kills);
        assert_eq!(postgres_faults(&database), "", "kill {}", tally.kills);
        cloud = cloud.restart();
    }
    settle(&mut writers, &mut plain, &rows);
    let doubles = "SELECT count(*) FROM (SELECT 1 FROM cloud_mutations GROUP BY project, entity, entity_key, payload
        HAVING count(*) > CASE entity WHEN 'relation' THEN 3 ELSE 1 END) AS doubled";
    assert_eq!((answered(&database, doubles).as_str(), postgres_faults(&database).as_str()), ("0", ""));
    add_up("Postgres", &tally, &writers, &plain);
}

/// Lists what is wrong with the database: whatever names a row that is not there, and, where Postgres brings what looks
/// for it, tables that are not sound and indexes that do not agree with them.
fn postgres_faults(database: &Database) -> String {
    let references = "
        SELECT 'head of ' || entity_key FROM engram_heads AS h WHERE NOT EXISTS (SELECT 1 FROM cloud_mutations AS m
            WHERE m.seq = h.seq AND m.project = h.project AND m.entity = h.entity AND m.entity_key = h.entity_key)
        UNION ALL SELECT 'no head of ' || entity_key FROM cloud_mutations AS m WHERE NOT EXISTS (SELECT 1 FROM
            engram_heads AS h WHERE h.project = m.project AND h.entity = m.entity AND h.entity_key = m.entity_key)
        UNION ALL SELECT 'row of ' || mutation_id FROM engram_mutation_ids AS i WHERE NOT EXISTS (SELECT 1 FROM
            cloud_mutations AS m WHERE m.seq = i.seq AND m.project = i.project)
        UNION ALL SELECT 'winner over ' || entity_key FROM engram_superseded AS s WHERE NOT EXISTS (SELECT 1 FROM
            cloud_mutations AS m WHERE m.seq = s.lost_to_seq)";
    let found = answered(database, references);
    // Since Postgres 14.
    let amcheck = "SELECT count(*) FROM pg_available_extension_versions WHERE name = 'amcheck' AND version = '1.3'";
    if answered(database, amcheck) == "0" {
        return found;
    }
    let _ = answered(database, "CREATE EXTENSION IF NOT EXISTS amcheck");
    let tables = "SELECT c.relname || ': ' || v.msg FROM pg_class AS c CROSS JOIN LATERAL verify_heapam(c.oid) AS v
        WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace";
    // It fails at the first one that does not agree, and says nothing of the others.
    let indexes = "SELECT bt_index_check(c.oid, true) FROM pg_class AS c JOIN pg_am ON pg_am.oid = c.relam
        WHERE c.relkind = 'i' AND pg_am.amname = 'btree' AND c.relnamespace = current_schema()::regnamespace";
    let agree = database.try_query(indexes).is_some();
    found + &answered(database, tables) + if agree { "" } else { "an index does not agree with its table" }
}

/// Asks until the database has recovered.
fn answered(database: &Database, sql: &str) -> String {
    let mut answer = None;
    until("Postgres has recovered", || {
        answer = database.try_query(sql);
        answer.is_some()
    });
    answer.expect("an answer")
}

fn postgres_rows(database: &Database) -> Vec<CloudRow> {
    let text = answered(database, ROWS);
    let row = |line: &str| {
        let mut cells = line.split('|');
        let seq = cells.next()?.parse().ok()?;
        Some((seq, cells.next()?.to_owned(), cells.next()?.to_owned(), cells.next()?.to_owned()))
    };
    text.lines().filter_map(row).collect()
}
