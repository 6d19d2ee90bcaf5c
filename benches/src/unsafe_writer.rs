//! What a writer does that draws its numbers before it commits: the other side of R1's ratio, and the proof that its
//! readers can notice a loss.

use crate::stopwatch::{Stopwatch, per_second};
use crate::tally::{BATCH_ROWS, SILENCE, Tally};
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::time::Duration;

/// What a run brought.
pub(crate) struct UnsafeRun {
    pub(crate) rows: u64,
    pub(crate) lost: u64,
    pub(crate) rows_per_s: f64,
}

/// Pushes rows into a bare table with a BIGSERIAL key, read by number.
pub(crate) async fn run(url: &str, rows: u64, pushers: u64, readers: usize) -> UnsafeRun {
    let pool = PgPoolOptions::new().max_connections(100).connect(url).await.expect("a connection");
    let table = "CREATE TABLE bare (seq BIGSERIAL PRIMARY KEY, payload JSONB NOT NULL)";
    sqlx::query(table).execute(&pool).await.expect("a table");
    let batches = (rows / pushers / BATCH_ROWS).max(1);
    let expected = batches * pushers * BATCH_ROWS;
    let watch = Stopwatch::start();
    let readers: Vec<_> = (0..readers).map(|_| tokio::spawn(tail(pool.clone(), expected))).collect();
    let pushers: Vec<_> = (0..pushers).map(|_| tokio::spawn(push_all(pool.clone(), batches))).collect();
    for pusher in pushers {
        pusher.await.expect("a pusher");
    }
    let took = watch.elapsed();
    let mut lost = 0;
    for reader in readers {
        lost = lost.max(expected - reader.await.expect("a reader").rows);
    }
    UnsafeRun { rows: expected, lost, rows_per_s: per_second(expected, took) }
}

async fn push_all(pool: PgPool, batches: u64) {
    let payload = format!("{{\"content\": \"{}\"}}", "Local SQLite stays the source of truth. ".repeat(10));
    let payloads = vec![payload; usize::try_from(BATCH_ROWS).unwrap_or(1)];
    for _ in 0..batches {
        let insert = "INSERT INTO bare (payload) SELECT x::jsonb FROM unnest($1::text[]) AS x";
        sqlx::query(insert).bind(&payloads).execute(&pool).await.expect("rows");
    }
}

async fn tail(pool: PgPool, expected: u64) -> Tally {
    let (mut seen, mut since, mut silent) = (Tally::default(), 0_i64, Stopwatch::start());
    while seen.rows < expected && silent.elapsed() < SILENCE / 4 {
        let ask = "SELECT seq FROM bare WHERE seq > $1 ORDER BY seq LIMIT 1000";
        let rows: Vec<(i64,)> = sqlx::query_as(ask).bind(since).fetch_all(&pool).await.expect("a page");
        for (seq,) in &rows {
            seen.add(seq.unsigned_abs());
            since = *seq;
        }
        if rows.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            silent = Stopwatch::start();
        }
    }
    seen
}
