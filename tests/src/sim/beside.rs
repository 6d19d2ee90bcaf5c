//! Go processes on a device's store: what their users write, with and without a journal row, and their autosync, which
//! takes turns with our daemon over the lease.

use super::books::Books;
use super::device::{Device, Heard, Job, row_time};
use super::excuses;
use super::laws::{Law, is_parked};
use super::ledger;
use super::peers::{Luck, Routed, Way};
use super::server::Mood;
use super::world::World;
use crate::go::beside::act;
use crate::go::{GoClient, Halt};
use crate::model::Disk;
use engram_proto::merge::Version;
use engram_proto::time::RowTime;
use engramd::driver;
use engramd::store::Store;
use engramd_core::Event;
use rand::RngExt as _;
use rusqlite::Connection;
use rusqlite::backup::Backup;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Names the next store that several connections reach.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Journal rows of other processes taken up in one transaction; few, so that a device can die between two.
const TAKE_UP_ROWS: u32 = 2;

/// How long a daemon stays away, in milliseconds: not at all, a moment, or until its lease is over.
const PAUSES_MS: [u64; 4] = [0, 2_000, 20_000, 150_000];

/// Until a pass over the rows is due again, in milliseconds.
const DAY_MS: u64 = 25 * 3_600_000;

/// Statements of the daemon's that pass before a file event is heard, in milliseconds at most.
const TOLD_MS: u64 = 200;

/// The Go processes of one device; they run one after the other.
pub(super) struct Beside {
    go: GoClient,
    /// Whether they wrote since our daemon looked.
    is_news: bool,
    /// What they moved to another project without telling.
    moved: BTreeSet<String>,
}

impl Beside {
    /// Copies a store to where two connections reach it; returns ours and what is theirs.
    pub(super) fn of(name: &str, store: &Store, skew_ms: i64) -> (Connection, Self) {
        let url = format!("file:/sim-{}?vfs=memdb", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut ours = Connection::open(&url).expect("memory");
        let copied =
            store.read(|from| Ok(Backup::new(from, &mut ours)?.run_to_completion(i32::MAX, Duration::ZERO, None)?));
        copied.expect("a copy");
        let theirs = Connection::open(&url).expect("memory");
        let go = GoClient::beside(theirs, &format!("beside-{name}"), row_time(0, skew_ms));
        (ours, Self { go, is_news: true, moved: BTreeSet::new() })
    }

    /// Takes the processes of an earlier run, whose store is empty again.
    pub(super) fn again(mut go: GoClient, now: RowTime) -> Self {
        go.begin_again(now);
        Self { go, is_news: true, moved: BTreeSet::new() }
    }

    /// Gives the processes to a later run.
    pub(super) fn into_go(self) -> GoClient {
        self.go
    }

    /// Returns what the processes moved to another project; nobody told of it, so it is looked for where it is touched.
    #[must_use]
    pub(super) fn moved(&self) -> &BTreeSet<String> {
        &self.moved
    }
}

impl Device {
    /// Tells whether Go processes wrote since our daemon looked.
    #[must_use]
    pub(super) fn has_news(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.is_news)
    }

    /// Tells whether a Go process moved something.
    #[must_use]
    pub(super) fn has_moved(&self) -> bool {
        self.beside.as_ref().is_some_and(|beside| !beside.moved.is_empty())
    }

    /// Looks at what Go processes wrote, as `driver/effects.rs` does it; `None` where the process died in it.
    pub(super) fn look_beside(&mut self, now_ms: u64) -> Option<Heard> {
        let now = self.row_time(now_ms);
        let is_news = self.store.data_changed_elsewhere().expect("a number");
        while is_news && self.told(|store| store.take_up(TAKE_UP_ROWS, now))?.expect("taken up") {}
        if let Some(beside) = &mut self.beside {
            beside.is_news = false;
        }
        if !is_news {
            return Some(Heard::default());
        }
        let projects = driver::read_projects(&mut self.store).expect("projects");
        Some(Heard { event: Some(Event::ProjectsChanged(projects)), loads: Some(self.loads), ..Heard::default() })
    }

    /// Takes up what there is, as a daemon does that starts; tells whether it lives.
    #[must_use]
    pub(super) fn take_up_at_start(&mut self, now_ms: u64) -> bool {
        let now = self.row_time(now_ms);
        if self.beside.is_none() {
            return true;
        }
        self.store.data_changed_elsewhere().expect("a number");
        loop {
            let Some(more) = self.told(|store| store.take_up(TAKE_UP_ROWS, now)) else { return false };
            if !more.expect("taken up") {
                break;
            }
        }
        if let Some(beside) = &mut self.beside {
            beside.is_news = false;
        }
        true
    }
}

impl World {
    /// How long a device's daemon stays away, in milliseconds; only where Go processes use the time.
    pub(super) fn pause_ms(&mut self, at: usize) -> u64 {
        if self.calm || self.devices[at].beside.is_none() {
            return 0;
        }
        PAUSES_MS[self.rng.random_range(0..PAUSES_MS.len())]
    }

    /// A Go process does something to a device's store.
    pub(super) fn a_go_process_acts(&mut self) -> Result<(), Law> {
        let shared: Vec<usize> = (0..self.devices.len()).filter(|&at| self.devices[at].beside.is_some()).collect();
        let at = shared[self.rng.random_range(0..shared.len())];
        let now = self.devices[at].row_time(self.now_ms);
        let choice = self.rng.random_range(0..10);
        let Some(beside) = &mut self.devices[at].beside else { return Ok(()) };
        beside.go.now = now;
        beside.is_news = true;
        let may_move = !excuses::no_move_after_a_restore(self.is_restored);
        let done = match choice {
            0 | 1 => {
                beside.go.open_again();
                "opens the store".to_owned()
            }
            2..=5 => self.autosync_goes_on(at)?,
            _ => {
                let project = "SELECT sync_id || ' ' || project FROM observations WHERE sync_id <> ''";
                let before: BTreeSet<String> = beside.go.list(project).into_iter().collect();
                let shown = ledger::shown(&beside.go.db).expect("rows");
                let done = act(&mut beside.go, &mut self.rng, may_move).unwrap_or_else(|| "does nothing".to_owned());
                let after: BTreeSet<String> = beside.go.list(project).into_iter().collect();
                let id_of = |row: &String| row.split(' ').next().map(str::to_owned);
                let [were, are] = [&before, &after].map(|rows| rows.iter().filter_map(id_of).collect::<BTreeSet<_>>());
                // It may have come to another one, or to where there was a row of it.
                let ids = before.symmetric_difference(&after).filter_map(id_of);
                beside.moved.extend(ids.filter(|id| were.contains(id) && are.contains(id)));
                self.ledger.note_go("go-process", &shown, &ledger::shown(&beside.go.db).expect("rows"));
                done
            }
        };
        self.say(at, &format!("(a Go process) {done}"));
        self.devices[at].books.look_again();
        // A file event may be lost; the next tick finds the write then.
        if !self.devices[at].down && self.rng.random_range(0..4) > 0 {
            let after_ms = self.rng.random_range(0..TOLD_MS);
            self.work_later(at, after_ms, Job::LookBeside);
        }
        Ok(())
    }

    /// The next part of a cycle of autosync, under its lease.
    fn autosync_goes_on(&mut self, at: usize) -> Result<String, Law> {
        let (part, rows) = (self.rng.random_range(0..7), self.rng.random_range(1..4));
        let lucky = self.rng.random_range(0..100) >= self.climate.trouble;
        let bad = [Luck::RequestLost, Luck::AnswerLost, Luck::Twice][self.rng.random_range(0..3)];
        let is_well = self.server.mood == Mood::Well;
        let way = self.way(if lucky { Luck::Fine } else { bad });
        let runtime = Arc::clone(&self.road.runtime);
        let Device { beside, books, .. } = &mut self.devices[at];
        let Some(Beside { go, .. }) = beside else { return Ok(String::new()) };
        if !go.holds_lease() {
            let taken = go.take_lease();
            return Ok(format!("asks for the lease: {taken}"));
        }
        let done = match part {
            0 => {
                go.give_lease_back();
                return Ok("gives the lease back".to_owned());
            }
            _ if !is_well => Ok(()),
            1 | 2 => {
                excuses::no_restore_behind_what_autosync_pushed(&mut self.server);
                push(go, books, &way, &runtime)
            }
            3 | 4 => {
                go.replay();
                runtime.block_on(go.pull(&way))
            }
            5 => runtime.block_on(go.pull_some(&way, rows)),
            _ => {
                excuses::no_restore_behind_what_autosync_pushed(&mut self.server);
                let done = push(go, books, &way, &runtime).and_then(|()| {
                    go.replay();
                    runtime.block_on(go.pull(&way))
                });
                go.give_lease_back();
                done
            }
        };
        match done {
            Ok(()) | Err(Halt::Push { status: 502 | 503 | 409, .. }) => Ok(format!("syncs: {part}")),
            Err(halt) => Err(Law::new("peers", format!("autosync beside {} halts: {halt:?}", self.devices[at].name))),
        }
    }

    /// Ends what Go processes are about; our daemon looks.
    pub(super) fn go_processes_end(&mut self) {
        for at in 0..self.devices.len() {
            let now = self.devices[at].row_time(self.now_ms);
            let Some(beside) = &mut self.devices[at].beside else { continue };
            beside.go.now = now;
            beside.go.give_lease_back();
            beside.go.open_again();
            beside.is_news = true;
            self.devices[at].books.look_again();
            self.work(at, Job::LookBeside);
        }
    }

    /// CONV-1 for shared stores: a day later, when the rows themselves were looked at, their tables show what the cloud
    /// holds; and opening them queues nothing of what was pulled (D1).
    pub(super) fn shared_stores_agree(&mut self) -> Result<(), Law> {
        if self.devices.iter().all(|device| device.beside.is_none()) {
            return Ok(());
        }
        self.now_ms += DAY_MS;
        for at in 0..self.devices.len() {
            self.feed(at, Event::Woken)?;
        }
        self.rest()?;
        let disk = self.server.journal.disk();
        for device in &self.devices {
            let Some(beside) = &device.beside else { continue };
            let before = beside.go.journal_rows();
            beside.go.open_again();
            if beside.go.journal_rows() != before {
                let sql = format!(
                    "SELECT entity || ' ' || entity_key || ' ' || op || ' of ' || project FROM sync_mutations
                     ORDER BY seq LIMIT -1 OFFSET {before}"
                );
                let what = format!("opening the store of {} queues {:?}", device.name, beside.go.list(&sql));
                return Err(Law::new("peers", what));
            }
            shows(device, &beside.go, &disk)?;
        }
        Ok(())
    }
}

/// Pushes, and writes down which rows the process acknowledged: it does so by their number.
fn push(
    go: &mut GoClient,
    books: &mut Books,
    way: &Way<Routed>,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), Halt> {
    let open = "SELECT CAST(seq AS TEXT) FROM sync_mutations WHERE acked_at IS NULL";
    let before: BTreeSet<String> = go.list(open).into_iter().collect();
    let done = runtime.block_on(go.push(way));
    let after: BTreeSet<String> = go.list(open).into_iter().collect();
    books.taken_by_peer(before.difference(&after).filter_map(|seq| seq.parse().ok()));
    done
}

/// The tables show the live memories and prompts that the cloud holds, and no others.
fn shows(device: &Device, go: &GoClient, disk: &Disk) -> Result<(), Law> {
    let mut held = BTreeSet::new();
    for row in disk.heads() {
        let text = match &row.version {
            Some(Version::Observation(version)) => version.body.0.as_ref().map(|body| body.title.clone()),
            Some(Version::Prompt(version)) if !version.key.deleted => version.content.0.clone(),
            _ => None,
        };
        if let Some(text) = text.filter(|_| !is_parked(&device.store, &row.name.project, &row.name.key)) {
            held.insert(format!("{} {} {text}", row.name.project, row.name.key));
        }
    }
    let shown = go.list(
        "SELECT project || ' ' || sync_id || ' ' || title FROM observations WHERE deleted_at IS NULL
         UNION ALL SELECT project || ' ' || sync_id || ' ' || content FROM user_prompts",
    );
    let mut shown: BTreeSet<String> = shown.into_iter().collect();
    let of = |line: &str| line.splitn(3, ' ').take(2).map(str::to_owned).collect::<Vec<_>>();
    let speaks: BTreeSet<_> = shown.intersection(&held).map(|line| of(line)).collect();
    shown.retain(|line| held.contains(line) || !excuses::a_copy_that_does_not_speak(&speaks, &of(line)));
    if shown == held {
        return Ok(());
    }
    let (only_there, only_here): (Vec<_>, Vec<_>) =
        (held.difference(&shown).collect(), shown.difference(&held).collect());
    let key = only_there.iter().chain(&only_here).next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let what = format!(
        "the tables of {} show {only_here:?}, and the cloud holds {only_there:?}\n{}",
        device.name,
        super::laws::books_of(device, key)
    );
    Err(Law::new("CONV-1", what))
}
