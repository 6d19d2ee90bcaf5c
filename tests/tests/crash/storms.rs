//! Storms over each kind of server.

use crate::storm::{CloudRow, PROJECT, Tally, Writer, dies, moment, named, settle};
use crate::{Dice, child, rounds};
use engram_tests::postgres::Database;
use engram_tests::processes::{Cloud, Device, Process, TOKEN, program, until};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The durable steps of the server's store, by file.
const SERVER_POINTS: &[&str] =
    &["engram-cloud.db-wal write", "engram-cloud.db-wal sync", "engram-cloud.db write", "engram-cloud.db sync"];

fn writers(dir: &Path, url: &str) -> [Writer; 2] {
    [("a", 1), ("b", 2)].map(|(name, seed)| Writer::start(Device::enrolled_at(&dir.join(name), url, PROJECT), seed))
}

/// Adds a line to the ledger of all storms, where one is kept; it has the form of `benches/ledger.tsv`.
///
/// What was lost or doubled has ended the storm before.
fn add_up(what: &str, tally: &Tally, writers: &[Writer; 2]) {
    let (mut answered, mut unanswered) = (0, 0);
    for writer in writers {
        let ledger = writer.ledger.lock().expect("no panic");
        (answered, unanswered) = (answered + ledger.answered, unanswered + ledger.unanswered);
    }
    let met: u64 = tally.met.values().sum();
    eprintln!("{what}: {} kills ({met} at failpoints), {answered} writes answered, {unanswered} not", tally.kills);
    if let Some(path) = std::env::var_os("ENGRAM_CRASH_LEDGER") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let today = engramd::clock::row_time().to_string()[..10].to_owned();
        let lines =
            format!("{today}\tkills {what}\t{}\t0\t0\n{today}\tanswered {what}\t{answered}\t0\t0\n", tally.kills);
        file.expect("a file").write_all(lines.as_bytes()).expect("written");
    }
    assert!(answered > 0, "{what}: nothing was answered");
}

fn embedded_rows(dir: &Path) -> Vec<CloudRow> {
    let conn = rusqlite::Connection::open(dir.join("engram-cloud.db")).expect("the server's store");
    conn.busy_timeout(std::time::Duration::from_secs(5)).expect("a timeout");
    let sql = "SELECT seq, entity, entity_key FROM cloud_mutations WHERE project = ?1 ORDER BY seq";
    let mut statement = conn.prepare(sql).expect("a statement");
    let rows = statement.query_map([PROJECT], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

/// Counts versions that the server's store holds twice (IDEM-1).
fn embedded_doubles(dir: &Path) -> i64 {
    let conn = rusqlite::Connection::open(dir.join("engram-cloud.db")).expect("the server's store");
    let sql = "SELECT count(*) FROM (SELECT 1 FROM cloud_mutations GROUP BY entity, entity_key, version_hash HAVING count(*) > 1)";
    conn.query_row(sql, [], |row| row.get(0)).expect("a number")
}

/// DUR-1, ACK-1, CUR-1, IDEM-1: both daemons and the server are killed, again and again, while both devices write.
#[test]
fn dur_1_kills_of_everybody_lose_nothing_and_double_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("cloud");
    let mut cloud = Cloud::start(&dir);
    let mut writers = writers(temp.path(), &cloud.url);
    let (mut dice, mut tally) = (Dice::new(7), Tally::default());
    for round in 0..24 * rounds() {
        match round % 3 {
            2 => cloud = kill_server(cloud, &dir, &mut dice, &mut tally),
            which => writers[usize::try_from(which).expect("few")].kill(&mut dice, &mut tally, &|| embedded_rows(&dir)),
        }
    }
    settle(&mut writers);
    assert_eq!(embedded_doubles(&dir), 0);
    add_up("embedded", &tally, &writers);
}

fn kill_server(mut cloud: Cloud, dir: &Path, dice: &mut Dice, tally: &mut Tally) -> Cloud {
    if dice.below(2) == 0 {
        moment(dice);
    } else {
        cloud.process.kill();
        let point = SERVER_POINTS[usize::try_from(dice.below(SERVER_POINTS.len() as u64)).expect("few")];
        let point = named(point, dice);
        let address = cloud.url.trim_start_matches("http://").to_owned();
        let mut child = Process::new(child::server_with(dir, &address, &point));
        if dies(&mut child) {
            *tally.met.entry(point).or_default() += 1;
        }
        child.kill();
    }
    tally.kills += 1;
    cloud.restart()
}

/// DUR-1: a process of Postgres is killed, so that all of it ends and recovers from its log, while both devices write.
#[test]
fn dur_1_kills_of_postgres_lose_nothing_and_double_nothing() {
    let Some(database) = Database::new() else { return };
    let temp = tempfile::tempdir().expect("a directory");
    let (_server, url) = postgres_server(&database, temp.path());
    let mut writers = writers(temp.path(), &url);
    let (mut dice, mut tally) = (Dice::new(8), Tally::default());
    for _ in 0..4 * rounds() {
        moment(&mut dice);
        let pids = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let pids = answered(&database, &format!("{pids} ORDER BY random() LIMIT 1"));
        if let Some(pid) = pids.parse().ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
            tally.kills += 1;
        }
        let which = usize::try_from(dice.below(2)).expect("few");
        writers[which].kill(&mut dice, &mut tally, &|| postgres_rows(&database));
    }
    settle(&mut writers);
    let doubles = "SELECT count(*) FROM (SELECT 1 FROM cloud_mutations GROUP BY project, entity, entity_key, payload
        HAVING count(*) > 1) AS doubled";
    assert_eq!(answered(&database, doubles), "0");
    add_up("Postgres", &tally, &writers);
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
    let sql = format!("SELECT seq, entity, entity_key FROM cloud_mutations WHERE project = '{PROJECT}' ORDER BY seq");
    let text = answered(database, &sql);
    let row = |line: &str| {
        let mut cells = line.split('|');
        let seq = cells.next()?.parse().ok()?;
        Some((seq, cells.next()?.to_owned(), cells.next()?.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

fn postgres_server(database: &Database, dir: &Path) -> (Process, String) {
    let mut command = Command::new(program("engram-cloud"));
    command.arg("serve").env_clear().env("ENGRAM_DATABASE_URL", database.url()).env("ENGRAM_PORT", "0");
    command.env("ENGRAM_CLOUD_TOKEN", TOKEN).env("ENGRAM_CLOUD_ALLOWED_PROJECTS", "*").current_dir(dir);
    command.env("ENGRAM_JWT_SECRET", "thirty-two-bytes-are-long-enough");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let out = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut lines = std::io::BufRead::lines(out).map_while(Result::ok);
    let url = lines.find_map(|line| line.strip_prefix("engram-cloud listening on ").map(str::to_owned));
    (Process::new(child), url.expect("it listens"))
}
