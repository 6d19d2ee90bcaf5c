//! A daemon or a server in a process of its own, from the same libraries as the programs, on a disk that kills it at a
//! named failpoint: what [`crate::storm`] starts instead of the program. It ends in order where it is asked to.

use engram_cloud::auth::Grant;
use engram_cloud::config::{Config, Secret};
use engram_tests::disk::{Disk, Plan};
use engram_tests::processes::TOKEN;
use engramd::config::cloud::Environment;
use engramd::config::settings::Settings;
use engramd::daemon::{self, Options};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::signal::unix::{SignalKind, signal};

const ROLE: &str = "ENGRAM_CRASH_ROLE";
const DIR: &str = "ENGRAM_CRASH_DIR";
const FAILPOINT: &str = "ENGRAM_CRASH_FAILPOINT";
const ADDRESS: &str = "ENGRAM_CRASH_ADDRESS";

fn command(role: &str, dir: &Path, failpoint: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "child::a_child_is_what_it_was_started_for", "--nocapture"]);
    command.env_clear().env(ROLE, role).env(DIR, dir).env(FAILPOINT, failpoint);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts a daemon that is killed at its failpoint.
pub(crate) fn daemon_with(dir: &Path, failpoint: &str) -> Child {
    command("daemon", dir, failpoint).spawn().expect("it starts")
}

/// Starts a server that is killed at its failpoint.
pub(crate) fn server_with(dir: &Path, address: &str, failpoint: &str) -> Child {
    command("server", dir, failpoint).env(ADDRESS, address).spawn().expect("it starts")
}

/// Does nothing where nobody started it as a child.
#[test]
fn a_child_is_what_it_was_started_for() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let dir = PathBuf::from(std::env::var_os(DIR).expect("a directory"));
    let disk = Disk::watch(&dir);
    disk.plan(std::env::var(FAILPOINT).expect("a failpoint").parse::<Plan>().expect("four words"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut end = signal(SignalKind::terminate()).expect("a signal");
        let end = async move {
            let _ = end.recv().await;
        };
        match role.as_str() {
            "daemon" => {
                let socket = dir.join(engram_proto::ipc::SOCKET_NAME);
                let (settings, environment) = (Settings::default(), Environment::default());
                daemon::run(Options { data_dir: dir, socket, settings, environment }, end).await.expect("it runs");
            }
            _ => {
                let address: SocketAddr = std::env::var(ADDRESS).expect("an address").parse().expect("one");
                let mut config = Config::local(dir);
                config.token = Some(Secret::new(TOKEN.to_owned()));
                config.projects = Some(Grant::Every);
                let listener = tokio::net::TcpListener::bind(address).await.expect("the port is free");
                engram_cloud::run(config, listener, end).await.expect("it runs");
            }
        }
    });
}
