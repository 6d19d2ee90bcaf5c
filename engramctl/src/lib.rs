//! `engramctl`: asks a running `engramd` over its socket, and never opens the database.
//!
//! What reads the files of a shared repository is public, so that hostile input reaches it without a process.

pub mod chunks;
mod cli;
mod clock;
mod cmd;
mod connect;
mod content;
mod exit;
mod out;
mod project;
mod render;
mod target;
mod token;

use clap::{CommandFactory as _, FromArgMatches as _};
use engram_proto::reason::Exit;
use exit::CtlError;
use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    let mut out = out::Out::new(&cli.globals);
    let exit = match run(cli, &mut out) {
        Ok(exit) => exit,
        Err(error) => {
            out.failure(&error);
            error.exit()
        }
    };
    ExitCode::from(exit.code())
}

/// Reads the command line.
///
/// Where the first word is a command, that one is tried alone: to tell all of them what holds for every one costs more than
/// most commands. What does not work out is left to all of them, for they have the words of help and of errors.
///
/// All that was made for it is thousands of small things, which are left to the system at the end: to take them apart costs
/// as much again.
fn parse() -> Result<cli::Cli, clap::Error> {
    let args: Vec<_> = std::env::args_os().collect();
    let mut command = ManuallyDrop::new(cli::Cli::command());
    let alone = args.get(1).and_then(|name| cli::alone(&command, name));
    if let Some(Ok(cli)) = alone.map(|alone| read(&mut ManuallyDrop::new(alone), &args)) {
        return Ok(cli);
    }
    read(&mut command, &args)
}

fn read(command: &mut clap::Command, args: &[OsString]) -> Result<cli::Cli, clap::Error> {
    let mut matches = ManuallyDrop::new(command.try_get_matches_from_mut(args)?);
    cli::Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(command))
}

fn run(cli: cli::Cli, out: &mut out::Out) -> Result<Exit, CtlError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(CtlError::Runtime)?
        .block_on(cmd::run(cli, out))
}

/// Prints help and version where they were asked for, and wrong usage as a failure, as JSON too if that was asked for.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    // A closed pipe (`engramctl --help | head -1`) is no error worth words.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        let text = error.render().to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let message = lines.join(" ").trim_start_matches("error: ").to_owned();
        let usage = CtlError::Usage { message, hint: "engramctl --help".to_owned() };
        out::print_failure_json(&usage);
    }
    ExitCode::from(Exit::Usage.code())
}
