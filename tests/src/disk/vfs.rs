//! SQLite's own file system with [`State`](super::State) before it: registered once, as the default of this process.
//!
//! Locks and shared memory pass through. A sync ends what a power cut could take back, and is not passed on: the disk
//! here is this program, and waiting for another one would only make tests slow.
#![expect(unsafe_code, reason = "SQLite's interface for file systems is one of pointers")]

use super::change::Change;
use super::{State, Step, Verdict, die, state_of};
use rusqlite::ffi::{self, SQLITE_OK, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex, OnceLock};

/// SQLite's own file system, by its address.
static REAL: OnceLock<usize> = OnceLock::new();

/// A file of ours; SQLite's own follows it in memory.
#[repr(C)]
struct File {
    base: sqlite3_file,
    watched: *mut Watched,
}

struct Watched {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

impl Watched {
    fn before(&self, step: Step) -> Verdict {
        self.state.lock().expect("no panic").before(&self.path, step)
    }

    fn changed(&self, change: Change) {
        self.state.lock().expect("no panic").unsynced.entry(self.path.clone()).or_default().push(change);
    }

    fn synced(&self) {
        self.state.lock().expect("no panic").unsynced.remove(&self.path);
    }
}

/// Puts it before SQLite's own, for every file that is opened from now on.
pub(super) fn register() {
    REAL.get_or_init(|| {
        // SAFETY: SQLite hands out its default, which lives as long as the process; ours is a copy with the same
        // functions but two, whose files are ours with room for one of SQLite's own behind them, and is never freed.
        unsafe {
            let real = ffi::sqlite3_vfs_find(null());
            assert!(!real.is_null(), "SQLite has a file system");
            let ours = sqlite3_vfs {
                szOsFile: c_int::try_from(size_of::<File>()).expect("a small number") + (*real).szOsFile,
                pNext: null_mut(),
                zName: c"engram-tests".as_ptr(),
                xOpen: Some(open),
                xDelete: Some(delete),
                ..*real
            };
            assert_eq!(ffi::sqlite3_vfs_register(Box::into_raw(Box::new(ours)), 1), SQLITE_OK);
            real as usize
        }
    });
}

fn real() -> *mut sqlite3_vfs {
    *REAL.get().expect("registered first") as *mut sqlite3_vfs
}

/// # Safety
/// `name` is null or text that ends with a zero.
unsafe fn watched(name: *const c_char) -> Option<Watched> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let path = PathBuf::from(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()));
    state_of(&path).map(|state| Watched { state, path })
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives szOsFile bytes for the file, and a name as `watched` wants it.
    unsafe {
        let (ours, real_file) = (file.cast::<File>(), inner(file));
        (*ours).base.pMethods = null();
        (*ours).watched = null_mut();
        (*real_file).pMethods = null();
        let watched = watched(name);
        if watched.as_ref().is_some_and(|watched| watched.state.lock().expect("no panic").stopped) {
            return ffi::SQLITE_CANTOPEN;
        }
        let is_new = watched.as_ref().is_some_and(|watched| !watched.path.exists());
        let code = (*real()).xOpen.expect("SQLite's own")(real(), name, real_file, flags, out);
        if code == SQLITE_OK {
            if let Some(watched) = watched {
                if is_new {
                    watched.changed(Change::Created);
                }
                (*ours).watched = Box::into_raw(Box::new(watched));
            }
            (*ours).base.pMethods = &METHODS;
        } else if let Some(methods) = (*real_file).pMethods.as_ref() {
            methods.xClose.expect("SQLite's own")(real_file);
        }
        code
    }
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: the name is SQLite's.
    unsafe {
        let watched = watched(name);
        let verdict = watched.as_ref().map_or(Verdict::Go, |watched| watched.before(Step::Delete));
        let deleted = || (*real()).xDelete.expect("SQLite's own")(real(), name, sync);
        let code = carry_out(verdict, deleted);
        if let Some(watched) = watched.filter(|_| code == SQLITE_OK) {
            watched.synced();
        }
        code
    }
}

fn carry_out(verdict: Verdict, step: impl FnOnce() -> c_int) -> c_int {
    match verdict {
        Verdict::Go => step(),
        Verdict::Refuse(code) => code,
        Verdict::GoAndDie => {
            step();
            die()
        }
    }
}

/// # Safety
/// `file` was opened here.
unsafe fn inner(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: SQLite's own stands right behind ours, and ours is as long as two pointers: it is aligned.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// # Safety
/// `file` was opened here, and is not closed.
unsafe fn parts<'a>(file: *mut sqlite3_file) -> (Option<&'a Watched>, *mut sqlite3_file, &'a sqlite3_io_methods) {
    // SAFETY: `open` left what this reads; it lives until `close`.
    unsafe {
        let real = inner(file);
        ((*file.cast::<File>()).watched.as_ref(), real, &*(*real).pMethods)
    }
}

fn verdict(watched: Option<&Watched>, step: Step) -> Verdict {
    watched.map_or(Verdict::Go, |watched| watched.before(step))
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once.
    unsafe {
        let (_, real, methods) = parts(file);
        let code = methods.xClose.expect("SQLite's own")(real);
        let watched = (*file.cast::<File>()).watched;
        if !watched.is_null() {
            drop(Box::from_raw(watched));
        }
        code
    }
}

unsafe extern "C" fn read(file: *mut sqlite3_file, to: *mut c_void, len: c_int, at: i64) -> c_int {
    // SAFETY: the arguments are SQLite's.
    unsafe {
        let (watched, real, methods) = parts(file);
        carry_out(verdict(watched, Step::Read), || methods.xRead.expect("SQLite's own")(real, to, len, at))
    }
}

/// # Safety
/// `real` is open, and `methods` are its.
unsafe fn length(real: *mut sqlite3_file, methods: &sqlite3_io_methods) -> u64 {
    let mut len = 0;
    // SAFETY: as the caller promises.
    unsafe { methods.xFileSize.expect("SQLite's own")(real, &mut len) };
    u64::try_from(len).unwrap_or(0)
}

/// Reads what stands in the file from a place on, at most so many bytes.
///
/// # Safety
/// `real` is open, and `methods` are its.
unsafe fn bytes(real: *mut sqlite3_file, methods: &sqlite3_io_methods, at: u64, len: u64) -> Vec<u8> {
    // SAFETY: as the caller promises.
    unsafe {
        let there = self::length(real, methods).saturating_sub(at).min(len);
        let mut old = vec![0_u8; usize::try_from(there).expect("memory")];
        let (to, at) = (old.as_mut_ptr().cast(), i64::try_from(at).expect("a place"));
        // Through SQLite's own file: closing another handle would end its locks.
        methods.xRead.expect("SQLite's own")(real, to, c_int::try_from(there).expect("a page"), at);
        old
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, len: c_int, at: i64) -> c_int {
    // SAFETY: the arguments are SQLite's: so many bytes may be read from `from`.
    unsafe {
        let (watched, real, methods) = parts(file);
        carry_out(verdict(watched, Step::Write), || {
            if let Some(watched) = watched {
                let new = std::slice::from_raw_parts(from.cast::<u8>(), usize::try_from(len).unwrap_or(0)).to_vec();
                let place = u64::try_from(at).unwrap_or(0);
                let old = bytes(real, methods, place, u64::try_from(len).unwrap_or(0));
                watched.changed(Change::Wrote { at: place, new, old, old_len: length(real, methods) });
            }
            methods.xWrite.expect("SQLite's own")(real, from, len, at)
        })
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: i64) -> c_int {
    // SAFETY: the arguments are SQLite's.
    unsafe {
        let (watched, real, methods) = parts(file);
        carry_out(verdict(watched, Step::Truncate), || {
            if let Some(watched) = watched {
                let to = u64::try_from(size).unwrap_or(0);
                watched.changed(Change::Cut { to, old: bytes(real, methods, to, 1 << 30) });
            }
            methods.xTruncate.expect("SQLite's own")(real, size)
        })
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the arguments are SQLite's.
    unsafe {
        let (watched, real, methods) = parts(file);
        carry_out(verdict(watched, Step::Sync), || match watched {
            Some(watched) => {
                watched.synced();
                SQLITE_OK
            }
            None => methods.xSync.expect("SQLite's own")(real, flags),
        })
    }
}

/// Defines functions that only pass on.
macro_rules! pass_on {
    ($($name:ident as $method:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $type)*) -> $result {
            // SAFETY: the arguments are SQLite's.
            unsafe {
                let (_, real, methods) = parts(file);
                methods.$method.expect("SQLite's own")(real $(, $argument)*)
            }
        }
    )*};
}

pass_on! {
    file_size as xFileSize(size: *mut i64) -> c_int;
    lock as xLock(level: c_int) -> c_int;
    unlock as xUnlock(level: c_int) -> c_int;
    check_reserved_lock as xCheckReservedLock(out: *mut c_int) -> c_int;
    file_control as xFileControl(op: c_int, argument: *mut c_void) -> c_int;
    sector_size as xSectorSize() -> c_int;
    device_characteristics as xDeviceCharacteristics() -> c_int;
    shm_map as xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock as xShmLock(offset: c_int, n: c_int, flags: c_int) -> c_int;
    shm_barrier as xShmBarrier() -> ();
    shm_unmap as xShmUnmap(delete: c_int) -> c_int;
}

/// Without memory maps of the file itself: what is written passes here.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
