//! A disk that fails, stops or loses power at a step of the test's choice.
//!
//! It stands where every durable step of both programs passes: between SQLite and the files below one directory. The
//! programs know nothing of it: who links them opens SQLite's files through it by default ([`vfs`]). For what they keep
//! beside SQLite (`cloud.json`, a server's secrets, the name of a backup) a test may stand in the place of the C
//! library, and ask [`beside`] for each step; of that a power cut takes nothing back.

mod change;
mod vfs;

use change::Change;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What SQLite asks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write,
    /// What was written is to survive a power cut.
    Sync,
    /// The file ends earlier.
    Truncate,
    /// The file goes.
    Delete,
    /// A file that is whole takes this name.
    Rename,
}

impl Step {
    /// All that change a file.
    pub const DURABLE: &[Self] = &[Self::Write, Self::Sync, Self::Truncate, Self::Delete, Self::Rename];

    /// Reads the name of one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Sync, Self::Truncate, Self::Delete, Self::Rename]
            .into_iter()
            .find(|step| format!("{step:?}").eq_ignore_ascii_case(name))
    }
}

/// What becomes of the step that a plan names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It fails, and those after it work again.
    Fails,
    /// It fails, and every later one that counts, until [`Disk::make_room`].
    Breaks,
    /// From here on there is no room, until [`Disk::make_room`].
    Full,
    /// Neither it nor anything after it happens: the process died.
    Stops,
    /// This very process is killed before it.
    KilledBefore,
    /// This very process is killed after it.
    KilledAfter,
}

/// Which step, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How the file's name ends; empty for all.
    pub file: String,
    /// Which steps count.
    pub steps: Vec<Step>,
    /// Which of them, from 1.
    pub nth: u64,
    /// What becomes of it.
    pub fate: Fate,
}

impl Plan {
    /// Plans a fate for the n-th step that changes any file.
    #[must_use]
    pub fn nth(nth: u64, fate: Fate) -> Self {
        Self { file: String::new(), steps: Step::DURABLE.to_vec(), nth, fate }
    }

    fn counts(&self, path: &Path, step: Step) -> bool {
        self.steps.contains(&step) && path.as_os_str().to_string_lossy().ends_with(&self.file)
    }
}

/// A failpoint as `FILE STEP N before|after`, as the environment of a child names it.
impl std::str::FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split(' ').collect();
        let [file, step, nth, when] = words[..] else { return Err(format!("{text:?} has not four words")) };
        let step = Step::parse(step).ok_or_else(|| format!("{step:?} is no step"))?;
        let nth = nth.parse().map_err(|_| format!("{nth:?} is no number"))?;
        let fate = if when == "before" { Fate::KilledBefore } else { Fate::KilledAfter };
        Ok(Self { file: file.to_owned(), steps: vec![step], nth, fate })
    }
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    seen: u64,
    met: Option<String>,
    stopped: bool,
    full: bool,
    broken: bool,
    unsynced: BTreeMap<PathBuf, Vec<Change>>,
}

/// What the file below SQLite is told to do.
enum Verdict {
    Go,
    GoAndDie,
    Refuse(std::ffi::c_int),
}

impl State {
    fn before(&mut self, path: &Path, step: Step) -> Verdict {
        use rusqlite::ffi;
        if let Some(plan) = self.plan.as_ref().filter(|plan| plan.counts(path, step)) {
            self.seen += 1;
            if self.seen == plan.nth {
                self.met = Some(format!("{step:?} of {}", path.display()));
                match plan.fate {
                    Fate::Fails => return Verdict::Refuse(ffi::SQLITE_IOERR),
                    Fate::Breaks => self.broken = true,
                    Fate::Full => self.full = true,
                    Fate::Stops => self.stopped = true,
                    Fate::KilledBefore => die(),
                    Fate::KilledAfter => return Verdict::GoAndDie,
                }
            }
        }
        let is_broken = self.broken && self.plan.as_ref().is_some_and(|plan| plan.counts(path, step));
        if self.stopped || is_broken {
            return Verdict::Refuse(ffi::SQLITE_IOERR);
        }
        if self.full && step == Step::Write {
            return Verdict::Refuse(ffi::SQLITE_FULL);
        }
        Verdict::Go
    }
}

/// Ends this process as a power cut or the kernel would.
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

/// The watched directories of this process.
static WATCHED: Mutex<Vec<(PathBuf, Arc<Mutex<State>>)>> = Mutex::new(Vec::new());

fn state_of(path: &Path) -> Option<Arc<Mutex<State>>> {
    let watched = WATCHED.lock().expect("no panic");
    watched.iter().find(|(dir, _)| path.starts_with(dir)).map(|(_, state)| Arc::clone(state))
}

/// Takes a step that goes by SQLite, unless it is to fail. A sync is not passed on, as SQLite's are not.
///
/// # Errors
/// What the step says, or that it failed.
///
/// # Panics
/// Never: nobody panics while he holds the state.
pub fn beside(path: &Path, step: Step, take: impl FnOnce() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    let Some(state) = state_of(path) else { return take() };
    let verdict = state.lock().expect("no panic").before(path, step);
    let take = || if step == Step::Sync { Ok(()) } else { take() };
    match verdict {
        Verdict::Go => take(),
        Verdict::Refuse(_) => Err(rustix::io::Errno::IO),
        Verdict::GoAndDie => {
            let _ = take();
            die()
        }
    }
}

/// Every SQLite file below one directory, opened by this process after this value was made.
pub struct Disk {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Disk {
    /// Watches a directory until the value ends; nothing fails yet.
    ///
    /// # Panics
    /// Where the directory is not there.
    #[must_use]
    pub fn watch(dir: &Path) -> Self {
        vfs::register();
        let dir = dir.canonicalize().expect("a directory");
        let state = Arc::<Mutex<State>>::default();
        WATCHED.lock().expect("no panic").push((dir.clone(), Arc::clone(&state)));
        Self { dir, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Plans what becomes of a later step; counting begins now.
    pub fn plan(&self, plan: Plan) {
        let mut state = self.state();
        state.plan = Some(plan);
        (state.seen, state.met) = (0, None);
    }

    /// Tells whether the planned step has come.
    #[must_use]
    pub fn met(&self) -> bool {
        self.state().met.is_some()
    }

    /// Names the step that has come.
    #[must_use]
    pub fn what(&self) -> String {
        self.state().met.clone().unwrap_or_default()
    }

    /// Ends a full or broken disk.
    pub fn make_room(&self) {
        let mut state = self.state();
        (state.full, state.broken) = (false, false);
    }

    /// Undoes what was not synced, but for a part drawn by `random` that had reached the disk all the same, in whole or
    /// up to a sector: a power cut. To be called when nobody has a file open any more.
    ///
    /// # Panics
    /// Where the files cannot be written.
    pub fn lose_power(&self, random: &mut impl FnMut() -> u64) {
        for (path, changes) in std::mem::take(&mut self.state().unsynced) {
            change::undo(&path, &changes);
            change::redo_some(&path, &changes, random);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        WATCHED.lock().expect("no panic").retain(|(dir, _)| *dir != self.dir);
    }
}
