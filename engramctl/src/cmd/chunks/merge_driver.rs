//! `engramctl chunks merge-driver`: what git runs to merge two manifests, or two files of one chunk. It asks nobody.

use super::Skipped;
use crate::chunks::listing::Listing;
use crate::chunks::place::{CHUNK_BYTES_MAX, MANIFEST_BYTES_MAX, SUFFIX};
use crate::chunks::read;
use crate::exit::CtlError;
use crate::out::Out;
use crate::render::text::clean_line;
use clap::Args;
use engram_proto::chunk::ChunkId;
use engram_proto::reason::Exit;
use engram_proto::words::quoted;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl chunks init        registers it; git runs it from then on
  git config merge.engram.driver \\
    'engramctl chunks merge-driver %O %A %B %P'

Unites two manifests: entries of both sides are kept, what one side took away
stays away. The result takes the place of OURS.

Exits 0 when it does, also where entries were left out that are no ids of
chunks; each is named on standard error, for git takes any other exit as a
conflict.";

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

/// How a merge went.
#[derive(Debug, Serialize)]
struct Merged {
    /// `united` of manifests; `ours` or `theirs` of chunks, one of which is as it should be.
    outcome: &'static str,
    /// The file, as git knows it.
    path: Option<String>,
    /// Chunks that the manifest lists.
    chunks: usize,
    /// What is no id of a chunk, and was left out.
    skipped: Vec<Skipped>,
}

/// Merges. Git says which files it merges, so that people only hear of what was left out.
pub(crate) fn run(args: MergeDriverArgs, out: &mut Out) -> Result<Exit, CtlError> {
    let path = args.path.as_deref().unwrap_or_default();
    let merged = match chunk_of(path) {
        Some(id) => chunk(&id, &quoted(path), &args),
        None => manifest(&args),
    };
    let merged = Merged { path: args.path, ..merged? };
    for Skipped { chunk, reason } in &merged.skipped {
        out.note(&format!("skipped {}: {reason}", clean_line(chunk)));
    }
    if out.json {
        out.value(&merged)?;
    }
    Ok(Exit::Done)
}

impl Merged {
    fn is(outcome: &'static str) -> Self {
        Self { outcome, path: None, chunks: 0, skipped: Vec::new() }
    }
}

fn chunk_of(path: &str) -> Option<ChunkId> {
    let name = path.rsplit('/').next()?;
    ChunkId::parse(name.strip_suffix(SUFFIX)?).ok()
}

/// Two files of one chunk differ in how they were packed, or one is damaged.
fn chunk(id: &ChunkId, path: &str, args: &MergeDriverArgs) -> Result<Merged, CtlError> {
    if read::check(id, &bytes(&args.ours, CHUNK_BYTES_MAX)?).is_ok() {
        return Ok(Merged::is("ours"));
    }
    let theirs = bytes(&args.theirs, CHUNK_BYTES_MAX)?;
    if let Err(damage) = read::check(id, &theirs) {
        let message = format!("chunk {id}: on both sides {damage}");
        let hint = format!("take a good copy from an older commit: git log --all -- {path}");
        return Err(CtlError::Place { message, hint });
    }
    std::fs::write(&args.ours, theirs).map_err(|error| not_given(&args.ours, &error))?;
    Ok(Merged::is("theirs"))
}

fn manifest(args: &MergeDriverArgs) -> Result<Merged, CtlError> {
    let [base, ours, theirs] = [&args.base, &args.ours, &args.theirs].map(|path| bytes(path, MANIFEST_BYTES_MAX));
    let (base, ours, theirs) = (base?, Listing::read(ours?), Listing::read(theirs?));
    // Where both sides made the file, git gives an empty ancestor.
    let base = if base.is_empty() { Listing::default() } else { Listing::read(base) };
    let united = Listing::unite(&base, &ours, &theirs).entries;
    std::fs::write(&args.ours, united.write()).map_err(|error| not_given(&args.ours, &error))?;
    let refused: BTreeSet<&String> = ours.refused.iter().chain(&theirs.refused).collect();
    let skipped = refused.into_iter().map(|id| Skipped::new(id, "it is no id of a chunk; it was left out")).collect();
    Ok(Merged { chunks: united.len(), skipped, ..Merged::is("united") })
}

fn bytes(path: &Path, bytes_max: usize) -> Result<Vec<u8>, CtlError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() <= bytes_max => Ok(bytes),
        Ok(_) => Err(not_given(path, &std::io::Error::other(format!("it is larger than {bytes_max} bytes")))),
        Err(error) => Err(not_given(path, &error)),
    }
}

/// Says which file cannot be used. Git gives them, where it is registered as it should be.
fn not_given(path: &Path, error: &std::io::Error) -> CtlError {
    let message = format!("{} cannot be used: {error}", path.display());
    CtlError::Place { message, hint: "engramctl chunks init".to_owned() }
}
