//! Go clients in the world: they reach the real routes of the server, over the model's journal and without a socket.

use super::device::row_time;
use super::excuses;
use super::go_cloud::Direct;
use super::laws::Law;
use super::ledger;
use super::server::Server;
use super::world::World;
use crate::go::user::{Memories, PROJECTS, act, act_in, memories_of};
use crate::go::{GoClient, Halt, Wire};
use crate::routes::Routes;
use axum::body::Body;
use axum::http::Request;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use rand::RngExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Cycles of every client in the calm after which nothing may be left to send. What one appends the others read in the
/// next, and no append begets another.
const ROUNDS_MAX: usize = 6;

/// A Go client.
pub(super) struct Peer {
    client: GoClient,
    name: String,
    skew_ms: i64,
}

/// The way between Go clients and the server.
pub(super) struct Road {
    routes: Routes,
    pub(super) runtime: Arc<Runtime>,
}

/// What becomes of the pushes of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Luck {
    Fine,
    RequestLost,
    AnswerLost,
    Twice,
}

/// One cycle's way to a server.
pub(super) struct Way<W> {
    to: W,
    luck: Luck,
}

/// The way to a server of ours.
pub(super) struct Routed(Routes);

impl Road {
    /// Builds the routes over the server's journal.
    pub(super) fn to(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Self { routes: Routes::over(server.journal.clone(), server.clock()), runtime: Arc::new(runtime) }
    }
}

impl Routed {
    async fn ask(&self, request: Request<Body>) -> (u16, String) {
        let (status, body) = self.0.ask(request).await;
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

impl Wire for Routed {
    async fn push(&self, body: String) -> (u16, String) {
        let request = Request::post("/sync/mutations/push").header("content-type", "application/json");
        self.ask(request.body(Body::from(body)).expect("a request")).await
    }

    async fn page(&self, since_seq: u64, limit: usize) -> (u16, String) {
        let uri = format!("/sync/mutations/pull?since_seq={since_seq}&limit={limit}");
        self.ask(Request::get(uri).body(Body::empty()).expect("a request")).await
    }
}

impl<W: Wire> Wire for Way<W> {
    async fn push(&self, body: String) -> (u16, String) {
        match self.luck {
            Luck::RequestLost => return (503, String::new()),
            Luck::Twice => drop(self.to.push(body.clone()).await),
            Luck::Fine | Luck::AnswerLost => {}
        }
        let answer = self.to.push(body).await;
        if self.luck == Luck::AnswerLost { (502, String::new()) } else { answer }
    }

    async fn page(&self, since_seq: u64, limit: usize) -> (u16, String) {
        self.to.page(since_seq, limit).await
    }
}

impl Peer {
    /// Makes a client with an empty store that takes part in every project.
    pub(super) fn new(name: &str, skew_ms: i64, projects: &[ProjectName]) -> Self {
        let client = GoClient::in_memory(name, row_time(0, skew_ms));
        projects.iter().for_each(|project| client.enroll(project.as_str()));
        Self { client, name: name.to_owned(), skew_ms }
    }
}

impl World {
    /// One cycle's way to the server, which is one of ours.
    pub(super) fn way(&self, luck: Luck) -> Way<Routed> {
        Way { to: Routed(self.road.routes.clone()), luck }
    }

    /// Something that a Go client, or its user, does.
    pub(super) fn a_peer_acts(&mut self) -> Result<(), Law> {
        let at = self.rng.random_range(0..self.peers.len());
        let step = self.rng.random_range(0..10_000);
        let now = row_time(self.now_ms, self.peers[at].skew_ms);
        self.peers[at].client.now = now;
        let before = ledger::shown(&self.peers[at].client.db).expect("rows");
        let choice = self.rng.random_range(0..8);
        match choice {
            0 => self.peers[at].client.open_again(),
            1 | 2 => {
                let lucky = self.rng.random_range(0..100) >= self.climate.trouble;
                let bad = [Luck::RequestLost, Luck::AnswerLost, Luck::Twice][self.rng.random_range(0..3)];
                self.peer_cycles(at, if lucky { Luck::Fine } else { bad })?;
            }
            _ if excuses::no_go_client_works_in_two_projects_of_a_go_server(self.go.is_some()) => {
                act_in(PROJECTS[at], &mut self.peers[at].client, &mut self.rng, step);
            }
            _ => act(&mut self.peers[at].client, &mut self.rng, step),
        }
        if choice > 2 {
            let after = ledger::shown(&self.peers[at].client.db).expect("rows");
            self.ledger.note_go(&self.peers[at].name, &before, &after);
        }
        let line =
            format!("{} {} has {} to send", self.now_ms, self.peers[at].name, self.peers[at].client.pending_count());
        self.tape.push(line);
        Ok(())
    }

    fn peer_cycles(&mut self, at: usize, luck: Luck) -> Result<(), Law> {
        let runtime = Arc::clone(&self.road.runtime);
        let ours = self.way(luck);
        let client = &mut self.peers[at].client;
        let done = match &mut self.go {
            Some(go) => {
                let way = Way { to: Direct(go.way(self.now_ms, &self.server)), luck };
                let done = runtime.block_on(client.cycle(&way));
                go.pass(self.now_ms, &self.server);
                done
            }
            None => runtime.block_on(client.cycle(&ours)),
        };
        match done {
            // A push that was lost on the way ends the cycle; the next one begins with it.
            Ok(()) | Err(Halt::Push { status: 502 | 503 | 409, .. }) => Ok(()),
            Err(halt) => Err(Law::new("peers", format!("{} halts: {halt:?}", self.peers[at].name))),
        }
    }

    /// Lets every Go client send and read until nothing is left, and our devices beside them.
    pub(super) fn peers_come_to_rest(&mut self) -> Result<(), Law> {
        for _ in 0..ROUNDS_MAX {
            let before = self.server.journal.disk().rows.len();
            for at in 0..self.peers.len() {
                self.peers[at].client.now = row_time(self.now_ms, self.peers[at].skew_ms);
                self.peer_cycles(at, Luck::Fine)?;
            }
            self.rest()?;
            let is_still = self.server.journal.disk().rows.len() == before;
            if is_still && self.peers.iter().all(|peer| peer.client.pending_count() == 0) {
                return self.peers_agree();
            }
        }
        Err(Law::new("peers", format!("rows are still appended after {ROUNDS_MAX} cycles of every client")))
    }

    /// CONV-1 for Go clients: the same live memories, by their titles.
    fn peers_agree(&self) -> Result<(), Law> {
        let disk = self.server.journal.disk();
        let live = disk.heads().filter_map(|row| match &row.version {
            Some(Version::Observation(version)) => {
                let title = version.body.0.as_ref()?.title.clone();
                Some(((row.name.project.to_string(), row.name.key.clone()), title))
            }
            _ => None,
        });
        let ours: Memories = live.collect();
        let mut projects = BTreeMap::<&str, BTreeSet<&ProjectName>>::new();
        for row in &disk.rows {
            projects.entry(&row.name.key).or_default().insert(&row.name.project);
        }
        let twice = projects.into_iter().filter(|(_, projects)| projects.len() > 1).map(|(key, _)| key).collect();
        for peer in &self.peers {
            let theirs = memories_of(&peer.client);
            let counts = |key: &(String, String)| {
                !excuses::nobody_offers_what_only_go_clients_held_of_the_lost_rows(&self.lost, key)
                    && !excuses::a_go_client_has_room_for_one_row_of_a_sync_id(&twice, key)
            };
            let one = ours.iter().find(|(key, title)| theirs.get(*key) != Some(*title) && counts(key));
            let other = theirs.iter().find(|(key, _)| !ours.contains_key(*key) && counts(key));
            if one.is_some() || other.is_some() {
                let what = format!("{} differs: the cloud has {one:?}, it has {other:?} beside", peer.name);
                return Err(Law::new("CONV-1", what));
            }
        }
        Ok(())
    }
}
