//! `engramctl chunks merge-driver`: what git runs to merge two manifests, or two files of one chunk. It asks nobody.

use crate::chunks::listing::Listing;
use crate::chunks::place::SUFFIX;
use crate::chunks::read;
use crate::exit::CtlError;
use crate::out::Out;
use clap::Args;
use engram_proto::chunk::ChunkId;
use engram_proto::reason::Exit;
use std::path::{Path, PathBuf};

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl chunks init        registers it; git runs it from then on
  git config merge.engram.driver \\
    'engramctl chunks merge-driver %O %A %B %P'

Unites two manifests: entries of both sides are kept, what one side took away
stays away. The result takes the place of OURS.";

/// Unite two manifests, for git
#[derive(Debug, Args)]
pub(crate) struct MergeDriverArgs {
    /// The common ancestor's file
    #[arg(value_name = "BASE")]
    base: PathBuf,

    /// Our file, which takes the result
    #[arg(value_name = "OURS")]
    ours: PathBuf,

    /// Their file
    #[arg(value_name = "THEIRS")]
    theirs: PathBuf,

    /// The file's path in the repository
    #[arg(value_name = "PATH")]
    path: Option<String>,
}

/// Merges.
pub(crate) fn run(args: &MergeDriverArgs, _out: &mut Out) -> Result<Exit, CtlError> {
    match args.path.as_deref().and_then(chunk_of) {
        Some(id) => chunk(&id, args),
        None => manifest(args),
    }
}

fn chunk_of(path: &str) -> Option<ChunkId> {
    let name = path.rsplit('/').next()?;
    ChunkId::parse(name.strip_suffix(SUFFIX)?).ok()
}

/// Two files of one chunk differ in how they were packed, or one is damaged.
fn chunk(id: &ChunkId, args: &MergeDriverArgs) -> Result<Exit, CtlError> {
    if read::check(id, &bytes(&args.ours)?).is_ok() {
        return Ok(Exit::Done);
    }
    let theirs = bytes(&args.theirs)?;
    if let Err(damage) = read::check(id, &theirs) {
        return Err(CtlError::Input(format!("chunk {id}: on both sides {damage}")));
    }
    std::fs::write(&args.ours, theirs).map_err(|error| unusable(&args.ours, &error))?;
    Ok(Exit::Done)
}

fn manifest(args: &MergeDriverArgs) -> Result<Exit, CtlError> {
    let (base, ours, theirs) = (bytes(&args.base)?, bytes(&args.ours)?, bytes(&args.theirs)?);
    // Where both sides made the file, git gives an empty ancestor.
    let base = if base.is_empty() { Listing::default() } else { Listing::read(base) };
    let united = Listing::unite(&base, &Listing::read(ours), &Listing::read(theirs));
    std::fs::write(&args.ours, united.entries.write()).map_err(|error| unusable(&args.ours, &error))?;
    Ok(Exit::Done)
}

fn bytes(path: &Path) -> Result<Vec<u8>, CtlError> {
    std::fs::read(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &std::io::Error) -> CtlError {
    CtlError::Place { path: path.display().to_string(), reason: error.to_string() }
}
