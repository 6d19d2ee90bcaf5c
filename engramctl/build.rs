//! The client is started for every question, and each library that the system has to look for then takes a tenth of a
//! millisecond. What unwinds comes with the compiler as an archive, too, and is put into the program.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let is_gnu = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if is_gnu && std::env::var("HOST") == std::env::var("TARGET") && has_archive("gcc_eh") {
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}

/// Asks the compiler, which links, for an archive: it answers with a path where there is one, and else with the name.
fn has_archive(name: &str) -> bool {
    let answer = Command::new("cc").arg(format!("-print-file-name=lib{name}.a")).output();
    answer.is_ok_and(|answer| answer.status.success() && answer.stdout.contains(&b'/'))
}
