//! The directory that holds manifest and chunks: which one is meant, and what lies in it.

use super::data_dir;
use super::entries::Entries;
use super::files::{self, Fault};
use super::form::BEFORE;
use super::ids::Ids;
use super::listing::Listing;
use super::named;
use super::scan::Scan;
use super::unusable::unusable;
use crate::exit::CtlError;
use engram_proto::chunk::ChunkId;
use rustix::fs::{FlockOperation, flock};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// The directory's name where none is given.
pub(crate) const NAME: &str = ".engram";
/// The table of contents.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Where the chunks are.
pub(crate) const CHUNKS: &str = "chunks";
/// What follows an id in the name of a file.
pub(crate) const SUFFIX: &str = ".jsonl.gz";

/// The Go program's file that names a project, and how large it may be, in bytes.
const CONFIG: &str = "config.json";
const CONFIG_BYTES_MAX: usize = 64 << 10;

/// A manifest is no larger, in bytes: what as many entries need as it may have.
pub(crate) const MANIFEST_BYTES_MAX: usize = 16 << 20;
/// A chunk's file is no larger, in bytes; hosts of repositories refuse files not much beyond.
pub(crate) const CHUNK_BYTES_MAX: usize = 64 << 20;

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

/// What a chunk's file is known by as long as nobody touches it.
#[derive(Debug)]
pub(crate) struct FileState {
    /// Another one after every change, and for every version of this program, which may know more than the last one.
    pub(crate) stamp: String,
    /// Whether the next change will have another time than the last one had.
    pub(crate) has_rested: bool,
}

/// A directory that is flushed meanwhile.
pub(crate) type Flushing = JoinHandle<Result<(), Fault>>;

/// What lies at a place.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The chunks whose files are there.
    pub(crate) files: Ids,
    place: Place,
    scan: Scan,
    /// What the manifest says, unless it just lists what lies there, and more was not asked.
    read: Option<Listing>,
}

impl Contents {
    /// Tells whether the manifest lists just what lies there.
    pub(crate) fn is_listed(&self) -> bool {
        self.unlike().is_none_or(|listing| {
            listing.broken.is_none() && listing.refused.is_empty() && listing.entries.ids().eq(self.files.iter())
        })
    }

    /// Returns what the manifest says where that may be something else than what lies there.
    pub(crate) fn unlike(&self) -> Option<&Listing> {
        self.read.as_ref()
    }

    /// Lists the chunks that are there and in no list.
    pub(crate) fn unlisted(&self) -> impl Iterator<Item = &str> {
        let is_unlisted = |id: &&str| self.unlike().is_some_and(|listing| !listing.entries.has(id));
        self.files.iter().filter(is_unlisted)
    }

    /// Fails where a manifest that has to be written again is something else of that name.
    pub(crate) fn must_be_ours(&self) -> Result<(), CtlError> {
        match self.unlike() {
            Some(listing) if listing.is_another => Err(unusable(&self.place.path.join(MANIFEST), &Fault::NotOurs)),
            _ => Ok(()),
        }
    }

    /// Says why the manifest has to be written again, if it has.
    pub(crate) fn broken(&self) -> Option<&String> {
        self.unlike()?.broken.as_ref()
    }

    /// Returns when a chunk was made, in the words of the manifest.
    pub(crate) fn created_at(&self, id: &str) -> Option<String> {
        match &self.read {
            Some(listing) => listing.entries.created_at(id).map(str::to_owned),
            None => self.scan.created_at(id),
        }
    }

    /// Returns all that the manifest says; it is read now where that was not needed before.
    pub(crate) fn listing(&mut self) -> Result<&mut Listing, CtlError> {
        let listing = match self.read.take() {
            Some(listing) => listing,
            None => self.place.listing()?,
        };
        Ok(self.read.insert(listing))
    }
}

impl Place {
    /// Finds the place: the one that is given, else `.engram` of the working directory or of its nearest parent that has
    /// one; where there is none, the working directory's, which need not be there. The daemon's own directory is passed
    /// over, and refused where it is named or nothing else is left; so is one that holds other things.
    pub(crate) fn find(data_dir: Option<&Path>, given: Option<&Path>, working: &Path) -> Result<Self, CtlError> {
        let path = match given {
            Some(given) => named::meant(given)?,
            None => {
                let mut near = working.ancestors().map(|above| above.join(NAME));
                // A link is named and not passed over.
                let there = |path: &PathBuf| path.symlink_metadata().is_ok() && !data_dir::is_one(path, data_dir);
                near.find(there).unwrap_or_else(|| working.join(NAME))
            }
        };
        if data_dir::is_one(&path, data_dir) {
            return Err(data_dir::refused(&path));
        }
        let place = Self::open(path)?;
        named::must_be_for_chunks(&place)?;
        Ok(place)
    }

    fn open(path: PathBuf) -> Result<Self, CtlError> {
        match files::open_dir(&path) {
            Ok(dir) => Ok(Self { path, dir: Some(dir) }),
            Err(Fault::Missing) => Ok(Self { path, dir: None }),
            Err(fault) => Err(unusable(&path, &fault)),
        }
    }

    /// Opens it once more, for somebody who reads meanwhile.
    pub(crate) fn again(&self) -> Result<Self, CtlError> {
        let dir = self.dir.as_ref().map(OwnedFd::try_clone).transpose();
        let dir = dir.map_err(|error| unusable(&self.path, &error.into()))?;
        Ok(Self { path: self.path.clone(), dir })
    }

    /// Returns its absolute path, by which the daemon knows it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory, if it is there.
    pub(super) fn opened(&self) -> Option<&OwnedFd> {
        self.dir.as_ref()
    }

    /// Returns its path as text.
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

    /// Returns what tells this state of a chunk's file from any other, without reading it; nothing where it cannot be told.
    pub(crate) fn state(&self, id: &ChunkId, now_unix_ns: i128) -> Option<FileState> {
        let chunks = files::open_dir_at(self.dir.as_ref()?, CHUNKS).ok()?;
        let (trace, changed_ns) = files::trace(chunks, &file_name(id)).ok()??;
        let stamp = format!("{} {trace}", engram_proto::VERSION);
        Some(FileState { stamp, has_rested: changed_ns < now_unix_ns - TOLD_APART_NS })
    }

    /// Lists the chunks whose files are there.
    pub(crate) fn files(&self) -> Result<Ids, CtlError> {
        let Some(dir) = &self.dir else { return Ok(Ids::default()) };
        let found = Ids::gather(|put| match files::open_dir_at(dir, CHUNKS) {
            Ok(chunks) => files::names(chunks, |name| {
                let id = name.strip_suffix(SUFFIX.as_bytes()).filter(|id| ChunkId::is_one(id));
                if let Some(id) = id.and_then(|id| std::str::from_utf8(id).ok()) {
                    put(id);
                }
            }),
            Err(Fault::Missing) => Ok(()),
            Err(fault) => Err(fault),
        });
        found.map_err(|fault| unusable(&self.path.join(CHUNKS), &fault))
    }

    /// Looks at what lies there.
    pub(crate) fn contents(&self) -> Result<Contents, CtlError> {
        self.listed(self.files()?)
    }

    /// Looks at how the files that are there are listed.
    pub(crate) fn listed(&self, files: Ids) -> Result<Contents, CtlError> {
        match self.scan()?.filter(|scan| scan.lists(&files)) {
            Some(scan) => Ok(Contents { files, place: self.again()?, scan, read: None }),
            None => self.read_with(files),
        }
    }

    /// Looks at what lies there where the list is to be written again: all that it says is read at once.
    pub(crate) fn contents_to_add_to(&self) -> Result<Contents, CtlError> {
        self.read_with(self.files()?)
    }

    fn read_with(&self, files: Ids) -> Result<Contents, CtlError> {
        Ok(Contents { files, place: self.again()?, scan: Scan::default(), read: Some(self.listing()?) })
    }

    fn scan(&self) -> Result<Option<Scan>, CtlError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let scan = files::open(dir, MANIFEST).and_then(|file| {
            // One that is longer ends in the middle here, and has another form.
            Ok(Scan::read(std::io::Read::take(file, MANIFEST_BYTES_MAX as u64))?)
        });
        match scan {
            Err(Fault::Missing) => Ok(None),
            scan => scan.map_err(|fault| unusable(&self.path.join(MANIFEST), &fault)),
        }
    }

    /// Tells whether the manifest begins as both programs write it; no more of it is read.
    pub(super) fn begins_as_ours(&self) -> bool {
        let mut begin = [0; BEFORE.len()];
        let manifest = self.dir.as_ref().and_then(|dir| files::open(dir, MANIFEST).ok());
        let read = manifest.map(|mut file| std::io::Read::read_exact(&mut file, &mut begin));
        read.is_some_and(|read| read.is_ok()) && begin == BEFORE.as_bytes()
    }

    /// Reads what the manifest says.
    pub(super) fn listing(&self) -> Result<Listing, CtlError> {
        let Some(dir) = &self.dir else { return Ok(Listing::default()) };
        match files::read(dir, MANIFEST, MANIFEST_BYTES_MAX) {
            Ok(bytes) => Ok(Listing::read(bytes)),
            Err(Fault::Missing) => Ok(Listing::default()),
            Err(fault @ Fault::TooLarge(_)) => Ok(Listing::unreadable(fault.to_string())),
            Err(fault) => Err(unusable(&self.path.join(MANIFEST), &fault)),
        }
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

    /// Writes the manifest, with a chunk's file before it where there is one. The lock must be held.
    ///
    /// Both are flushed at the same time; the manifest takes its place once the chunk's file has its own for good. Its
    /// own name may be lost with the power until what is returned has ended: then the old one lists what it listed.
    pub(crate) fn write_manifest(
        &self,
        entries: &Entries,
        chunk: Option<(&ChunkId, &[u8])>,
    ) -> Result<Flushing, CtlError> {
        let (dir, of_manifest) = (self.dir()?, |fault| unusable(&self.path.join(MANIFEST), &fault));
        let list = || files::put_beside(dir, &entries.pieces().into_iter().map(str::as_bytes).collect::<Vec<_>>());
        if let Some((id, bytes)) = chunk {
            let name = file_name(id);
            let of_chunk = |fault| unusable(&self.path.join(CHUNKS).join(&name), &fault);
            let chunks = files::open_dir_at(dir, CHUNKS).map_err(of_chunk)?;
            let (listed, packed) = std::thread::scope(|scope| {
                let listed = scope.spawn(list);
                let packed = files::put_beside(&chunks, &[bytes]).and_then(|()| files::take_place(&chunks, &name));
                let packed = packed.and_then(|()| files::flush(&chunks));
                (listed.join().unwrap_or_else(|_| Err(std::io::Error::other("it was not written").into())), packed)
            });
            packed.map_err(|fault| of_chunk(files::gives_up(dir, fault)))?;
            listed.map_err(of_manifest)?;
        } else {
            list().map_err(of_manifest)?;
        }
        files::take_place(dir, MANIFEST).map_err(of_manifest)?;
        let dir = dir.try_clone().map_err(|error| of_manifest(error.into()))?;
        Ok(std::thread::spawn(move || files::flush(dir)))
    }

    /// Waits until the name of a manifest that was written is there for good.
    pub(crate) fn wait_for_manifest(&self, flushing: Flushing) -> Result<(), CtlError> {
        let flushed = flushing.join().unwrap_or_else(|_| Err(std::io::Error::other("it was not flushed").into()));
        flushed.map_err(|fault| unusable(&self.path.join(MANIFEST), &fault))
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

/// Reads the Go program's file that names a project, in a directory where there may be none.
pub(crate) fn config(directory: &Path) -> Result<Option<Vec<u8>>, CtlError> {
    let path = directory.join(NAME);
    match files::follow_dir(&path).and_then(|dir| files::read(dir, CONFIG, CONFIG_BYTES_MAX)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Fault::Missing | Fault::Io(_)) => Ok(None),
        Err(fault) => Err(unusable(&path.join(CONFIG), &fault)),
    }
}

/// Returns the name of a chunk's file.
pub(crate) fn file_name(id: &ChunkId) -> String {
    format!("{id}{SUFFIX}")
}
