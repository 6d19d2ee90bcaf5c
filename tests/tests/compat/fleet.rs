//! Several Go clients and devices of ours on one server: nobody halts, and all end with the same memories.

use crate::server::*;
use engram_tests::go::GoClient;
pub(crate) use engram_tests::go::user::{Memories, PROJECTS, memories_of};
use engram_tests::go::user::{SESSIONS, act};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const STEPS: usize = 60;

/// What a device of ours ends with: the last version of each memory; and what a Go client cannot know, because its one
/// cursor passed it while the project was not granted.
pub(crate) async fn memories_of_journal(server: &Server, passed: u64) -> (Memories, BTreeSet<(String, String)>) {
    let mut last = BTreeMap::new();
    for row in server.rows(&PROJECTS).await.into_iter().filter(|row| row.entity == "observation") {
        last.insert((row.project.clone(), row.entity_key.clone()), row);
    }
    let missed = last.iter().filter(|((project, _), row)| project == PROJECTS[1] && row.seq <= passed);
    let missed = missed.map(|(key, _)| key.clone()).collect();
    let live = last.into_iter().filter(|(_, row)| row.op == "upsert");
    let live = live.map(|(key, row)| (key, row.payload["title"].as_str().unwrap_or_default().to_owned())).collect();
    (live, missed)
}

/// Does something a user does, some time later.
pub(crate) fn write(client: &mut GoClient, rng: &mut StdRng, step: usize) {
    client.pass_s(rng.random_range(0..90));
    act(client, rng, step);
}

/// Does something a device of ours does.
pub(crate) async fn write_ours(server: &Server, rng: &mut StdRng, step: usize) {
    let (project, session_id) = (PROJECTS[rng.random_range(0..2)], SESSIONS[rng.random_range(0..SESSIONS.len())]);
    let at = i64::try_from(step).expect("small");
    let entry = match rng.random_range(0..4) {
        0 => session(project, session_id, if step.is_multiple_of(3) { "(recovered-missing-session)" } else { "/ours" }),
        1 => session_delete(project, session_id, at),
        _ => memory(
            project,
            session_id,
            &format!("ours-{project}-{}", rng.random_range(0..5)),
            &format!("ours {step}"),
            at,
        ),
    };
    server.push(vec![entry]).await;
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut server = Server::start(&PROJECTS).await;
    let mut clients: Vec<GoClient> = (0..3).map(|at| server.go(&format!("go-{at}"), 10 * at)).collect();
    for client in &clients {
        PROJECTS.iter().for_each(|project| client.enroll(project));
    }
    let mut passed = 0;
    for step in 0..STEPS {
        if step == STEPS / 3 {
            server = server.regrant(&PROJECTS[..1]).await;
            for client in &mut clients {
                let halt = client.pull(&server.remote).await;
                assert!(halt.is_ok(), "seed {seed}: {halt:?}");
                passed = passed.max(client.cursor());
            }
            server = server.regrant(&PROJECTS).await;
        }
        let at = rng.random_range(0..clients.len());
        match rng.random_range(0..6) {
            0 => write_ours(&server, &mut rng, step).await,
            1 => {
                let client = clients.swap_remove(at);
                clients.push(client.reopened());
            }
            2 | 3 => {
                let halt = clients[at].cycle(&server.remote).await;
                assert!(halt.is_ok(), "seed {seed}, step {step}: {halt:?}");
            }
            _ => write(&mut clients[at], &mut rng, step),
        }
    }
    // What a review moved is sent by nobody; cycles end because no append begets another.
    for _ in 0..4 {
        for client in &mut clients {
            let halt = client.cycle(&server.remote).await;
            assert!(halt.is_ok(), "seed {seed}: {halt:?}");
        }
    }
    let (mut ours, missed) = memories_of_journal(&server, passed).await;
    ours.retain(|key, _| !missed.contains(key));
    for client in &clients {
        let mut theirs = memories_of(client);
        theirs.retain(|key, _| !missed.contains(key));
        assert_eq!(theirs, ours, "seed {seed}");
    }
}

/// CONV-1 for a fleet with Go clients, as far as peers.md promises it.
#[tokio::test(flavor = "multi_thread")]
async fn conv_1_no_go_client_halts_and_all_end_with_the_same_memories() {
    for seed in 0..8 {
        run(seed).await;
    }
}
