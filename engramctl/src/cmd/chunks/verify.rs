//! `engramctl chunks verify`: reads every file to its end. It asks no daemon, so that a repository's own checks can run
//! it.

use super::Skipped;
use super::import::not_there;
use crate::chunks::place::Place;
use crate::chunks::reading::Reading;
use crate::cli::Globals;
use crate::exit::CtlError;
use crate::out::Out;
use crate::project::working_directory;
use crate::render::chunks as render;
use clap::Args;
use engram_proto::chunk::ChunkId;
use engram_proto::reason::Exit;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl chunks verify
  engramctl chunks verify --dir .engram --json | jq -r '.problems[].chunk'

Unpacks every chunk and compares it with its id, and the manifest with the
files. It needs no daemon. Exits 0 when all is well, 5 when a file is not as it
should be; each is named.";

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The directory with the chunks [default: the nearest .engram, here or above]
    #[arg(long, value_name = "D")]
    dir: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Verified {
    /// `ok` or `partial`.
    pub(crate) outcome: &'static str,
    /// The directory.
    pub(crate) dir: String,
    /// Chunks that are as they should be.
    pub(crate) chunks: u64,
    /// Rows in them.
    pub(crate) rows: u64,
    /// What is not.
    pub(crate) problems: Vec<Skipped>,
    /// Whether a file is missing, or not as its id says.
    #[serde(skip)]
    pub(crate) is_any_lost: bool,
}

/// Checks.
pub(crate) fn run(globals: &Globals, args: &VerifyArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let place = Place::find(globals.data_dir().as_deref(), args.dir.as_deref(), &working_directory()?)?;
    place.must_exist()?;
    let contents = place.contents()?;
    let mut verified = Verified { dir: place.name(), ..Verified::default() };
    if let Some(why) = contents.broken() {
        let is_ours = contents.must_be_ours().is_ok();
        let next =
            if is_ours { "the next export makes it again" } else { "move it away, and the next export makes one" };
        let reason = format!("{why}; {next}");
        verified.problems.push(Skipped::new("manifest.json", reason));
    }
    let missing = not_there(&contents);
    verified.is_any_lost = !missing.is_empty();
    verified.problems.extend(missing);
    let unlisted: BTreeSet<&str> = contents.unlisted().collect();
    let ids = contents.files.iter().filter_map(|id| ChunkId::parse(id).ok());
    let reading = Reading::at(&place)?;
    for (done, id) in ids.enumerate() {
        let before = verified.rows;
        let shows = |rows| out.progress(&render::progress(done, contents.files.len(), before + rows));
        shows(0);
        match reading.checked_aloud(&id, &mut |rows| shows(rows)) {
            Ok(found) => {
                verified.chunks += 1;
                verified.rows += found.checked.rows.iter().sum::<u64>();
                if unlisted.contains(id.as_str()) && contents.broken().is_none() {
                    let reason = "the manifest does not list it; the next export does";
                    verified.problems.push(Skipped::new(id, reason));
                }
            }
            Err(reason) => {
                verified.is_any_lost = true;
                verified.problems.push(Skipped::new(id, reason));
            }
        }
    }
    out.progress("");
    verified.outcome = if verified.problems.is_empty() { "ok" } else { "partial" };
    out.answer(&verified, |view| render::verified(&verified, view))?;
    Ok(if verified.problems.is_empty() { Exit::Done } else { Exit::Partial })
}
