//! engramd: parse, log, run, exit code.

use clap::builder::PossibleValue;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use engramd::config::cloud::Environment;
use engramd::config::paths;
use engramd::config::report::{self, Origins};
use engramd::config::settings::{self, Settings};
use engramd::daemon::{self, Options};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The local daemon of engram: owns the memory in engram.db, answers engramctl, syncs enrolled projects.
///
/// It runs in the foreground and logs to standard error; a service manager keeps it alive. SIGHUP reads the
/// configuration again, SIGTERM finishes the step it is in and ends with 0.
#[derive(Parser)]
#[command(
    version,
    after_help = "Files in the data directory:\n  \
    engram.db     the memory (shared with the Go program engram)\n  \
    engramd.toml  settings: socket, log, log_level, long_poll_seconds, request_bytes_max\n  \
    cloud.json    server and token, written by `engramctl cloud login`\n\n\
    Exit codes: 0 stopped as asked, 1 could not run (one line says why), 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Verb>,
    /// Where the memory is; ~/.engram unless given
    #[arg(long, global = true, env = "ENGRAM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen; engramd.sock in the data directory unless given
    #[arg(long, global = true, env = "ENGRAMD_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How log lines look
    #[arg(long, global = true, value_enum)]
    log: Option<LogForm>,
    /// What is logged, such as info, debug or engramd=debug
    #[arg(long, global = true, value_name = "FILTER")]
    log_level: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run in the foreground (what happens without a command, too)
    Run,
    /// Read every setting, say where each comes from, and exit 1 if one cannot be used
    CheckConfig,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogForm {
    /// For people
    Pretty,
    /// One JSON object a line
    Json,
    /// For journald: no times, no colour
    Journal,
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    forbid_core_dumps();
    match start(&cli, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Standard error may be closed; there is nobody else to tell.
            let _ = writeln!(std::io::stderr(), "engramd: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps tokens and memories out of core files (SECRET-1).
fn forbid_core_dumps() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    // Where even that is refused there is nothing else to try.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}

fn start(cli: &Cli, matches: &ArgMatches) -> Result<(), String> {
    let home = std::env::home_dir();
    let data_dir = paths::data_dir(cli.data_dir.as_deref(), home.as_deref()).map_err(|error| error.to_string())?;
    let settings = settings::load(&data_dir.join(settings::FILE_NAME)).map_err(|error| error.to_string())?;
    let socket = cli.socket.clone().or_else(|| settings.socket.clone());
    let socket = socket.unwrap_or_else(|| data_dir.join(engram_proto::ipc::SOCKET_NAME));
    paths::check_socket(&socket).map_err(|error| error.to_string())?;
    log(cli, &settings)?;
    let origins = origins(matches, &settings);
    let options = Options { data_dir, socket, settings, environment: Environment::read() };
    match cli.command {
        Some(Verb::CheckConfig) => check_config(cli, &options, &origins),
        Some(Verb::Run) | None => run(options),
    }
}

fn log(cli: &Cli, settings: &Settings) -> Result<(), String> {
    let form = match cli.log {
        Some(form) => form,
        None => LogForm::from_str(&settings.log, true).map_err(|_| {
            format!("{}: log = {:?} is not one of pretty, json, journal", settings::FILE_NAME, settings.log)
        })?,
    };
    let level = cli.log_level.as_ref().unwrap_or(&settings.log_level);
    let filter = EnvFilter::try_new(level)
        .map_err(|error| format!("the log filter {level:?} cannot be used: {error}; try info or engramd=debug"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    match form {
        LogForm::Pretty => log.with_ansi(terminal).with_target(false).init(),
        LogForm::Json => log.json().flatten_event(true).init(),
        LogForm::Journal => log.with_ansi(false).without_time().with_target(false).init(),
    }
    Ok(())
}

fn run(options: Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        daemon::run(options, shutdown).await.map_err(|error| match error.reason() {
            Some(code) => format!("{code}: {error}"),
            None => error.to_string(),
        })
    });
    // A thread that waits for a name server must not hold the exit up.
    runtime.shutdown_background();
    result
}

/// Says what the daemon would run with; touches no store.
fn check_config(cli: &Cli, options: &Options, origins: &Origins) -> Result<(), String> {
    let form = cli.log.and_then(|form| form.to_possible_value());
    let log = form.as_ref().map_or(options.settings.log.as_str(), PossibleValue::get_name);
    let log_level = cli.log_level.as_ref().unwrap_or(&options.settings.log_level);
    let (lines, verdict) = report::lines(options, (log, log_level), origins);
    let mut out = std::io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    verdict
}

/// Says where each value that a flag can give comes from: the flag, its variable, the file, or nowhere.
fn origins(matches: &ArgMatches, settings: &Settings) -> Origins {
    let of = |flag: &str, variable: &str, otherwise: String| match matches.value_source(flag) {
        Some(ValueSource::CommandLine) => format!("--{}", flag.replace('_', "-")),
        Some(ValueSource::EnvVariable) => variable.to_owned(),
        _ => otherwise,
    };
    let socket = match report::origin_of(settings, "socket") {
        origin if origin == "default" => "in the data directory".to_owned(),
        origin => origin,
    };
    Origins {
        data_dir: of("data_dir", "ENGRAM_DATA_DIR", "default".to_owned()),
        socket: of("socket", "ENGRAMD_SOCKET", socket),
        log: of("log", "", report::origin_of(settings, "log")),
        log_level: of("log_level", "", report::origin_of(settings, "log_level")),
    }
}
