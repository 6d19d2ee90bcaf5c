//! `engramctl chunks watch`: imports when git brings new chunks.

use super::{Skipped, import};
use crate::chunks::changes::Changes;
use crate::chunks::place::Place;
use crate::cli::Globals;
use crate::clock;
use crate::exit::CtlError;
use crate::out::Out;
use crate::project::working_directory;
use clap::Args;
use engram_proto::chunk::ChunkId;
use engram_proto::reason::Exit;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl chunks watch ~/src/app ~/src/site
  engramctl chunks watch . --json

Imports once, then whenever the chunks of one of the working copies change,
until it is stopped (Ctrl-C or SIGTERM, which is exit code 0). What cannot be
read is named once and tried again. It never exports: that makes files that
someone commits.";

/// How often the directories are looked at while one of them is young, or cannot be read, or changes unheard.
const PAUSE: Duration = Duration::from_secs(1);

/// How often they are looked at otherwise, besides at each change: not every file system tells of what others do to it.
const NET: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Working copies, or their .engram
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

/// One directory, and what was said of it.
#[derive(Default)]
struct Watched {
    path: PathBuf,
    /// Whether others are watched too, so that what is said names it.
    is_of_many: bool,
    /// Whether its changes are heard of.
    is_heard: bool,
    /// How it was when all of it was read that could be.
    seen: Option<String>,
    /// The files that could not be: the one place where something may change without another name.
    damaged: Vec<ChunkId>,
    /// What was passed over the last time: a broken chunk is named once.
    skipped: Vec<Skipped>,
    /// Why it could not be read the last time; that is said once too.
    failed: Option<String>,
}

/// Watches, until it is stopped or nobody reads what it says.
pub(crate) async fn run(globals: &Globals, args: WatchArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let working = working_directory()?;
    let is_of_many = args.paths.len() > 1;
    let watched = |path| Watched { path: working.join(path), is_of_many, ..Watched::default() };
    let mut all: Vec<_> = args.paths.iter().map(watched).collect();
    let mut interrupted = signal(SignalKind::interrupt()).map_err(CtlError::Runtime)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(CtlError::Runtime)?;
    // Whatever it is cut off in is done again the next time.
    tokio::select! {
        ended = watch(globals, &working, &mut all, out) => ended.map(|()| Exit::Done),
        _ = interrupted.recv() => Ok(Exit::Done),
        _ = terminated.recv() => Ok(Exit::Done),
    }
}

async fn watch(globals: &Globals, working: &Path, all: &mut [Watched], out: &mut Out) -> Result<(), CtlError> {
    let mut changes = Changes::new();
    loop {
        for one in &mut *all {
            match one.look(globals, working, &mut changes, out).await {
                Err(error @ CtlError::Output(_)) => return Err(error),
                // It may be back the next time.
                Err(error) => one.fails(&error, out),
                Ok(()) => one.failed = None,
            }
        }
        if out.closed() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
        if all.iter().all(Watched::is_settled) {
            // Whichever comes first.
            let _ = tokio::time::timeout(NET, changes.next()).await;
        }
    }
}

impl Watched {
    /// Imports, unless nothing changed since everything was read.
    async fn look(
        &mut self,
        globals: &Globals,
        working: &Path,
        changes: &mut Changes,
        out: &mut Out,
    ) -> Result<(), CtlError> {
        let place = Place::find(globals.data_dir().as_deref(), Some(&self.path), working)?;
        place.must_exist()?;
        // Before it is looked at: what changes after that is heard of.
        self.is_heard = changes.listen(place.path());
        let begun_ns = clock::unix_ns();
        let stamp = place.stamp(begun_ns);
        let now = self.with_damaged(stamp.clone(), &place, begun_ns);
        if now.is_some() && now == self.seen {
            return Ok(());
        }
        let imported = import::import(globals, &place, out).await;
        out.progress("");
        let imported = imported?;
        let named = imported.skipped.iter().filter_map(|skipped| ChunkId::parse(&skipped.chunk).ok());
        // One that is missing comes as another name in the directory.
        self.damaged = named.filter(|id| place.state(id, begun_ns).is_some()).collect();
        // What changed since this began is too young to be told apart.
        self.seen = self.with_damaged(stamp, &place, begun_ns);
        if imported.chunks > 0 || imported.skipped != self.skipped {
            import::finish(&imported, self.is_of_many, out)?;
        }
        self.skipped = imported.skipped;
        Ok(())
    }

    /// Adds the states of the damaged files to the stamp of a place; nothing where one of them may change unseen.
    fn with_damaged(&self, stamp: Option<String>, place: &Place, now_unix_ns: i128) -> Option<String> {
        self.damaged.iter().try_fold(stamp?, |all, id| {
            let state = place.state(id, now_unix_ns).filter(|state| state.has_rested)?;
            Some(format!("{all} {}", state.stamp))
        })
    }

    /// Tells whether there is nothing to do before something is heard.
    fn is_settled(&self) -> bool {
        self.is_heard && self.seen.is_some()
    }

    fn fails(&mut self, error: &CtlError, out: &Out) {
        self.seen = None;
        let words = error.to_string();
        if self.failed.as_ref() != Some(&words) {
            out.failure_of_many(error);
        }
        self.failed = Some(words);
    }
}
