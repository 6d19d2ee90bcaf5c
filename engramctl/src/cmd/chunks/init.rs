//! `engramctl chunks init`: prepares a repository, and every clone of it, once.

use crate::chunks::git::WorkTree;
use crate::chunks::place::{NAME, Place};
use crate::exit::CtlError;
use crate::out::Out;
use crate::project::working_directory;
use crate::render::chunks as render;
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
nothing is lost: the next export makes the manifest again.";

/// What is prepared.
#[derive(Debug, Serialize)]
pub(crate) struct Prepared {
    /// The top of the work tree.
    pub(crate) repository: String,
    /// The directory for the chunks.
    pub(crate) dir: String,
    /// Whether `.gitattributes` was changed.
    pub(crate) attributes_written: bool,
    /// What to commit.
    pub(crate) commit: Vec<String>,
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
    let prepared = Prepared {
        repository: tree.root().display().to_string(),
        dir: place.name(),
        attributes_written,
        commit: vec![".gitattributes".to_owned(), inside.display().to_string()],
    };
    out.answer(&prepared, |view| render::prepared(&prepared, view))?;
    Ok(Exit::Done)
}
