//! A server that tests start, on the embedded store or on a database.

use super::{Process, TOKEN, program};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An engram-cloud, on the embedded store unless it is given a database.
pub struct Cloud {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub url: String,
    how: How,
}

/// How a server is started.
#[derive(Clone, Default)]
struct How {
    dir: PathBuf,
    database: Option<String>,
    host: Option<String>,
    forgets: bool,
}

/// The signing secret of a server on a database, which keeps none itself.
const KEY: &str = "thirty-two-bytes-are-long-enough";

impl Cloud {
    /// Starts one that allows every project.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        Self::start_at(dir, "0", "*")
    }

    /// Starts one on a port, for some projects.
    #[must_use]
    pub fn start_at(dir: &Path, port: &str, projects: &str) -> Self {
        Self::serve(How { dir: dir.to_owned(), ..How::default() }, port, projects)
    }

    /// Starts one that allows every project and keeps no content that is current no more.
    #[must_use]
    pub fn start_forgetful(dir: &Path) -> Self {
        Self::serve(How { dir: dir.to_owned(), forgets: true, ..How::default() }, "0", "*")
    }

    /// Starts one that allows every project and listens at an address of this machine that others reach.
    #[must_use]
    pub fn start_open(dir: &Path, host: &str) -> Self {
        Self::serve(How { dir: dir.to_owned(), host: Some(host.to_owned()), ..How::default() }, "0", "*")
    }

    /// Starts one that allows every project, on the database of this address where one is given.
    #[must_use]
    pub fn start_on(dir: &Path, database: Option<String>) -> Self {
        Self::serve(How { dir: dir.to_owned(), database, ..How::default() }, "0", "*")
    }

    fn serve(how: How, port: &str, projects: &str) -> Self {
        let mut command = Command::new(program("engram-cloud"));
        command.arg("serve").env_clear().env("ENGRAM_CLOUD_DATA_DIR", &how.dir).env("ENGRAM_PORT", port);
        command.env("ENGRAM_CLOUD_TOKEN", TOKEN).env("ENGRAM_CLOUD_ALLOWED_PROJECTS", projects);
        command.envs(how.host.iter().map(|host| ("ENGRAM_CLOUD_HOST", host)));
        if let Some(database) = &how.database {
            command.env("ENGRAM_DATABASE_URL", database).env("ENGRAM_JWT_SECRET", KEY);
        }
        if how.forgets {
            command.env("ENGRAM_CLOUD_KEEP_SUPERSEDED_DAYS", "0").env("ENGRAM_CLOUD_KEEP_DELETED_DAYS", "0");
        }
        let (process, url) = listening(&mut command);
        Self { process, url, how }
    }

    /// Starts it again where it was, on the same data.
    #[must_use]
    pub fn restart(self) -> Self {
        self.regrant("*")
    }

    /// Starts it again where it was, for other projects.
    #[must_use]
    pub fn regrant(mut self, projects: &str) -> Self {
        self.process.kill();
        let port = self.url.rsplit(':').next().unwrap_or("0").to_owned();
        Self::serve(self.how, &port, projects)
    }
}

/// Starts a server by a command of the caller's, and returns it with its URL.
///
/// # Panics
/// Where it does not come to listen.
#[must_use]
pub fn listening(command: &mut Command) -> (Process, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let url =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("engram-cloud listening on ").map(str::to_owned));
    (Process::new(child), url.expect("it listens"))
}
