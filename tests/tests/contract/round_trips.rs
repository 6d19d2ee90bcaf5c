//! What a push costs in Postgres, counted on the wire (performance.md, T6).
//!
//! A relay stands between the store and the database and counts each `ReadyForQuery`: Postgres sends one for every round
//! trip, whatever the driver makes of a statement.

use crate::bench::*;
use crate::retention::{NOTHING, Time};
use engram_cloud::clock::Clock;
use engram_cloud::config::DatabaseUrl;
use engram_cloud::journal::postgres::Postgres;
use engram_cloud::journal::{Batch, Entry, Fate, Journal, Pushed};
use engram_proto::http::push::PushEntry;
use engram_tests::postgres::Database;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;

/// Rows of one push.
const ROWS: usize = 100;

/// Passes messages of the database on, and counts the ends of round trips.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, count: Arc<AtomicU64>) -> std::io::Result<()> {
    loop {
        let mut message = vec![0; 5];
        from.read_exact(&mut message).await?;
        let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]);
        let body = usize::try_from(length).expect("a length") - 4;
        message.resize(5 + body, 0);
        from.read_exact(&mut message[5..]).await?;
        if message[0] == b'Z' {
            count.fetch_add(1, Ordering::SeqCst);
        }
        to.write_all(&message).await?;
    }
}

/// Starts a relay to a database, and returns the address that leads through it.
async fn relay(database: &Database, count: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let socket: PathBuf = database.socket();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = UnixStream::connect(&socket).await.expect("the database");
            let ((mut from_client, to_client), (from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(pass_on(from_server, to_client, Arc::clone(&count)));
        }
    });
    format!("postgres://engram@127.0.0.1:{port}/{}?sslmode=disable", database.name())
}

fn batch(number: usize, has_ids: bool) -> Batch {
    let entry = |at: usize| -> PushEntry {
        let entry = memory("alpha", &format!("m-{has_ids}-{number}-{at}"), "title", 1);
        if has_ids { with_id(format!("d:{number}:{at}"), entry) } else { entry }
    };
    Batch::new("somebody", (0..ROWS).map(|at| Entry::read(name("alpha"), entry(at))).collect())
}

async fn push_all(journal: &Postgres, batches: Vec<Batch>) {
    let mut pushes = JoinSet::new();
    for batch in batches {
        let journal = journal.clone();
        pushes.spawn(async move { journal.push(batch).await.expect("the store takes it") });
    }
    while let Some(pushed) = pushes.join_next().await {
        let Pushed::Done(fates) = pushed.expect("no panic") else { panic!("refused") };
        assert!(fates.len() == ROWS && fates.iter().all(|fate| matches!(fate, Fate::Accepted(_))));
    }
}

/// Begin and lock, load, write, commit, whoever pushes. Pushes that wait for each other share one transaction.
pub(crate) async fn a_push_is_four_round_trips_and_pushes_that_wait_share_them(bench: PostgresBench) {
    let count = Arc::new(AtomicU64::new(0));
    let url = relay(&bench.0, Arc::clone(&count)).await;
    let options = DatabaseUrl::parse(&url).expect("an address").options();
    let journal = Postgres::open(options, Clock::system()).await.expect("the store opens");
    let costs = async |batches: Vec<Batch>| {
        let before = count.load(Ordering::SeqCst);
        push_all(&journal, batches).await;
        count.load(Ordering::SeqCst) - before
    };
    // The first of each kind prepares its statements as well.
    for has_ids in [true, false] {
        costs(vec![batch(0, has_ids)]).await;
    }
    for has_ids in [true, false] {
        assert_eq!(costs(vec![batch(1, has_ids)]).await, 4, "with ids: {has_ids}");
    }
    let many: Vec<Batch> = (10..50).map(|number| batch(number, true)).collect();
    let pushes = u64::try_from(many.len()).expect("small");
    let cost = costs(many).await;
    assert!(cost < pushes, "{cost} round trips for {pushes} pushes at once");
    journal.close().await;
}

/// COST-1: where nothing is due, a turn of compaction asks the same few questions, however long the history; none of them
/// walks along it.
pub(crate) async fn cost_1_an_idle_turn_of_compaction_asks_a_few_questions(bench: PostgresBench) {
    let count = Arc::new(AtomicU64::new(0));
    let url = relay(&bench.0, Arc::clone(&count)).await;
    let time = Time::default();
    let journal = Postgres::open(DatabaseUrl::parse(&url).expect("an address").options(), time.clock()).await;
    let journal = journal.expect("the store opens");
    let idle = async || {
        // Many rows at once are numbered ahead of the clock.
        time.pass(Duration::from_secs(60));
        while journal.compact(NOTHING).await.expect("the store takes it").has_more {}
        let before = count.load(Ordering::SeqCst);
        let step = journal.compact(NOTHING).await.expect("the store takes it");
        assert_eq!((step.contents, step.has_more), (0, false));
        count.load(Ordering::SeqCst) - before
    };
    push_all(&journal, vec![batch(0, true)]).await;
    let few = idle().await;
    push_all(&journal, (1..20).map(|number| batch(number, true)).collect()).await;
    assert_eq!(idle().await, few);
    assert!(few <= 6, "{few} round trips");
    journal.close().await;
}
