//! A data directory that may not be written any more while its daemon or its server runs: either goes on or says why not,
//! and goes on by itself once it may.

use crate::books;
use engram_tests::processes::{Answer, Cloud, Device, Process, TOKEN, listening, program, until};
use rusqlite::Connection;
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who runs the daemon where root runs this test: root may write everywhere.
const NOBODY: u32 = 65_534;

/// Whose directory it is.
struct Owner {
    programs: PathBuf,
    dir: PathBuf,
}

impl Owner {
    fn new(temp: &Path) -> Self {
        let (programs, dir) = (temp.join("programs"), temp.join("data"));
        for dir in [&programs, &dir] {
            std::fs::create_dir(dir).expect("a directory");
        }
        // What was built may lie where nobody else may look.
        for name in ["engramd", "engramctl", "engram-cloud"] {
            std::fs::copy(program(name), programs.join(name)).expect("copied");
        }
        for open in [temp, &programs] {
            mode(open, 0o755);
        }
        if rustix::process::getuid().is_root() {
            chown(&dir, Some(NOBODY), Some(NOBODY)).expect("given away");
        }
        Self { programs, dir }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env_clear().arg("--data-dir").arg(&self.dir).current_dir("/");
        as_owner(command)
    }

    /// Makes the command that serves the directory at a port.
    fn server(&self, port: &str) -> Command {
        let mut command = Command::new(self.programs.join("engram-cloud"));
        command.arg("serve").env_clear().current_dir("/").env("ENGRAM_CLOUD_DATA_DIR", &self.dir);
        command.env("ENGRAM_PORT", port).env("ENGRAM_CLOUD_TOKEN", TOKEN).env("ENGRAM_CLOUD_ALLOWED_PROJECTS", "*");
        as_owner(command)
    }

    /// Starts a server that must refuse, and returns what it says.
    fn refusal(&self, port: &str) -> String {
        let mut child = self.server(port).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut said = child.stderr.take().expect("a pipe");
        let mut server = Process::new(child);
        until("it refuses", || server.has_ended());
        let mut text = String::new();
        said.read_to_string(&mut text).expect("words");
        text
    }

    /// Every file that is there.
    fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
    }

    fn ctl_with(&self, args: &[&str], input: &str) -> Answer {
        let mut command = self.command("engramctl");
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // A command that does not read its input is no fault.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        Answer::of(&child.wait_with_output().expect("it ends"))
    }

    fn ctl(&self, args: &[&str]) -> Answer {
        self.ctl_with(args, "")
    }

    fn login(&self, cloud: &Cloud) -> Answer {
        self.ctl_with(&["cloud", "login", "--server", &cloud.url, "--token-stdin"], TOKEN)
    }

    fn shows(&self, title: &str) -> bool {
        self.ctl(&["list", "--project", "demo", "--limit", "1000"]).out.contains(title)
    }

    /// The reason that `status` gives for a store that cannot be used.
    fn reason(&self) -> Option<String> {
        let report = self.ctl(&["status", "--json"]).json();
        let mut codes = report["findings"].as_array()?.iter().filter_map(|finding| finding["code"].as_str());
        codes.find(|code| code.starts_with("store_")).map(str::to_owned)
    }
}

/// Runs a command as the directory's owner.
fn as_owner(mut command: Command) -> Command {
    if rustix::process::getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("permissions");
}

/// DUR-1, LOUD-1: the directory of a running daemon, and then its files too, may not be written for a while.
#[test]
fn dur_1_a_directory_that_may_not_be_written_for_a_while_loses_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let cloud = Cloud::start(&temp.path().join("cloud"));
    let other = Device::enrolled(&temp.path().join("other"), &cloud, "demo");
    let owner = Owner::new(temp.path());
    let quiet = owner.command("engramd").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut daemon = Process::new(quiet.expect("it starts"));
    until("the daemon answers", || owner.ctl(&["status"]).code != 4);
    assert_eq!((owner.login(&cloud).code, owner.ctl(&["enroll", "demo"]).code), (0, 0));
    until("it is at rest", || owner.ctl(&["sync"]).code == 0);
    let files = ["engram.db", "engram.db-wal", "engram.db-shm", "cloud.json"].map(|name| owner.dir.join(name));
    let address = std::fs::read(&files[3]).expect("the server's address");
    let mut answered = Vec::new();
    for (what, closed) in [("directory", &files[..0]), ("files", &files[..])] {
        mode(&owner.dir, 0o500);
        closed.iter().for_each(|file| mode(file, 0o400));
        for n in 0..4 {
            let title = format!("{what} closed {n}");
            let save = owner.ctl(&["save", "--project", "demo", "--title", &title, "words", "--json"]);
            if save.code == 0 {
                answered.push(title);
            } else {
                let code = save.json()["error"]["reason_code"].as_str().unwrap_or_default().to_owned();
                assert!(code.starts_with("store_"), "{what}: {save:?}");
            }
        }
        let title = format!("{what} closed there");
        let _ = other.save("demo", &title, "words");
        until("it goes on, or says why it does not", || owner.shows(&title) || owner.reason().is_some());
        let login = owner.login(&cloud);
        assert_eq!((login.code, login.err.trim().lines().count()), (1, 1), "{what}: {login:?}");
        assert!(login.err.contains("cloud.json") && login.err.contains("ermission denied"), "{what}: {login:?}");
        assert_eq!(std::fs::read(&files[3]).expect("the server's address"), address, "{what}: nothing was changed");

        mode(&owner.dir, 0o700);
        closed.iter().for_each(|file| mode(file, 0o600));
        until("a sync works again", || owner.ctl(&["sync"]).code == 0);
        until("nothing is wrong any more", || owner.ctl(&["status"]).code == 0);
        assert_eq!(owner.login(&cloud).code, 0, "{what}");
        let save = owner.ctl(&["save", "--project", "demo", "--title", &format!("{what} open"), "words"]);
        assert_eq!(save.code, 0, "{what}: {save:?}");
        answered.extend([title, format!("{what} open")]);
    }
    assert!(!daemon.has_ended(), "it is the same daemon");
    until("a sync works", || owner.ctl(&["sync"]).code == 0);
    until("all is there", || answered.iter().all(|title| owner.shows(title) && other.titles("words").contains(title)));
    daemon.kill();
    let copy = books::copied(&owner.dir, "engram.db");
    let conn = Connection::open(copy.path().join("engram.db")).expect("it opens");
    assert_eq!(books::faults(&conn), Vec::<String>::new());
    let count: i64 = conn.query_row("SELECT count(*) FROM observations", [], |row| row.get(0)).expect("a number");
    assert_eq!(usize::try_from(count).expect("few"), answered.len(), "each is there once, and nothing else");
}

/// DUR-1, LOUD-1: the directory of a running server, and then its files too, may not be written for a while: what it
/// answered is there; one that begins meanwhile says why it cannot, and changes nothing.
#[test]
fn dur_1_a_servers_directory_that_may_not_be_written_for_a_while_loses_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let owner = Owner::new(temp.path());
    let (mut server, url) = listening(&mut owner.server("0"));
    let port = url.rsplit(':').next().expect("a port").to_owned();
    let [a, b] = ["a", "b"].map(|name| Device::enrolled_at(&temp.path().join(name), &url, "demo"));
    let mut titles = Vec::new();
    let mut save = |title: &str| {
        let _ = a.save("demo", title, "words");
        titles.push(title.to_owned());
        // It goes now, or is told why not and goes later.
        let sync = a.ctl(&["sync"]);
        assert!([0, 3].contains(&sync.code), "{title}: {sync:?}");
    };
    save("open");
    for (what, closed) in [("directory", Vec::new()), ("files", owner.files())] {
        mode(&owner.dir, 0o500);
        closed.iter().for_each(|file| mode(file, 0o400));
        (0..4).for_each(|n| save(&format!("{what} closed {n}")));
        if !closed.is_empty() {
            server.kill();
            let contents = || owner.files().iter().map(|file| std::fs::read(file).expect("a file")).collect::<Vec<_>>();
            let before = contents();
            let said = owner.refusal(&port);
            assert!(said.contains("ermission denied") && said.contains(&*owner.dir.to_string_lossy()), "{said}");
            assert_eq!(contents(), before, "nothing was changed");
        }
        mode(&owner.dir, 0o700);
        closed.iter().for_each(|file| mode(file, 0o600));
        if !closed.is_empty() {
            (server, _) = listening(&mut owner.server(&port));
        }
        save(&format!("{what} open"));
        until("nothing is wrong any more", || a.ctl(&["sync"]).code == 0 && a.ctl(&["status"]).code == 0);
    }
    until("all is at the other device", || {
        let there = b.titles("words");
        there.len() == titles.len() && titles.iter().all(|title| there.contains(title))
    });
    server.kill();
    let copy = books::copied(&owner.dir, "engram-cloud.db");
    let conn = Connection::open(copy.path().join("engram-cloud.db")).expect("it opens");
    assert_eq!(books::server_faults(&conn), Vec::<String>::new());
    let count = "SELECT count(*) FROM cloud_mutations WHERE entity = 'observation'";
    let count: i64 = conn.query_row(count, [], |row| row.get(0)).expect("a number");
    assert_eq!(usize::try_from(count).expect("few"), titles.len(), "each is there once, and nothing else");
}
