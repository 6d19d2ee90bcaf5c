//! Parses, logs, runs, and turns the outcome into an exit code.

use clap::Parser;
use engram_cloud::config::cli::{Cli, Command, ServeArgs};
use engram_cloud::config::{Config, LogConfig, LogForm};
use engram_cloud::{admin, run};
use std::io::IsTerminal;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Serve(args) => serve(args),
        Command::Admin(args) => admin::run(args, &mut std::io::stdout().lock()).map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engram-cloud: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads a variable. One that is not text is given all the same: it is refused, or it is wrong, but never ignored.
fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn log(config: &LogConfig) {
    // Of other crates only what went wrong: their finer levels print what passes through them.
    let filter = EnvFilter::new(format!("warn,engram_cloud={}", config.level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.form {
        LogForm::Pretty => builder.compact().with_ansi(std::io::stderr().is_terminal()).init(),
        LogForm::Json => builder.json().flatten_event(true).init(),
    }
}

fn serve(args: &ServeArgs) -> Result<(), String> {
    let config = Config::read(args, environment).map_err(|error| error.to_string())?;
    log(&LogConfig::read(args).map_err(|error| error.to_string())?);
    limit_process();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(64).build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let listener = TcpListener::bind(config.addr).await;
        let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", config.addr))?;
        let stop = stop_signal()?;
        run(config, listener, stop).await.map_err(|error| error.to_string())
    })?;
    // Nothing that is still on a blocking thread may hold up the end.
    runtime.shutdown_background();
    Ok(())
}

/// Waits for SIGTERM or SIGINT; both are caught from here on.
fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut term, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down");
    })
}

/// Takes as many descriptors as the system grants, and leaves no core behind that would hold secrets (SECRET-1).
fn limit_process() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    let cores = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: cores.maximum });
}
