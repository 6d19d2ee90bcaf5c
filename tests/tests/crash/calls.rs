//! What the programs ask of the C library when they keep a file beside SQLite, as steps of [`engram_tests::disk`]: it
//! is flushed, and takes its name.
//!
//! A binary that has functions of these names is asked before the C library is. They are of this binary alone.
#![expect(unsafe_code, reason = "they take the place of functions of the C library")]

use engram_tests::disk::{Step, beside};
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

fn answer(result: rustix::io::Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => {
            // SAFETY: the C library gives each thread one.
            unsafe { *__errno_location() = error.raw_os_error() };
            -1
        }
    }
}

/// # Safety
/// Both are text that ends with a zero.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: as the caller promises.
    let (from, to) = unsafe { (CStr::from_ptr(from), CStr::from_ptr(to)) };
    let path = Path::new(OsStr::from_bytes(to.to_bytes()));
    answer(beside(path, Step::Rename, || rustix::fs::rename(from, to)))
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: whoever flushes a file has it open meanwhile.
    let file = unsafe { BorrowedFd::borrow_raw(fd) };
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    answer(beside(&path, Step::Sync, || rustix::fs::fsync(file)))
}
