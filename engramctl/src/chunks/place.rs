//! The directory that holds manifest and chunks: which one is meant, and what lies in it.

use super::data_dir;
use super::files::{self, Fault};
use super::listing::Listing;
use super::unusable::unusable;
use crate::exit::CtlError;
use engram_proto::chunk::ChunkId;
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory's name where none is given.
pub(crate) const NAME: &str = ".engram";
/// The table of contents.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Where the chunks are.
pub(crate) const CHUNKS: &str = "chunks";
/// What follows an id in the name of a file.
pub(crate) const SUFFIX: &str = ".jsonl.gz";

/// A manifest is no larger, in bytes: about 100,000 chunks.
const MANIFEST_BYTES_MAX: usize = 16 << 20;
/// A chunk's file is no larger, in bytes; hosts of repositories refuse files not much beyond.
const CHUNK_BYTES_MAX: usize = 64 << 20;

/// Two changes so far apart, in nanoseconds, have two times on every file system; the coarsest counts in 2 s.
const TOLD_APART_NS: i128 = 2_500_000_000;

/// How long another export is waited for, and how often it is looked at.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A directory that holds manifest and chunks, or will.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    dir: Option<OwnedFd>,
}

/// What lies at a place.
#[derive(Debug)]
pub(crate) struct Contents {
    /// What the manifest says.
    pub(crate) listing: Listing,
    /// The chunks whose files are there.
    pub(crate) files: BTreeSet<ChunkId>,
}

impl Contents {
    /// Tells whether the manifest lists just what lies there.
    pub(crate) fn is_listed(&self) -> bool {
        let listing = &self.listing;
        listing.broken.is_none() && listing.refused.is_empty() && listing.entries.keys().eq(&self.files)
    }
}

impl Place {
    /// Finds the place: the one that is given, else `.engram` of the working directory or of its nearest parent that has
    /// one; where there is none, the working directory's, which need not be there. The daemon's own directory is passed
    /// over, and refused where it is named or nothing else is left.
    pub(crate) fn find(data_dir: Option<&Path>, given: Option<&Path>, working: &Path) -> Result<Self, CtlError> {
        let path = match given {
            Some(given) => Self::given(given)?,
            None => {
                let mut near = working.ancestors().map(|above| above.join(NAME));
                // A link is named and not passed over.
                let there = |path: &PathBuf| path.symlink_metadata().is_ok() && !data_dir::is_one(path, data_dir);
                near.find(there).unwrap_or_else(|| working.join(NAME))
            }
        };
        if data_dir::is_one(&path, data_dir) { Err(data_dir::refused(&path)) } else { Self::open(path) }
    }

    /// Takes the directory that is named, or the `.engram` of a repository that is named.
    fn given(given: &Path) -> Result<PathBuf, CtlError> {
        let path = match given.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::path::absolute(given).map_err(|error| unusable(given, &error.into()))?
            }
            Err(error) => return Err(unusable(given, &error.into())),
        };
        let holds_one = path.join(NAME).symlink_metadata().is_ok() || path.join(".git").exists();
        let is_one = path.join(MANIFEST).exists() || path.join(CHUNKS).exists();
        Ok(if holds_one && !is_one { path.join(NAME) } else { path })
    }

    fn open(path: PathBuf) -> Result<Self, CtlError> {
        match files::open_dir(&path) {
            Ok(dir) => Ok(Self { path, dir: Some(dir) }),
            Err(Fault::Missing) => Ok(Self { path, dir: None }),
            Err(fault) => Err(unusable(&path, &fault)),
        }
    }

    /// Returns its absolute path, by which the daemon knows it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the same as text.
    pub(crate) fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Fails where there is no such directory: whoever only reads has named the wrong one.
    pub(crate) fn must_exist(&self) -> Result<(), CtlError> {
        if self.dir.is_some() {
            return Ok(());
        }
        let message = format!("there are no chunks: {} does not exist", self.path.display());
        Err(CtlError::NoChunks { message })
    }

    /// Makes the directory, with the one for the chunks.
    pub(crate) fn make(&mut self) -> Result<(), CtlError> {
        if self.dir.is_none() {
            std::fs::create_dir_all(&self.path).map_err(|error| unusable(&self.path, &error.into()))?;
            self.dir = Some(files::open_dir(&self.path).map_err(|fault| unusable(&self.path, &fault))?);
        }
        let made = files::make_dir_at(self.dir()?, CHUNKS);
        made.map(drop).map_err(|fault| unusable(&self.path.join(CHUNKS), &fault))
    }

    /// Returns what tells this state of the directory from any other, without reading a list; nothing where that cannot be
    /// told, for the last change is younger than the clock of a file system is coarse.
    pub(crate) fn stamp(&self, now_unix_ns: i128) -> Option<String> {
        let dir = self.dir.as_ref()?;
        let trace = |name| files::trace(dir, name).ok().map(|found| found.unwrap_or_else(|| ("-".to_owned(), 0)));
        let ((manifest, manifest_ns), (chunks, chunks_ns)) = (trace(MANIFEST)?, trace(CHUNKS)?);
        let told_apart = manifest_ns.max(chunks_ns) < now_unix_ns - TOLD_APART_NS;
        told_apart.then(|| format!("{manifest} {chunks}"))
    }

    /// Looks at what lies there.
    pub(crate) fn contents(&self) -> Result<Contents, CtlError> {
        let Some(dir) = &self.dir else {
            return Ok(Contents { listing: Listing::default(), files: BTreeSet::new() });
        };
        let listing = match files::read(dir, MANIFEST, MANIFEST_BYTES_MAX) {
            Ok(bytes) => Listing::read(&bytes),
            Err(Fault::Missing) => Listing::default(),
            Err(fault @ Fault::TooLarge(_)) => Listing::unreadable(fault.to_string()),
            Err(fault) => return Err(unusable(&self.path.join(MANIFEST), &fault)),
        };
        let names = match files::open_dir_at(dir, CHUNKS).and_then(files::names) {
            Ok(names) => names,
            Err(Fault::Missing) => Vec::new(),
            Err(fault) => return Err(unusable(&self.path.join(CHUNKS), &fault)),
        };
        let ids = names.iter().filter_map(|name| name.strip_suffix(SUFFIX)).filter_map(|id| ChunkId::parse(id).ok());
        Ok(Contents { listing, files: ids.collect() })
    }

    /// Reads a chunk's file, as it is.
    pub(crate) fn read(&self, id: &ChunkId) -> Result<Vec<u8>, Fault> {
        let dir = self.dir.as_ref().ok_or(Fault::Missing)?;
        files::read(files::open_dir_at(dir, CHUNKS)?, &file_name(id), CHUNK_BYTES_MAX)
    }

    /// Writes a chunk's file. The lock must be held.
    pub(crate) fn write(&self, id: &ChunkId, bytes: &[u8]) -> Result<(), CtlError> {
        let name = file_name(id);
        let written = files::open_dir_at(self.dir()?, CHUNKS).and_then(|chunks| files::write(chunks, &name, bytes));
        written.map_err(|fault| unusable(&self.path.join(CHUNKS).join(name), &fault))
    }

    /// Writes the manifest. The lock must be held.
    pub(crate) fn write_manifest(&self, text: &str) -> Result<(), CtlError> {
        let written = files::write(self.dir()?, MANIFEST, text.as_bytes());
        written.map_err(|fault| unusable(&self.path.join(MANIFEST), &fault))
    }

    /// Keeps other exports away until the value is dropped, without leaving a file. Where there is no directory yet,
    /// there is nothing to keep.
    pub(crate) async fn lock(&self) -> Result<Option<OwnedFd>, CtlError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        // A lock belongs to an opened directory, so this one is opened once more.
        let lock = files::open_dir_at(dir, ".").map_err(|fault| unusable(&self.path, &fault))?;
        for _ in 0..LOCK_TRIES {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(lock)),
                Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(LOCK_PAUSE).await,
                Err(error) => return Err(unusable(&self.path, &error.into())),
            }
        }
        let waited_s = u128::from(LOCK_TRIES) * LOCK_PAUSE.as_millis() / 1_000;
        Err(CtlError::Place {
            message: format!("another export has been writing to {} for {waited_s} s", self.path.display()),
            hint: "wait until it ends, or end it, and run this again".to_owned(),
        })
    }

    fn dir(&self) -> Result<&OwnedFd, CtlError> {
        self.dir.as_ref().ok_or_else(|| unusable(&self.path, &Fault::Missing))
    }
}

/// Returns the name of a chunk's file.
pub(crate) fn file_name(id: &ChunkId) -> String {
    format!("{id}{SUFFIX}")
}
