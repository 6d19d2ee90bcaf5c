//! `engramctl chunks watch`: imports when git brings new chunks.

use super::import;
use crate::chunks::place::{CHUNKS, MANIFEST, Place};
use crate::cli::Globals;
use crate::exit::CtlError;
use crate::out::Out;
use crate::project::working_directory;
use clap::Args;
use engram_proto::reason::Exit;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl chunks watch ~/src/app ~/src/site
  engramctl chunks watch . --json

Imports once, then whenever the chunks of one of the working copies change,
until it is stopped. It never exports: that makes files that someone commits.";

/// How often the directories are looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// Import whenever git brings new chunks
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Working copies, or their .engram
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

/// What tells that files came: the time and the place of each.
type Stamp = Vec<Option<(std::time::SystemTime, u64)>>;

/// Watches, until it is stopped or nobody reads what it says.
pub(crate) async fn run(globals: &Globals, args: WatchArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let working = working_directory()?;
    let mut seen: Vec<Option<Stamp>> = vec![None; args.paths.len()];
    loop {
        for (path, seen) in args.paths.iter().zip(&mut seen) {
            let place = Place::find(Some(&working.join(path)), &working)?;
            let stamp = stamp(place.path());
            if seen.as_ref() == Some(&stamp) || place.must_exist().is_err() {
                continue;
            }
            match import::import(globals, &place, out).await {
                Ok(imported) => {
                    *seen = Some(stamp);
                    out.progress("");
                    if imported.outcome != "nothing" {
                        import::finish(&imported, out)?;
                    }
                }
                // The daemon may be back the next time.
                Err(error) => out.failure_of_many(&error),
            }
        }
        if out.closed() {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn stamp(place: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let of = |path: PathBuf| path.symlink_metadata().ok().and_then(|data| Some((data.modified().ok()?, data.ino())));
    vec![of(place.join(MANIFEST)), of(place.join(CHUNKS))]
}
