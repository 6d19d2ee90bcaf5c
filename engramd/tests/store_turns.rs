//! OWN-3: whatever the daemon writes, no transaction has more than a bounded number of rows, and the lock is left to
//! others between them. How long that takes is a matter of the machine, and for a bench.
#![expect(clippy::unwrap_used, reason = "tests")]

mod store_support;

use engram_proto::canonical::Hash;
use engram_proto::mutation::Entity;
use engram_proto::reason::ReasonCode;
use engramd::clock;
use engramd::store::chunks::{Mark, Part, Row};
use engramd::store::{AcceptedRow, Store, StoreError};
use engramd_core::rows::Settlement;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store_support::*;

/// Things that are to be done, of each kind; a transaction takes a hundred.
const THINGS: u64 = 1_000;

/// A machine so slow that a transaction ends as early as it may: every look at the clock takes a millisecond.
fn slow() -> u64 {
    static NOW: AtomicU64 = AtomicU64::new(1);
    NOW.fetch_add(1, Ordering::Relaxed)
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.store.set_stopwatch(slow);
    lab.apply(vec![up(1, "session", session("s", "/a", 0))]);
    lab
}

/// Does something of which there is much; no transaction may do more than a part of it.
fn in_parts(lab: &mut Lab, what: &str, f: impl FnOnce(&mut Lab)) {
    let changes = |lab: &Lab| lab.store.read(|conn| Ok(conn.total_changes())).unwrap();
    lab.store.take_changes_max();
    let before = changes(lab);
    f(lab);
    let (all, most) = (changes(lab) - before, lab.store.take_changes_max());
    assert!(all >= THINGS, "{what}: {all} rows were changed: it did not do its work");
    assert!(most * 4 <= all, "{what}: one transaction changed {most} of {all} rows");
}

/// Writes past the store's transactions, as the Go program does: with triggers.
fn beside(lab: &Lab, sql: &str) {
    let written = lab.store.read(|conn| {
        let ours = conn.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
        conn.execute_batch(sql)?;
        Ok(conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, ours)?)
    });
    written.unwrap();
}

/// Makes a statement for each number.
fn each(statement: &str) -> String {
    format!("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {THINGS}) {statement}")
}

fn memories(
    first_seq: u64,
    key: &str,
    session: impl Fn(u64) -> String,
) -> Vec<engram_proto::http::pull::PulledMutation> {
    let memory = |n: u64| observation(&format!("{key}{n}"), &session(n), &format!("title {n}"), 1);
    (1..=THINGS).map(|n| up(first_seq + n, "observation", memory(n))).collect()
}

#[test]
fn own_3_pulled_rows_are_applied_in_bounded_transactions_and_so_are_those_that_waited() {
    let mut lab = lab();
    in_parts(&mut lab, "a page", |lab| {
        lab.apply(memories(10, "o", |_| "s".to_owned()));
    });
    in_parts(&mut lab, "a page of children", |lab| {
        lab.apply(memories(2_000, "c", |_| "t".to_owned()));
    });
    in_parts(&mut lab, "children whose parent came", |lab| {
        lab.apply(vec![up(5_000, "session", session("t", "/a", 0))]);
        while lab.stand_ins().unfinished {}
    });
    lab.apply(memories(6_000, "d", |n| format!("missing-{n}")));
    in_parts(&mut lab, "stand-ins", |lab| while lab.stand_ins().unfinished {});
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations"), (3 * THINGS).cast_signed());
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_held"), 0);
    lab.check_index();
}

#[test]
fn own_3_the_prompts_of_a_deleted_session_go_in_bounded_transactions() {
    let mut lab = lab();
    let prompts = |session: &str, created: i64| -> Vec<_> {
        let of_session = |n: u64| prompt(&format!("{session}{n}"), session, "a question", created);
        (1..=THINGS).map(|n| up(10 + n, "prompt", of_session(n))).collect()
    };
    lab.apply(prompts("s", 10));
    lab.apply(vec![up(2_000, "session", session("t", "/b", 0))]);
    lab.apply(prompts("t", 30));
    lab.apply(vec![up(3_000, "prompt", prompt("older", "t", "a question", 20))]);
    let deleted = |id: &str| serde_json::json!({"id": id, "deleted_at": at(20).to_string()});
    in_parts(&mut lab, "prompts of a deleted session", |lab| {
        let applied = lab.apply(vec![row(4_000, "alpha", "session", "delete", deleted("s"))]);
        assert!(applied.unfinished);
        // Whoever is ended here goes on when it reads its cursors.
        let dump = lab.dump();
        while lab.stand_ins().unfinished {}
        assert_eq!(lab.dump(), dump, "they count as deleted, whether their rows are there or not");
    });
    assert_eq!(lab.one::<String>("SELECT group_concat(id) FROM sessions"), "t", "nothing needs its row");
    lab.apply(vec![row(4_001, "alpha", "session", "delete", deleted("t"))]);
    while lab.stand_ins().unfinished {}
    let left = "SELECT count(*) FROM user_prompts";
    assert_eq!(lab.one::<i64>(left), THINGS.cast_signed(), "one was older than the delete");
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_arrived"), 0);
    assert_eq!(lab.one::<String>("SELECT group_concat(id) FROM sessions"), "t");
    lab.check_index();
}

/// A Go process edited every memory, its clock behind: each of its rows has to be stamped.
const EDITED: &str = "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project)
    SELECT 'cloud', 'observation', 'o' || n, 'upsert', json_object('sync_id', 'o' || n, 'session_id', 's', 'type', 'note',
        'title', 'edited', 'content', 'edited', 'project', 'alpha', 'scope', 'project', 'revision_count', 2,
        'duplicate_count', 1, 'created_at', '2026-11-22 13:00:00', 'updated_at', '2026-11-22 13:30:00'),
        'local', '2026-11-22 13:30:00', 'alpha' FROM n";

#[test]
fn own_3_what_other_processes_wrote_is_taken_up_in_bounded_transactions_whoever_meets_it() {
    let mut lab = lab();
    lab.apply(memories(10, "o", |_| "s".to_owned()));
    beside(&lab, &each(EDITED));
    in_parts(&mut lab, "taking up", |lab| while lab.store.take_up(5_000, at(9)).unwrap() {});
    beside(&lab, &each(&EDITED.replace("'revision_count', 2", "'revision_count', 3")));
    in_parts(&mut lab, "taking up before something else", |lab| {
        lab.store.resume(None).unwrap();
    });
    // An autosync of theirs ran, and changed what our pending rows say.
    beside(&lab, "UPDATE observations SET title = 'other'; UPDATE sync_state SET last_pulled_seq = 9");
    in_parts(&mut lab, "showing again", |lab| while lab.store.take_up(5_000, at(9)).unwrap() {});
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM observations WHERE title = 'other'"), 0);
    lab.check_index();
}

#[test]
fn own_3_rows_are_settled_held_and_tried_again_in_bounded_transactions() {
    let mut lab = lab();
    beside(
        &lab,
        &each(&EDITED.replace("'updated_at'", "'updated'").replace("json_object", "'no object' || json_object")),
    );
    in_parts(&mut lab, "rows that cannot be sent", |lab| assert!(lab.batch(5_000).rows.is_empty()));
    in_parts(&mut lab, "trying held rows again", |lab| {
        assert_eq!(lab.store.held_retry(None, at(9)).unwrap(), THINGS);
    });
    let alpha = lab.alpha.clone();
    let first = lab.one::<i64>("SELECT min(seq) FROM sync_mutations WHERE acked_at IS NULL");
    let held = (first..).take(THINGS as usize).map(|seq| Settlement::Held {
        seq,
        reason: ReasonCode::RowRejected,
        evidence: "no".to_owned(),
    });
    let (held, fence) = (held.collect::<Vec<_>>(), lab.fence.clone());
    in_parts(&mut lab, "receipts", |lab| {
        assert_eq!(lab.store.settle(&fence, &alpha, &held, at(9)).unwrap().held, THINGS);
    });
    lab.check_books();
    // One batch has no more rows than one transaction may take.
    beside(&lab, &each(&EDITED.replace("13:30", "15:30")));
    let batch = lab.batch(5_000);
    assert!(batch.more && batch.rows.len() < THINGS as usize / 4, "{}", batch.rows.len());
    // An autosync of theirs pushed what is held here.
    beside(
        &lab,
        "UPDATE sync_mutations SET acked_at = '2026-11-22 15:00:00' WHERE seq IN
        (SELECT journal_seq FROM engramd_held)",
    );
    in_parts(&mut lab, "held rows that another program pushed", |lab| {
        lab.store.resume(None).unwrap();
    });
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_held"), 0);
    lab.check_books();
}

#[test]
fn own_3_a_history_is_queued_and_looked_at_in_bounded_transactions() {
    let mut lab = lab();
    beside(
        &lab,
        &each(
            "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, created_at, updated_at)
             SELECT 'b' || n, 's', 'note', 'title', 'text', 'beta', 'project', '2026-11-22 13:00:00', '2026-11-22 13:00:00'
             FROM n",
        ),
    );
    let beta = project("beta");
    lab.store.enroll(&beta, at(1)).unwrap();
    in_parts(&mut lab, "a history", |lab| while lab.store.backfill_slice(&beta, at(2), 5_000).unwrap() {});
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM sync_mutations WHERE project = 'beta'"), (THINGS).cast_signed());

    lab.apply(memories(10, "o", |_| "s".to_owned()));
    let (alpha, fence) = (lab.alpha.clone(), lab.fence.clone());
    lab.store.remirror(&alpha).unwrap();
    in_parts(&mut lab, "what is told to a cloud again", |lab| {
        while !lab.store.remirror_slice(&fence, CLOUD, None, at(3), 5_000).unwrap().due.is_empty() {}
    });
    let queued = "SELECT count(*) FROM sync_mutations WHERE project = 'alpha' AND acked_at IS NULL";
    assert_eq!(lab.one::<i64>(queued), (THINGS + 1).cast_signed());

    beside(&lab, "UPDATE sync_mutations SET acked_at = '2026-11-22 14:00:00'; UPDATE observations SET title = 'other'");
    lab.store.take_up(5_000, at(3)).unwrap();
    let look = |lab: &mut Lab, hours: i64| {
        let looked = |lab: &mut Lab| lab.store.recheck_slice(&fence, CLOUD, at(hours * 3_600), 3_600_000, 5_000);
        while looked(lab).unwrap().again_in_ms == 0 {}
    };
    look(&mut lab, 1);
    in_parts(&mut lab, "rows that differ", |lab| look(lab, 3));
    beside(&lab, "UPDATE observations SET title = 'title ' || substr(sync_id, 2) WHERE sync_id LIKE 'o%'");
    in_parts(&mut lab, "rows that were put right", |lab| look(lab, 5));
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_different"), 0);
}

#[test]
fn own_3_what_a_server_of_the_go_program_served_is_kept_in_bounded_transactions() {
    let mut lab = lab();
    let rows = |first_seq: u64, title: &str| -> Vec<_> {
        let memory = |n: u64| observation(&format!("o{n}"), "s", title, i64::try_from(first_seq).unwrap());
        (1..=THINGS).map(|n| up(first_seq + n, "observation", memory(n))).collect()
    };
    in_parts(&mut lab, "a page that was served", |lab| lab.store.served(CLOUD, &rows(10, "one")).unwrap());
    lab.apply(rows(10, "one"));
    lab.store.served(CLOUD, &rows(2_000, "two")).unwrap();
    let (alpha, fence) = (lab.alpha.clone(), lab.fence.clone());
    in_parts(&mut lab, "read repair", |lab| {
        lab.store.repair(&fence, (CLOUD, &alpha), false, at(2_000)).unwrap();
    });
    // The delete of a session is written down behind its prompts, and so is a deletion of ours that it numbered.
    let prompts = (1..=THINGS).map(|n| up(4_000 + n, "prompt", prompt(&format!("p{n}"), "s", "a question", 1)));
    lab.store.served(CLOUD, &prompts.collect::<Vec<_>>()).unwrap();
    let delete =
        || row(6_000, "alpha", "session", "delete", serde_json::json!({"id": "s", "deleted_at": at(9).to_string()}));
    let looks = "SELECT count(*) FROM engramd_look WHERE entity = 'prompt'";
    beside(&lab, "DELETE FROM engramd_look");
    in_parts(&mut lab, "prompts of a session that was served as deleted", |lab| {
        lab.store.served(CLOUD, &[delete()]).unwrap();
    });
    assert_eq!(lab.one::<i64>(looks), THINGS.cast_signed());
    beside(&lab, "DELETE FROM engramd_look");
    let numbered = AcceptedRow { seq: 7_000, entity: Entity::Session, key: "s".to_owned(), ends_session: true };
    in_parts(&mut lab, "prompts of a session that we deleted", |lab| {
        lab.store.accepted(CLOUD, &alpha, &[numbered]).unwrap();
    });
    assert_eq!(lab.one::<i64>(looks), THINGS.cast_signed());
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_look WHERE accepted = 7000"), 1);
}

#[test]
fn own_3_chunks_are_taken_and_forgotten_in_bounded_transactions() {
    let mut lab = lab();
    let part = |id: &str, rows: Vec<engram_proto::http::pull::PulledMutation>| Part {
        place: "place".to_owned(),
        id: id.to_owned(),
        hash: Hash::of_bytes(id.as_bytes()),
        count: rows.len() as u64,
        rows: rows.into_iter().map(|row| Row::read(Some(project("alpha")), row)).collect(),
        last: true,
    };
    let brought = [part("one", memories(10, "o", |_| "s".to_owned()))];
    let log_pages = |lab: &Lab| {
        let asked = |conn: &Connection| conn.pragma_query_value(None, "wal_autocheckpoint", |row| row.get::<_, i64>(0));
        lab.store.read(|conn| Ok(asked(conn)?)).unwrap()
    };
    in_parts(&mut lab, "rows of a chunk", |lab| drop(lab.store.bring(&brought, at(1)).unwrap()));
    assert_eq!(log_pages(&lab), 16_000, "while many rows come in, the log is moved rarely");
    lab.store.brought_all().unwrap();
    assert_eq!(log_pages(&lab), 1_000);
    let learned = [part("two", memories(10, "x", |_| "s".to_owned()))];
    in_parts(&mut lab, "what a chunk holds", |lab| lab.store.chunks_learn(&learned, at(1)).unwrap());
    let copies: Vec<_> = (0..THINGS).map(|n| (format!("copy-{n}"), Hash::of_bytes(b"one"))).collect();
    in_parts(&mut lab, "files whose content is known", |lab| {
        assert!(!lab.store.chunks_wanted("elsewhere", &copies, true, at(1)).unwrap().contains(&true));
    });
    in_parts(&mut lab, "a file that is gone", |lab| drop(lab.store.chunks_meet("place", &[""; 0]).unwrap()));
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_place_chunk WHERE id NOT LIKE 'copy-%'"), 0);
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_due"), (2 * THINGS).cast_signed());
    let mark = Mark { project: lab.alpha.clone(), list: "due".to_owned(), through: i64::MAX };
    in_parts(&mut lab, "what was due", |lab| lab.store.exported("place", &[mark], at(1)).unwrap());
    assert_eq!(lab.one::<i64>("SELECT count(*) FROM engramd_due"), 0);
}

/// D66: while others write, 95 ms lie between bursts of our transactions.
#[test]
fn own_3_the_lock_is_left_to_others_between_transactions_while_they_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.store.set_stopwatch(clock::mono_ms);
    lab.store.resume(None).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute("INSERT INTO sessions (id, project, directory, started_at) VALUES ('o', 'o', '/', '')", []).unwrap();
    // The first transaction behind it sees that it was there.
    lab.store.resume(None).unwrap();
    let began_ms = clock::mono_ms();
    for _ in 0..5 {
        // Too long for another one to join its burst.
        let slow = |_: &engramd::store::Transaction<'_>| {
            std::thread::sleep(Duration::from_millis(6));
            Ok(())
        };
        lab.store.write(slow).unwrap();
    }
    let took_ms = clock::mono_ms() - began_ms;
    assert!(took_ms >= 5 * 6 + 4 * 95, "{took_ms} ms");
}

/// A lock that others had for long is none that we had: nothing waits behind it to make up for that (REC-1).
#[test]
fn own_3_rec_1_a_lock_that_others_kept_for_long_is_made_up_for_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.store.set_stopwatch(clock::mono_ms);
    lab.store.resume(None).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("INSERT INTO sync_enrolled_projects (project) VALUES ('o')").unwrap();
    // The first transaction behind it sees that it was there.
    lab.store.resume(None).unwrap();
    let began_ms = clock::mono_ms();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(lab.store.resume(None), Err(StoreError::Busy)));
    other.execute_batch("ROLLBACK").unwrap();
    let free_ms = clock::mono_ms();
    lab.store.resume(None).unwrap();
    assert!(clock::mono_ms() - free_ms < free_ms - began_ms, "it took as long as the others had the lock");
}

/// Where the other process finds the store that it is to read.
const READER: &str = "ENGRAM_TURNS_READER";

/// The other process of the test below; does nothing where nobody started it.
#[test]
fn a_process_that_reads_and_has_not_written_yet() {
    let Some(path) = std::env::var_os(READER) else { return };
    let conn = Connection::open(Path::new(&path)).unwrap();
    conn.execute_batch("BEGIN").unwrap();
    conn.query_row("SELECT count(*) FROM observations", [], |_| Ok(())).unwrap();
    println!("it reads");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    conn.execute_batch("ROLLBACK").unwrap();
}

/// D66: a transaction of ours does not come between what another process reads and what it then writes.
#[test]
fn own_3_a_transaction_waits_for_one_that_another_process_is_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.store.set_stopwatch(clock::mono_ms);
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_reads_and_has_not_written_yet", "--nocapture"])
        .env(READER, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("it reads")));
    let began_ms = clock::mono_ms();
    lab.store.pause(None, Some("a write of ours"), at(1)).unwrap();
    assert!(clock::mono_ms() - began_ms >= 250, "it did not wait");
    // Who waits for an answer of ours does not wait for that.
    lab.store.at_once(|store| store.resume(None)).unwrap();
    other.stdin.take().unwrap().write_all(b"enough\n").unwrap();
    assert!(other.wait().unwrap().success());
}
