//! Real programs on temporary directories: a server, devices, the client. Each ends with its value, by its pid.

mod cloud;

pub use cloud::{Cloud, listening};
use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engramd::store::Store;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Nothing in a suite takes longer; a hang ends here.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The token of every server here.
pub const TOKEN: &str = "a-token-for-tests-only";

/// Finds a program beside the running test; `cargo build --bins` puts it there.
///
/// # Panics
/// Where it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this test");
    // A test is in target/profile/deps, a bench in target/profile.
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: run cargo build --bins first"))
}

/// Waits until a condition holds.
///
/// # Panics
/// Where it does not within [`DEADLINE`].
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_in(1, what, condition);
}

/// Waits until a condition holds that may rightly take longer than everything else.
///
/// # Panics
/// Where it does not within so many times [`DEADLINE`].
#[expect(clippy::disallowed_methods, reason = "a deadline for a hang")]
pub fn until_in(deadlines: u32, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE * deadlines;
    while !condition() {
        assert!(Instant::now() < end, "gave up waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that ends with its value.
pub struct Process(Option<Child>);

impl Process {
    /// Takes over a process that was started.
    #[must_use]
    pub fn new(child: Child) -> Self {
        Self(Some(child))
    }

    /// Returns its process id.
    ///
    /// # Panics
    /// Where it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.as_ref().expect("it runs").id()
    }

    /// Ends it as a power cut would: `kill -9`.
    ///
    /// # Panics
    /// Where it cannot be ended.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }

    /// Ends it as a service manager would, and returns its exit code.
    ///
    /// # Panics
    /// Where it does not end in time.
    pub fn terminate(&mut self) -> Option<i32> {
        let mut child = self.0.take()?;
        signal(&child, rustix::process::Signal::TERM);
        let mut code = None;
        until("a process ends", || match child.try_wait().expect("a status") {
            Some(status) => {
                code = Some(status.code());
                true
            }
            None => false,
        });
        code.flatten()
    }

    /// Tells whether it has ended by itself.
    ///
    /// # Panics
    /// Where the system does not tell.
    pub fn has_ended(&mut self) -> bool {
        self.0.as_mut().is_none_or(|child| child.try_wait().expect("a status").is_some())
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// Where it has ended.
    pub fn signal(&self, what: rustix::process::Signal) {
        signal(self.0.as_ref().expect("it runs"), what);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // A test that fails must leave nothing behind; one that has ended is no fault.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn signal(child: &Child, what: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), what).expect("a signal");
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    /// Makes one of a finished process.
    #[must_use]
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Reads the one JSON object it printed.
    ///
    /// # Panics
    /// Where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A device: a data directory, and the daemon on it.
pub struct Device {
    /// The daemon.
    pub daemon: Process,
    /// Its data directory.
    pub dir: PathBuf,
}

impl Device {
    /// Starts a daemon and waits until it answers.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        Self::start_by(dir, daemon(dir))
    }

    /// Starts a daemon by a command of the caller's, and waits until it answers.
    ///
    /// # Panics
    /// Where it does not come to answer.
    #[must_use]
    pub fn start_by(dir: &Path, mut command: Command) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.with_extension("log"));
        command.stdout(Stdio::null()).stderr(log.expect("a log"));
        let device = Self { daemon: Process::new(command.spawn().expect("it starts")), dir: dir.to_owned() };
        until("the daemon answers", || device.ctl(&["status"]).code != 4);
        device
    }

    /// Starts one that knows the server and has a project enrolled.
    ///
    /// # Panics
    /// Where either is refused.
    #[must_use]
    pub fn enrolled(dir: &Path, cloud: &Cloud, project: &str) -> Self {
        Self::enrolled_at(dir, &cloud.url, project)
    }

    /// Starts one that knows the server at this URL and has a project enrolled.
    ///
    /// # Panics
    /// Where either is refused.
    #[must_use]
    pub fn enrolled_at(dir: &Path, url: &str, project: &str) -> Self {
        let device = Self::start(dir);
        device.enroll_at(url, project);
        device
    }

    /// Starts the daemon on its directory, and waits until it answers.
    pub fn boot(&mut self) {
        self.daemon = Self::start(&self.dir).daemon;
    }

    /// Tells it the server at this URL, and enrolls a project.
    ///
    /// # Panics
    /// Where either is refused.
    pub fn enroll_at(&self, url: &str, project: &str) {
        let login = self.ctl_with(&["cloud", "login", "--server", url, "--token-stdin"], TOKEN);
        assert_eq!(login.code, 0, "{login:?}");
        let enroll = self.ctl(&["enroll", project]);
        assert_eq!(enroll.code, 0, "{enroll:?}");
    }

    /// Returns where the daemon logs to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// Runs a command of the client.
    #[must_use]
    pub fn ctl(&self, args: &[&str]) -> Answer {
        self.ctl_with(args, "")
    }

    /// Runs a command of the client with something on its standard input.
    #[must_use]
    pub fn ctl_with(&self, args: &[&str], input: &str) -> Answer {
        ctl(&self.dir, args, input)
    }

    /// Runs a command that must succeed, and reads its JSON.
    ///
    /// # Panics
    /// Where it does not.
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        let answer = self.ctl(&args);
        assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
        answer.json()
    }

    /// Reads the report, whatever `status` exits with.
    #[must_use]
    pub fn report(&self) -> Value {
        self.ctl(&["status", "--json"]).json()
    }

    /// Tells whether a finding of this code shows.
    #[must_use]
    pub fn finds_reason(&self, code: &str) -> bool {
        self.report()["findings"].as_array().is_some_and(|all| all.iter().any(|finding| finding["code"] == code))
    }

    /// Saves a memory and returns its sync id.
    #[must_use]
    pub fn save(&self, project: &str, title: &str, content: &str) -> String {
        let saved = self.json(&["save", "--project", project, "--title", title, content]);
        saved["sync_id"].as_str().expect("a sync id").to_owned()
    }

    /// Writes down everything that its file holds of a project (the canonical dump); no daemon has to run.
    ///
    /// # Panics
    /// Where the store cannot be read.
    #[must_use]
    pub fn dump(&self, project: &str) -> String {
        let now = RowTime::parse("2026-11-22 15:00:00").expect("a time");
        let store = Store::open(&self.dir.join("engram.db"), now).expect("the store");
        store.canonical_dump(&ProjectName::parse(project).expect("a name")).expect("a dump")
    }

    /// Returns the titles that a search finds.
    #[must_use]
    pub fn titles(&self, query: &str) -> Vec<String> {
        let found = self.json(&["search", query, "--limit", "100000"]);
        let all = found["observations"].as_array().expect("a list").iter();
        all.map(|one| one["title"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// Makes the command that runs a daemon, with nothing of the caller's environment.
#[must_use]
pub fn daemon(dir: &Path) -> Command {
    let mut command = Command::new(program("engramd"));
    command.arg("run").arg("--data-dir").arg(dir).env_clear();
    command
}

/// Runs the client against a data directory.
///
/// # Panics
/// Where it cannot be started.
#[must_use]
pub fn ctl(dir: &Path, args: &[&str], input: &str) -> Answer {
    run(Command::new(program("engramctl")).env_clear().current_dir("/"), dir, args, input)
}

/// Runs the client in a directory, with what a shell there would give it.
///
/// # Panics
/// Where it cannot be started.
#[must_use]
pub fn ctl_in(dir: &Path, work: &Path, args: &[&str]) -> Answer {
    let mut command = Command::new(program("engramctl"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("USER", "tester");
    run(command.current_dir(work), dir, args, "")
}

fn run(command: &mut Command, dir: &Path, args: &[&str], input: &str) -> Answer {
    command.env("ENGRAM_DATA_DIR", dir).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // A command that does not read its input is no fault.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    Answer::of(&child.wait_with_output().expect("it ends"))
}
