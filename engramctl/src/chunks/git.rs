//! What `chunks init` tells git: which driver merges manifest and chunks.

use super::files::{self, Fault};
use crate::exit::CtlError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The driver's name in `.gitattributes` and in git's configuration.
const DRIVER: &str = "engram";
const ATTRIBUTES: &str = ".gitattributes";
/// A `.gitattributes` is no larger, in bytes.
const ATTRIBUTES_BYTES_MAX: usize = 1 << 20;

/// A work tree.
#[derive(Debug)]
pub(crate) struct WorkTree {
    root: PathBuf,
}

impl WorkTree {
    /// Finds the work tree that a directory is in.
    pub(crate) fn around(directory: &Path) -> Result<Self, CtlError> {
        let root = directory.ancestors().find(|above| above.join(".git").exists());
        let root = root.ok_or_else(|| {
            let message = format!("{} is in no git repository", directory.display());
            CtlError::usage(message, "git init, or run it in the repository that shares the memory")
        })?;
        Ok(Self { root: root.to_owned() })
    }

    /// Returns the top of the work tree.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Adds the lines for a place to `.gitattributes`, where they are not there; tells whether it did.
    pub(crate) fn add_attributes(&self, place: &Path) -> Result<bool, CtlError> {
        let inside = place.strip_prefix(&self.root).map_err(|_| {
            let message = format!("{} is not inside of the repository {}", place.display(), self.root.display());
            CtlError::usage(message, "give a directory of the repository with --dir")
        })?;
        let inside = inside.to_string_lossy();
        let wanted = [
            format!("/{inside}/manifest.json merge={DRIVER}"),
            format!("/{inside}/chunks/*.jsonl.gz -text -diff merge={DRIVER}"),
        ];
        let failed = |fault: Fault| CtlError::Place {
            path: self.root.join(ATTRIBUTES).display().to_string(),
            reason: fault.to_string(),
        };
        let root = files::open_dir(&self.root).map_err(failed)?;
        let mut text = match files::read(&root, ATTRIBUTES, ATTRIBUTES_BYTES_MAX) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|error| failed(std::io::Error::other(error).into()))?,
            Err(Fault::Missing) => String::new(),
            Err(fault) => return Err(failed(fault)),
        };
        let missing: Vec<_> =
            wanted.iter().filter(|line| !text.lines().any(|has| has.trim() == line.as_str())).collect();
        if missing.is_empty() {
            return Ok(false);
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        missing.iter().for_each(|line| text.extend([line.as_str(), "\n"]));
        files::write(&root, ATTRIBUTES, text.as_bytes()).map_err(failed)?;
        Ok(true)
    }

    /// Registers the driver for this clone; git takes no such command from a repository, so every clone does it once.
    pub(crate) fn register_driver(&self) -> Result<(), CtlError> {
        let program = std::env::current_exe().map_err(|error| self.failed(&error.to_string()))?;
        let program = program.to_string_lossy().replace('\'', r"'\''");
        let command = format!("'{program}' chunks merge-driver %O %A %B %P");
        self.configure("name", "unites the manifests of engram's chunks")?;
        self.configure("driver", &command)
    }

    fn configure(&self, name: &str, value: &str) -> Result<(), CtlError> {
        let key = format!("merge.{DRIVER}.{name}");
        let mut git = Command::new("git");
        let done = git.arg("-C").arg(&self.root).args(["config", &key, value]).output();
        let done = done.map_err(|error| self.failed(&format!("git cannot be run: {error}")))?;
        if done.status.success() { Ok(()) } else { Err(self.failed(&String::from_utf8_lossy(&done.stderr))) }
    }

    fn failed(&self, why: &str) -> CtlError {
        CtlError::Input(format!("the merge driver of {} was not registered: {}", self.root.display(), why.trim()))
    }
}
