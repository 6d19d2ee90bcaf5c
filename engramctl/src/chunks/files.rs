//! Single files of a directory that others may have filled: no link is followed, nothing but a plain file is read, and a
//! file is written beside its place, flushed, and renamed (chunks.md 5 and 6).

#[cfg(not(target_os = "linux"))]
use rustix::fs::Dir;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// So many names of one directory are looked at.
const NAMES_MAX: usize = 200_000;

/// The system fills so many bytes with names at once.
#[cfg(target_os = "linux")]
const NAMES_BYTES: usize = 32 << 10;

/// Small pieces are written together, up to so many bytes.
const WRITE_BYTES: usize = 64 << 10;

/// What is read is held with so much room behind it.
const ROOM_BYTES: usize = 1_024;

/// What is written until it takes its place; whoever holds the lock may take one away that was left over.
pub(super) const BESIDE: &str = ".engramctl-writing";

/// Why a file, or a directory, cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// It is not there.
    #[error("the file is missing")]
    Missing,
    /// It leads elsewhere.
    #[error("it is a symbolic link, which is not followed: put the file itself there")]
    Symlink,
    /// It is, or may be, somebody's file elsewhere.
    #[error("it is a hard link to a file that has other names: put a copy there")]
    HardLink,
    /// A pipe, a device, a directory.
    #[error("it is no plain file")]
    NotPlain,
    /// It is too large to be read.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// There are too many.
    #[error("there are more than {0} files")]
    TooMany(usize),
    /// Somebody else's, with the same name.
    #[error("it is no manifest of chunks, and is not to be overwritten")]
    NotOurs,
    /// Not a directory for chunks.
    #[error("it holds other files, and no chunks")]
    Others,
    /// The system's words.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl From<Errno> for Fault {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT => Self::Missing,
            Errno::LOOP => Self::Symlink,
            error => Self::Io(error.into()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Opens a directory by its path; its last name may be no link.
pub(super) fn open_dir(path: &Path) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty()).map_err(|error| not_a_directory(error, || fs::lstat(path)))
}

/// Opens a directory by its path, wherever that leads.
pub(super) fn follow_dir(path: &Path) -> Result<OwnedFd, Fault> {
    Ok(fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a directory inside of another.
pub(super) fn open_dir_at(dir: impl AsFd, name: &str) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = fs::openat(dir.as_fd(), name, flags, Mode::empty());
    opened.map_err(|error| not_a_directory(error, || fs::statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)))
}

/// Systems differ in what they say of a link where a directory was asked for.
fn not_a_directory(error: Errno, stat: impl FnOnce() -> Result<fs::Stat, Errno>) -> Fault {
    match (error, stat().map(|stat| FileType::from_raw_mode(stat.st_mode))) {
        (Errno::NOTDIR | Errno::LOOP, Ok(FileType::Symlink)) => Fault::Symlink,
        (error, _) => error.into(),
    }
}

/// Makes a directory inside of another, unless there is one.
pub(super) fn make_dir_at(dir: impl AsFd, name: &str) -> Result<OwnedFd, Fault> {
    match fs::mkdirat(dir.as_fd(), name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => open_dir_at(dir, name),
        Err(error) => Err(error.into()),
    }
}

/// Calls a closure with the names in a directory.
pub(super) fn names(dir: OwnedFd, mut each: impl FnMut(&[u8])) -> Result<(), Fault> {
    let mut count = 0;
    each_name(dir, |name| {
        count += 1;
        each(name.to_bytes());
        if count > NAMES_MAX { Err(Fault::TooMany(NAMES_MAX)) } else { Ok(()) }
    })
}

#[cfg(target_os = "linux")]
fn each_name(dir: OwnedFd, mut each: impl FnMut(&CStr) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut buffer = Vec::with_capacity(NAMES_BYTES);
    let mut names = fs::RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = names.next() {
        each(entry?.file_name())?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn each_name(dir: OwnedFd, mut each: impl FnMut(&CStr) -> Result<(), Fault>) -> Result<(), Fault> {
    Dir::new(dir)?.try_for_each(|entry| each(entry?.file_name()))
}

/// What tells one state of a file from the next, and the last time at which it changed, in Unix nanoseconds; nothing of a
/// file that is not there. A directory's tells of the names in it.
pub(super) fn trace(dir: impl AsFd, name: &str) -> Result<Option<(String, i128)>, Fault> {
    let stat = match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let ns = |s: i128, ns: i128| s * 1_000_000_000 + ns;
    let modified = ns(stat.st_mtime.into(), stat.st_mtime_nsec.into());
    let changed = ns(stat.st_ctime.into(), stat.st_ctime_nsec.into());
    let text = format!("{}:{}:{}:{modified}:{changed}", stat.st_dev, stat.st_ino, stat.st_size);
    Ok(Some((text, modified.max(changed))))
}

/// Opens a plain file.
pub(super) fn open(dir: impl AsFd, name: &str) -> Result<File, Fault> {
    Ok(plain(dir, name)?.0)
}

fn plain(dir: impl AsFd, name: &str) -> Result<(File, fs::Stat), Fault> {
    // Without `NONBLOCK` a pipe would be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = fs::openat(dir.as_fd(), name, flags, Mode::empty())?;
    let stat = fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_nlink > 1 => Err(Fault::HardLink),
        FileType::RegularFile => Ok((File::from(file), stat)),
        _ => Err(Fault::NotPlain),
    }
}

/// Reads a plain file, of at most so many bytes, into memory: what is looked at after that can no longer be swapped.
pub(super) fn read(dir: impl AsFd, name: &str, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let (file, stat) = plain(dir, name)?;
    if u64::try_from(stat.st_size).is_ok_and(|size| size > bytes_max as u64) {
        return Err(Fault::TooLarge(bytes_max));
    }
    // With room to spare one read finds all of it and one its end, and what is added does not move all of it.
    let room = usize::try_from(stat.st_size).map_or(bytes_max, |size| size.min(bytes_max)) + ROOM_BYTES;
    let mut bytes = Vec::with_capacity(room);
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { Err(Fault::TooLarge(bytes_max)) } else { Ok(bytes) }
}

/// Writes a file in one step: whoever looks finds what was there before, or all of it; a power cut changes nothing of
/// that. The directory's lock must be held.
pub(super) fn write(dir: impl AsFd, name: &str, bytes: &[u8]) -> Result<(), Fault> {
    put_beside(dir.as_fd(), &[bytes])?;
    take_place(dir.as_fd(), name)?;
    flush(dir)
}

/// Writes and flushes, piece by piece, what is to take a place in a directory; what was left there of another run goes.
pub(super) fn put_beside(dir: impl AsFd, pieces: &[&[u8]]) -> Result<(), Fault> {
    match fs::unlinkat(dir.as_fd(), BESIDE, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(fs::openat(dir.as_fd(), BESIDE, flags, Mode::from_raw_mode(0o666))?);
    let mut writer = BufWriter::with_capacity(WRITE_BYTES, &file);
    let written = pieces.iter().try_for_each(|piece| writer.write_all(piece)).and_then(|()| writer.flush());
    written.and_then(|()| file.sync_all()).map_err(|error| gives_up(dir, error.into()))
}

/// Gives what was put beside it its name; it may be gone after a power cut until the directory is [flushed](flush).
pub(super) fn take_place(dir: impl AsFd, name: &str) -> Result<(), Fault> {
    let placed = fs::renameat(dir.as_fd(), BESIDE, dir.as_fd(), name);
    placed.map_err(|error| gives_up(dir, error.into()))
}

/// Makes the names in a directory durable.
pub(super) fn flush(dir: impl AsFd) -> Result<(), Fault> {
    Ok(fs::fsync(dir)?)
}

/// Takes away what takes no one's place; if it cannot be taken away, the next run does.
pub(super) fn gives_up(dir: impl AsFd, fault: Fault) -> Fault {
    let _ = fs::unlinkat(dir, BESIDE, AtFlags::empty());
    fault
}
