//! Go processes save while we pull and push: what they saved is all there, once, and taken up (local-store.md, "Living
//! beside the peer"). How often one of their attempts meets a lock is a matter of time, and for a bench.
#![expect(clippy::unwrap_used, reason = "tests")]

mod go_support;
mod store_support;

use engramd::store::Store;
use go_support::Go;
use rusqlite::{ErrorCode, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;
use store_support::{CLOUD, Lab, at, observation, page, session, up};

const WRITERS: usize = 4;
const SAVES: usize = 100;

/// What the peer waits between its attempts at one write.
const DELAYS_MS: [u64; 3] = [10, 25, 50];

/// Saves in a transaction that begins by reading: where another one has the lock, SQLite refuses at once (D66), and the
/// peer tries three times more.
fn save(go: &Go, key: &str) -> rusqlite::Result<()> {
    let conn = &go.0;
    let written = || {
        conn.execute_batch("BEGIN")?;
        let title = "SELECT count(*) FROM observations WHERE project = 'alpha' AND title = ?1 AND deleted_at IS NULL";
        conn.query_row(title, [key], |row| row.get::<_, i64>(0))?;
        let sql = "INSERT INTO observations (sync_id, session_id, type, title, content, project, scope, created_at,
            updated_at) VALUES (?1, 's1', 'note', ?1, 'about ' || ?1, 'alpha', 'project', ?2, ?2)";
        conn.execute(sql, params![key, at(5).to_string()])?;
        let payload = go.payload("observation", key).to_string();
        let sql =
            "INSERT INTO sync_mutations (target_key, entity, entity_key, op, payload, source, occurred_at, project)
            VALUES ('cloud', 'observation', ?1, 'upsert', ?2, 'local', ?3, 'alpha')";
        conn.execute(sql, params![key, payload, at(5).to_string()])?;
        conn.execute_batch("COMMIT")
    };
    let mut delays = DELAYS_MS.iter();
    loop {
        let result: rusqlite::Result<()> = written();
        let Err(error) = result else { return Ok(()) };
        let _ = conn.execute_batch("ROLLBACK");
        let busy = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
        match delays.next() {
            Some(&delay_ms) if busy => thread::sleep(Duration::from_millis(delay_ms)),
            _ => return Err(error),
        }
    }
}

fn write(path: &Path, writer: usize) {
    let go = Go::open(path);
    for n in 0..SAVES {
        // Its user sees an error, and asks again.
        while save(&go, &format!("w{writer}-{n}")).is_err() {}
    }
}

#[test]
fn ack_2_what_go_processes_save_while_we_pull_and_push_is_all_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engram.db");
    let mut lab = Lab::on(Store::open(&path, at(0)).unwrap());
    lab.store.set_stopwatch(engramd::clock::mono_ms);
    lab.apply(vec![up(1, "session", session("s1", "/a", 0))]);
    let writers: Vec<_> = (0..WRITERS).map(|n| (n, path.clone())).collect();
    let writers = writers.into_iter().map(|(n, path)| thread::spawn(move || write(&path, n)));
    let writers: Vec<_> = writers.collect();
    let mut seq = 1;
    while writers.iter().any(|writer| !writer.is_finished()) {
        let text = "words ".repeat(40);
        let rows =
            (0..1_000).map(|n| up(seq + n + 1, "observation", observation(&format!("o{}", seq + n), "s1", &text, 1)));
        let (page, mut done) = (page(rows.collect()), 0);
        let since = BTreeMap::new();
        while let Some(slice) = lab.store.apply_slice(&lab.fence, CLOUD, &since, &page, done, at(9).into()).unwrap() {
            done = slice.done;
        }
        seq += 1_000;
        for row in lab.batch(100).rows {
            seq += 1;
            lab.ack(row.seq, seq);
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    while lab.store.take_up(1_000, at(9)).unwrap() {}
    let books = lab.store.ack2(&lab.alpha).unwrap();
    assert_eq!((books.written, books.held + books.void), ((WRITERS * SAVES) as u64, 0));
    let saved = "SELECT count(*) FROM observations WHERE sync_id LIKE 'w%'";
    assert_eq!(lab.one::<i64>(saved), i64::try_from(WRITERS * SAVES).unwrap());
    lab.check_books();
    lab.check_index();
}
