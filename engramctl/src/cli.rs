//! The command line: what is global, and which commands there are. Each command's own flags stand beside it in `cmd`.

#![expect(clippy::doc_markdown, reason = "help is read in a terminal, where back ticks are noise")]

use crate::cmd;
use crate::connect::ConnectError;
use crate::target::{self, Target};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

const AFTER_HELP: &str = "\
It speaks to the daemon over a Unix socket and never opens the database. With
--json the answer is one object on standard output; a failure prints
{\"error\":{\"reason_code\",\"message\",\"hint\"}} there, and a line on standard error.

Exit codes:
  0  done, and nothing is left over (status: nothing is wrong)
  1  failed; one line on standard error says why and what next
  2  wrong usage
  3  status: something is degraded; sync, login, enroll: blocked or refused
  4  no daemon answers (not running, wrong socket, stopped)
  5  partial: rows are held or deferred, chunks passed over or their manifest is
     broken, or something could not be checked yet
  6  client and daemon do not speak the same protocol

Examples:
  engramctl status                     is everything safe and moving?
  engramctl cloud login --server https://engram.example.org
  engramctl enroll my-project          let a project take part in sync
  engramctl save --title 'Use WAL' --type decision 'Because readers never wait.'
  engramctl search 'readers wait'
  engramctl sync --json                for scripts: an exit code, one object";

/// Ask a running engramd for the state of sync, and for the memory itself
#[derive(Debug, Parser)]
#[command(name = "engramctl", version = engram_proto::VERSION, after_help = AFTER_HELP, max_term_width = 80)]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command, before or after it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The daemon's data directory [default: $ENGRAM_DATA_DIR, else ~/.engram]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// The daemon's socket [default: $ENGRAMD_SOCKET, else DIR/engramd.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Answer with one JSON object (streams: one per line)
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Give up after so long without an answer; for sync, without progress [default: 10; sync, login, enroll and chunks: 30]
    #[arg(long, global = true, value_name = "SECS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,

    /// Use colour: auto, always or never; auto means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) color: ColorChoice,
}

impl Globals {
    /// Finds the data directory that is meant, where one can be told.
    pub(crate) fn data_dir(&self) -> Option<PathBuf> {
        target::data_dir(self.data_dir.as_deref(), |name| std::env::var_os(name))
    }

    /// Finds the daemon that is meant.
    pub(crate) fn target(&self) -> Result<Target, ConnectError> {
        Target::resolve(self.socket.as_deref(), self.data_dir.as_deref(), |name| std::env::var_os(name))
    }
}

/// Makes a command line on which there is one command only, if there is one of this name.
pub(crate) fn alone(whole: &clap::Command, name: &OsStr) -> Option<clap::Command> {
    let named = whole.find_subcommand(name)?.clone();
    Some(Globals::augment_args(clap::Command::new("engramctl")).subcommand(named))
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

fn seconds(text: &str) -> Result<Duration, String> {
    const SECONDS_MAX: f64 = 86_400.0;
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= SECONDS_MAX => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give seconds, more than 0 and at most 86400".to_owned()),
    }
}

/// What to do. What a command takes is only put together for the one that is meant.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Show whether memories are safe and moving, and what is in the way
    #[command(after_help = cmd::status::EXAMPLES)]
    Status(cmd::status::StatusArgs),
    /// Sync now, and wait until nothing is left either way
    #[command(after_help = cmd::sync::EXAMPLES)]
    Sync(cmd::sync::SyncArgs),
    /// Show what the daemon did lately, one event per line
    #[command(after_help = cmd::events::EXAMPLES)]
    Events(cmd::events::EventsArgs),
    /// Stop syncing everything, or one project, until `resume`
    #[command(after_help = cmd::pause::PAUSE_EXAMPLES)]
    Pause(cmd::pause::PauseArgs),
    /// Sync again what was paused
    #[command(after_help = cmd::pause::RESUME_EXAMPLES)]
    Resume(cmd::pause::ResumeArgs),
    /// Choose the server to sync with, and forget it
    #[command(subcommand)]
    Cloud(cmd::cloud::CloudCommand),
    /// Let projects take part in sync, if the cloud allows it
    #[command(after_help = cmd::projects::ENROLL_EXAMPLES)]
    Enroll(cmd::projects::EnrollArgs),
    /// Take a project out of sync; deletes nothing, here or there
    #[command(after_help = cmd::projects::UNENROLL_EXAMPLES)]
    Unenroll(cmd::projects::UnenrollArgs),
    /// Show all projects with their counts, enrolled or not
    #[command(after_help = cmd::projects::PROJECTS_EXAMPLES)]
    Projects,
    /// See the rows that were set aside, try them again or give them up
    #[command(subcommand)]
    Held(cmd::held::HeldCommand),
    /// See the versions that lost a conflict, and bring one back
    #[command(subcommand)]
    Conflicts(cmd::conflicts::ConflictsCommand),
    /// Begin, end and list sessions
    #[command(subcommand)]
    Session(cmd::session::SessionCommand),
    /// Save a memory
    #[command(after_help = cmd::save::SAVE_EXAMPLES)]
    Save(cmd::save::SaveArgs),
    /// Save what a user asked
    #[command(after_help = cmd::save::PROMPT_EXAMPLES)]
    Prompt(cmd::save::PromptArgs),
    /// Change a memory; what is not given stays
    #[command(after_help = cmd::change::UPDATE_EXAMPLES)]
    Update(cmd::change::UpdateArgs),
    /// Delete a memory, here and wherever it was synced to
    #[command(after_help = cmd::change::DELETE_EXAMPLES)]
    Delete(cmd::change::DeleteArgs),
    /// Show one memory in full
    #[command(after_help = cmd::find::GET_EXAMPLES)]
    Get(cmd::find::GetArgs),
    /// List memories, latest first
    #[command(after_help = cmd::find::LIST_EXAMPLES)]
    List(cmd::find::ListArgs),
    /// Find memories by words, best first
    #[command(after_help = cmd::find::SEARCH_EXAMPLES)]
    Search(cmd::find::SearchArgs),
    /// Judge how two memories relate
    #[command(after_help = cmd::change::RELATE_EXAMPLES)]
    Relate(cmd::change::RelateArgs),
    /// Share memory through a git repository, without a server
    #[command(subcommand)]
    Chunks(cmd::chunks::ChunksCommand),
    /// Print what makes a shell complete commands and flags
    #[command(after_help = cmd::pages::COMPLETIONS_EXAMPLES)]
    Completions(cmd::pages::CompletionsArgs),
    /// Print the manual, or write a page per command
    #[command(after_help = cmd::pages::MAN_EXAMPLES)]
    Man(cmd::pages::ManArgs),
    /// Show the version of this program and of the daemon
    #[command(after_help = cmd::version::EXAMPLES)]
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command can be used from its own help: a purpose, every flag explained, examples.
    #[test]
    fn every_command_explains_itself() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name} {}", argument.get_id());
            }
            if command.get_subcommands().next().is_none() {
                let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(examples.contains("engramctl "), "{name} has no examples");
                assert!(examples.lines().all(|line| crate::render::text::width(line) <= 80), "{name}: {examples}");
            }
            command.get_subcommands().for_each(check);
        }
        let mut whole = Cli::command().disable_help_subcommand(true);
        let purposes = |command: &clap::Command| -> Vec<_> {
            command.get_subcommands().map(|one| one.get_about().map(ToString::to_string)).collect()
        };
        let listed = purposes(&whole);
        whole.build();
        assert_eq!(purposes(&whole), listed, "a command's own help says what the list of commands says");
        check(&whole);
    }

    /// A command that is tried alone reads what it reads among all, or leaves it to them.
    #[test]
    fn one_command_alone_reads_the_same() {
        use clap::FromArgMatches as _;
        let read = |mut command: clap::Command, line: &str| {
            let matches = command.try_get_matches_from_mut(line.split(' ')).ok()?;
            Cli::from_arg_matches(&matches).ok().map(|cli| format!("{cli:?}"))
        };
        for line in [
            "engramctl chunks export --project app --dir d --json",
            "engramctl chunks --timeout 5 --color never status",
            "engramctl status --data-dir d --socket s",
            "engramctl save --title t text --json",
            "engramctl projects",
        ] {
            let name = line.split(' ').nth(1).unwrap_or_default();
            let alone = alone(&Cli::command(), OsStr::new(name)).expect(line);
            assert_eq!(alone.get_subcommands().count(), 1, "nothing is told to the others");
            let read_alone = read(alone, line);
            assert!(read_alone.is_some(), "{line}");
            assert_eq!(read_alone, read(Cli::command(), line));
        }
        for line in ["engramctl chunks --help", "engramctl chunks export --wrong", "engramctl save"] {
            let name = line.split(' ').nth(1).unwrap_or_default();
            assert_eq!(alone(&Cli::command(), OsStr::new(name)).and_then(|alone| read(alone, line)), None, "{line}");
        }
        for name in ["--json", "help", "chunk", ""] {
            assert!(alone(&Cli::command(), OsStr::new(name)).is_none(), "{name}");
        }
    }

    #[test]
    fn timeouts_are_seconds() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for wrong in ["0", "-1", "x", "inf", "NaN", "1e9"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
