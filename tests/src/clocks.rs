//! Clocks that are off, for programs that read the system's.

use std::path::Path;
use std::process::Command;

/// Debian's libfaketime, which a test may do without; `ENGRAM_FAKETIME` names it where it is elsewhere.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Gives a program a wall clock that is off by what a file says, such as `+86400`; the monotonic one is the system's.
/// `false` where libfaketime is not installed.
pub fn set_clock(command: &mut Command, file: &Path) -> bool {
    let library = std::env::var_os("ENGRAM_FAKETIME").unwrap_or_else(|| FAKETIME.into());
    let is_there = Path::new(&library).is_file();
    if is_there {
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file);
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
    }
    is_there
}
