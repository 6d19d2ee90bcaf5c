//! `engramctl chunks init`: prepares a repository, and every clone of it, once.

use crate::chunks::git::{ATTRIBUTES, WorkTree};
use crate::chunks::place::{CHUNKS, MANIFEST, NAME, Place, file_name};
use crate::exit::CtlError;
use crate::out::Out;
use crate::project::working_directory;
use crate::render::chunks as render;
use engram_proto::chunk::ChunkId;
use engram_proto::reason::Exit;
use serde::Serialize;
use std::path::Path;

pub(crate) const EXAMPLES: &str = "\
Examples:
  engramctl chunks init                once in every clone
  git add .gitattributes .engram && git commit -m 'Share memory'

Makes .engram, writes two lines into .gitattributes and registers the merge
driver inside of .git, so that two people's exports merge by themselves. Git
takes no driver from a repository: whoever clones it runs this once. Without it
nothing is lost: the next export makes the manifest again.

Exits 0 when all is ready, 5 when a rule of .gitignore hides the files from git.";

/// What is prepared.
#[derive(Debug, Serialize)]
pub(crate) struct Prepared {
    /// The top of the work tree.
    pub(crate) repository: String,
    /// The directory for the chunks.
    pub(crate) dir: String,
    /// Whether `.gitattributes` was changed.
    pub(crate) attributes_written: bool,
    /// What to commit, as git knows it; empty where nothing is new.
    pub(crate) commit: Vec<String>,
    /// A file that git will pass over, by a rule of somebody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ignored: Option<String>,
    /// Whether the working directory is the top, so that paths of git's can be given to it as they are.
    #[serde(skip)]
    pub(crate) is_at_root: bool,
}

/// Prepares it.
pub(crate) fn run(data_dir: Option<&Path>, dir: Option<&Path>, out: &mut Out) -> Result<Exit, CtlError> {
    let working = working_directory()?;
    let tree = WorkTree::around(dir.and_then(|dir| dir.canonicalize().ok()).as_deref().unwrap_or(&working))?;
    let mut place = Place::find(data_dir, dir, &working)?;
    if dir.is_none() && !place.path().starts_with(tree.root()) || place.must_exist().is_err() && dir.is_none() {
        place = Place::find(data_dir, Some(&tree.root().join(NAME)), &working)?;
    }
    let attributes_written = tree.add_attributes(place.path())?;
    place.make()?;
    tree.register_driver(place.path())?;
    let inside = place.path().strip_prefix(tree.root()).unwrap_or(place.path());
    let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
    let attributes = Path::new(ATTRIBUTES);
    let example = ChunkId::of_bytes(b"");
    let ignored =
        tree.ignored(&[attributes, &inside.join(MANIFEST), &inside.join(CHUNKS).join(file_name(&example))])?;
    let has_news = ignored.is_none() && tree.has_news(&[attributes, inside])?;
    let commit = [attributes, inside].map(|path| path.display().to_string());
    let prepared = Prepared {
        repository: tree.root().display().to_string(),
        dir: place.name(),
        attributes_written,
        commit: if has_news { commit.to_vec() } else { Vec::new() },
        ignored: ignored.map(|path| path.display().to_string()),
        is_at_root: working == tree.root(),
    };
    out.answer(&prepared, |view| render::prepared(&prepared, view))?;
    Ok(if prepared.ignored.is_none() { Exit::Done } else { Exit::Partial })
}
