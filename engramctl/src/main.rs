//! `engramctl`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    engramctl::main()
}
