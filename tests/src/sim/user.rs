//! What people and the world do to devices and the server: writes, by the real write rules, and incidents.

use super::device::{Device, Job};
use super::excuses::{self, LostRows};
use super::laws::Law;
use super::ledger::Before;
use super::plan::Edition;
use super::server::Mood;
use super::world::World;
use engram_proto::id::ProjectName;
use engram_proto::ipc::request::{Direction, PromptRequest, RelateRequest, SaveRequest, SessionStart, UpdateRequest};
use engram_proto::time::rfc3339_from_ms;
use engramd::memory::{self, MemoryError};
use engramd::store::Store;
use engramd_core::Event;
use rand::RngExt as _;
use rand::rngs::StdRng;

/// A session that every device opens under the same id, in whatever project.
const SHARED_SESSION: &str = "shared";

const YEAR_MS: i64 = 365 * 86_400_000;

/// The worker that takes the lease away.
const THIEF: &str = "engram-autosync-4711";

const MOODS: [Mood; 8] = [
    Mood::Down,
    Mood::Refuses(401),
    Mood::Refuses(403),
    Mood::Refuses(404),
    Mood::Refuses(429),
    Mood::Refuses(500),
    Mood::Refuses(503),
    Mood::Well,
];

impl World {
    /// One of the write commands, on a device's own clock.
    pub(super) fn somebody_writes(&mut self) -> Result<(), Law> {
        let at = self.rng.random_range(0..self.devices.len());
        if self.devices[at].down {
            return Ok(());
        }
        let project = self.some_project();
        self.writes(at, &project, None)
    }

    /// Something is written on a device: a memory of this title, or whatever is drawn.
    pub(super) fn writes(&mut self, at: usize, project: &ProjectName, title: Option<&str>) -> Result<(), Law> {
        let dies = self.draws_death();
        let commits = if dies && self.edition > Edition::First { self.draws_commits() } else { 0 };
        let device = &mut self.devices[at];
        let now = memory::Now { at: device.row_time(self.now_ms), random: self.rng.random() };
        if dies {
            device.fuse.burn(commits);
        }
        let before = Before::of(&device.store);
        let done = match title {
            Some(title) => save(&mut device.store, title, "shared", project, &now),
            None => write(&mut device.store, &mut self.rng, project, &now),
        };
        // A command that fails may have taken up before what Go processes wrote.
        if done.is_ok() || !device.has_news() {
            self.ledger.command(&device.name, &device.store, before, done.as_deref().map_err(drop))?;
        }
        // What autosync pushes is a Go delete at the server's door, whoever deleted.
        let deleted = done.as_deref().ok().and_then(|done| done.strip_prefix("deletes "));
        if let (Some(id), true) = (deleted, device.beside.is_some()) {
            self.ledger.deleted_by_go(id.split(' ').next().unwrap_or(id));
        }
        let is_blown = device.fuse.is_blown();
        assert!(!is_blown || done.is_err(), "DUR-1: answered as saved, and the commit was refused");
        // Else behind the last commit; nobody hears the answer, and all of it has to be there.
        if is_blown || dies && self.edition > Edition::First {
            return self.crash(at);
        }
        device.fuse.mend();
        let what = done.unwrap_or_else(|error| format!("refused: {error}"));
        self.say(at, &what);
        match self.devices[at].count() {
            Some(counted) => self.feed(at, counted),
            None => Ok(()),
        }
    }

    fn some_project(&mut self) -> ProjectName {
        self.projects[self.rng.random_range(0..self.projects.len())].clone()
    }

    /// Something happens to a device or to the server.
    pub(super) fn incident(&mut self) -> Result<(), Law> {
        let at = self.rng.random_range(0..self.devices.len());
        let project = self.some_project();
        let incidents = if self.edition > Edition::First { 15 } else { 13 };
        match self.rng.random_range(0..incidents) {
            0 => self.crash(at),
            1 => {
                self.say(at, "is told to stop");
                self.feed(at, Event::Stopping)
            }
            2 => self.clock_jumps(at),
            3 => {
                self.steal_lease(at);
                Ok(())
            }
            4 => {
                self.server.mood = MOODS[self.rng.random_range(0..MOODS.len())];
                self.say(at, &format!("sees the server {:?}", self.server.mood));
                Ok(())
            }
            5 => {
                let is_paused = self.rng.random_bool(0.5);
                self.say(at, &format!("sees {project} paused at the server: {is_paused}"));
                self.server.set_paused(&project, is_paused);
                Ok(())
            }
            6 => {
                let grant = (at, project);
                if !self.server.ungranted.remove(&grant) {
                    self.server.ungranted.insert(grant);
                }
                self.say(at, "has another grant");
                Ok(())
            }
            7 | 8 => self.enrolls(at, &project),
            9 => self.pauses(at, project),
            11 if self.may_be_restored() && self.may_lose_rows(0) => {
                let (what, lost) = match &mut self.go {
                    Some(go) => (go.back_up_or_restore(&mut self.server), LostRows::new()),
                    None => self.server.back_up_or_restore(),
                };
                self.loses(at, 0, what, lost);
                Ok(())
            }
            10 => {
                self.say(at, "has its network back");
                self.feed(at, Event::Woken)
            }
            13 => {
                self.server_clock_jumps(at);
                Ok(())
            }
            14 if self.may_be_restored() && self.may_lose_rows(0) => {
                if let Some(go) = &mut self.go {
                    go.empty(&mut self.server);
                    self.loses(at, 0, "emptied", LostRows::new());
                }
                Ok(())
            }
            _ => self.syncs(at, project),
        }
    }

    /// Tells whether a server's clock stays as it is.
    pub(super) fn may_not_be_behind(&self, cloud: usize) -> bool {
        let has_go_programs = !self.peers.is_empty() || self.devices.iter().any(|device| device.beside.is_some());
        let is_restored = self.server_at(cloud).is_restored;
        excuses::no_restored_server_with_a_clock_behind(has_go_programs, is_restored)
            || excuses::no_page_of_two_rows_with_one_number(
                self.go.is_none() && is_restored,
                self.is_page_on_its_way(cloud),
            )
    }

    fn may_be_restored(&self) -> bool {
        let has_moved = self.devices.iter().any(Device::has_moved);
        !excuses::no_restore_takes_what_only_go_programs_held(self.peers.len(), has_moved)
    }

    fn clock_jumps(&mut self, at: usize) -> Result<(), Law> {
        self.devices[at].skew_ms = jumped(&mut self.rng, self.devices[at].skew_ms);
        self.say(at, &format!("has its clock off by {} s", self.devices[at].skew_ms / 1_000));
        self.feed(at, Event::Tick)
    }

    fn server_clock_jumps(&mut self, at: usize) {
        let cloud = self.devices[at].cloud;
        let is_shared = self.devices.iter().any(|device| device.beside.is_some());
        if self.may_not_be_behind(cloud) || excuses::no_clock_is_set_beside_go_processes(is_shared) {
            return;
        }
        if let Some(go) = &mut self.go {
            excuses::no_late_batch_while_the_clock_is_set(go);
            go.pass(self.now_ms, &self.server);
        }
        let skew_ms = self.server_at(cloud).skew_ms();
        let (skew_ms, now_ms) = (jumped(&mut self.rng, skew_ms), self.now_ms);
        self.server_at_mut(cloud).set_clock(skew_ms, now_ms);
        self.say(at, &format!("sees the clock of server {cloud} off by {} s", skew_ms / 1_000));
    }

    fn steal_lease(&mut self, at: usize) {
        let until_ms = self.devices[at].now(self.now_ms).wall_ms + self.rng.random_range(1_000..60_000);
        let sql = "UPDATE sync_state SET lease_owner = ?1, lease_until = ?2 WHERE target_key = 'cloud'";
        let steal = |conn: &rusqlite::Connection| Ok(conn.execute(sql, [THIEF, &rfc3339_from_ms(until_ms)])?);
        self.devices[at].store.read(steal).expect("stolen");
        self.say(at, "loses the lease");
    }

    /// Ends the thief's lease.
    pub(super) fn return_leases(&mut self) {
        let sql = "UPDATE sync_state SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = ?1";
        for device in &self.devices {
            device.store.read(|conn| Ok(conn.execute(sql, [THIEF])?)).expect("given back");
        }
    }

    fn enrolls(&mut self, at: usize, project: &ProjectName) -> Result<(), Law> {
        let device = &mut self.devices[at];
        let now = device.row_time(self.now_ms);
        let is_in = device.store.enrolled().expect("enrolled").contains(project);
        let what = if is_in {
            device.store.unenroll(project).expect("unenrolled");
            "leaves"
        } else {
            device.store.enroll(project, now).expect("enrolled");
            "enrolls"
        };
        self.say(at, &format!("{what} {project}"));
        self.reload(at)?;
        self.work(at, Job::Backfill(project.clone()));
        Ok(())
    }

    fn pauses(&mut self, at: usize, project: ProjectName) -> Result<(), Law> {
        let project = Some(project).filter(|_| self.rng.random_bool(0.7));
        let device = &mut self.devices[at];
        let now = device.row_time(self.now_ms);
        if !device.store.resume(project.as_ref()).expect("resumed") {
            device.store.pause(project.as_ref(), None, now).expect("paused");
        }
        self.say(at, "pauses or resumes");
        self.reload(at)
    }

    fn syncs(&mut self, at: usize, project: ProjectName) -> Result<(), Law> {
        let ticket = self.now_ms * 10 + self.tickets.len() as u64;
        let direction = [Direction::Both, Direction::Push, Direction::Pull][self.rng.random_range(0..3)];
        let project = Some(project).filter(|_| self.rng.random_bool(0.5));
        self.tickets.push((at, ticket));
        self.reload(at)?;
        self.feed(at, Event::SyncRequested { ticket, project, direction })
    }
}

/// Draws how far a clock is off, in milliseconds, after somebody set it: a day to ten years more, or less; or it is right.
fn jumped(rng: &mut StdRng, skew_ms: i64) -> i64 {
    let days = [1, 30, 365, 3_650][rng.random_range(0..4)];
    let far = if skew_ms.abs() > 10 * YEAR_MS { 0 } else { days * YEAR_MS / 365 };
    let jump_ms = if rng.random_bool(0.5) { far } else { -far };
    if far == 0 { 0 } else { skew_ms + jump_ms }
}

fn save(
    store: &mut Store,
    title: &str,
    content: &str,
    project: &ProjectName,
    now: &memory::Now,
) -> Result<String, MemoryError> {
    let request = SaveRequest {
        title: title.to_owned(),
        project: project.to_string(),
        content: content.to_owned(),
        directory: "/d".to_owned(),
        ..SaveRequest::default()
    };
    memory::save(store, &request, now).map(|saved| format!("saves {}", saved.sync_id))
}

/// Runs a command; returns what it did.
fn write(store: &mut Store, rng: &mut StdRng, project: &ProjectName, now: &memory::Now) -> Result<String, MemoryError> {
    let (choice, text) = (rng.random_range(0..14), rng.random_range(0..1_000));
    let existing = some_observations(store, rng, project);
    let session = rng.random_bool(0.2).then(|| SHARED_SESSION.to_owned());
    match (choice, existing.as_slice()) {
        (0..=3, _) | (4..=7, []) | (8, [] | [_]) => {
            let topic = (choice == 3).then(|| "shared topic".to_owned());
            let request = SaveRequest {
                title: format!("t{text}"),
                project: project.to_string(),
                // Few texts, so that some saves fold into each other.
                content: format!("c{}", text % 40),
                directory: "/d".to_owned(),
                topic,
                session,
                ..SaveRequest::default()
            };
            memory::save(store, &request, now).map(|saved| format!("saves {}", saved.sync_id))
        }
        (4 | 5, [id, ..]) => {
            let request = UpdateRequest { id: id.clone(), title: Some(format!("u{text}")), ..Default::default() };
            memory::update(store, &request, now).map(|_| format!("updates {id}"))
        }
        (6 | 7, [id, ..]) => memory::delete(store, id, choice == 7, now).map(|_| format!("deletes {id}")),
        (8, [a, b, ..]) => {
            let (source, target) = (a.clone(), b.clone());
            let request = RelateRequest { source, target, verb: "relates".to_owned(), ..Default::default() };
            memory::relate(store, &request, now).map(|_| format!("relates {a} {b}"))
        }
        (9, _) => {
            let id = Some(SHARED_SESSION.to_owned());
            let request = SessionStart { id, project: project.to_string(), directory: format!("/d{}", text % 3) };
            memory::session_start(store, &request, now).map(|row| format!("starts {}", row.id))
        }
        (10, _) => {
            let summary = (text % 2 == 0).then(|| format!("s{text}"));
            memory::session_end(store, SHARED_SESSION, summary.as_deref(), now).map(|row| format!("ends {}", row.id))
        }
        _ => {
            let request = PromptRequest {
                project: project.to_string(),
                content: format!("p{text}"),
                directory: "/d".to_owned(),
                session,
            };
            memory::prompt(store, &request, now).map(|saved| format!("prompts {}", saved.sync_id))
        }
    }
}

/// Picks two memories of a project, in any order.
fn some_observations(store: &Store, rng: &mut StdRng, project: &ProjectName) -> Vec<String> {
    let sql = "SELECT sync_id FROM observations WHERE project = ?1 AND deleted_at IS NULL ORDER BY id";
    let listed = store.read(|conn| {
        let mut statement = conn.prepare_cached(sql)?;
        let ids = statement.query_map([project.as_str()], |row| row.get(0))?;
        Ok(ids.collect::<Result<Vec<String>, _>>()?)
    });
    let mut ids = listed.expect("ids");
    let mut picked = Vec::new();
    while picked.len() < 2 && !ids.is_empty() {
        picked.push(ids.swap_remove(rng.random_range(0..ids.len())));
    }
    picked
}
