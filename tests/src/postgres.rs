//! A Postgres of the tests' own: one cluster per test process, one database per case.
//!
//! A shell beside the process watches over the cluster: it holds the other end of a pipe, and when the process ends,
//! however it does, it stops the cluster by its pid and removes the directory.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Makes the cluster, says `up`, and waits for the pipe to close. `$1` the programs, `$2` the directory.
const GUARD: &str = r#"
set -eu
umask 077
mkdir "$2"
"$1/initdb" -D "$2/data" -U engram -A trust -E UTF8 --locale=C --no-sync >"$2/initdb.log" 2>&1
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c max_connections=300 >"$2/log" 2>&1 &
pid=$!
tries=0
until "$1/psql" -h "$2" -U engram -d postgres -qc 'SELECT 1' >/dev/null 2>&1; do
    tries=$((tries + 1)); [ "$tries" -lt 300 ]; sleep 0.1
done
echo up
read -r _ || true
kill -INT "$pid" 2>/dev/null || true
wait "$pid" || true
rm -rf "$2"
"#;

/// A running cluster.
pub struct Cluster {
    programs: PathBuf,
    dir: PathBuf,
    // Its pipe closes with this process.
    _guard: Child,
}

/// A database in the cluster of this process.
#[derive(Clone, Debug)]
pub struct Database {
    name: String,
}

impl Database {
    /// Makes an empty database; `None` where Postgres is not installed, which is said, and fails where `CI` is set.
    ///
    /// # Panics
    /// Where Postgres is installed and does not start, or is missing in continuous integration.
    #[must_use]
    pub fn new() -> Option<Self> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let cluster = cluster()?;
        let name = format!("case_{}", LAST.fetch_add(1, Ordering::Relaxed));
        cluster.psql("postgres", &["-c", &format!("CREATE DATABASE {name}")]);
        Some(Self { name })
    }

    /// Returns its address.
    ///
    /// # Panics
    /// Never: a database is made in a cluster.
    #[must_use]
    pub fn url(&self) -> String {
        let dir = cluster().expect("a cluster").dir.display();
        format!("postgres:///{}?host={dir}&user=engram", self.name)
    }

    /// Returns the socket that its server listens on.
    ///
    /// # Panics
    /// Never: a database is made in a cluster.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        cluster().expect("a cluster").dir.join(".s.PGSQL.5432")
    }

    /// Returns its name in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements, and returns what they print: unaligned, without headings.
    ///
    /// # Panics
    /// Where one fails.
    pub fn query(&self, sql: &str) -> String {
        cluster().expect("a cluster").psql(&self.name, &["-c", sql])
    }

    /// Runs statements as [`query`](Self::query) does; `None` where the cluster does not take them, as while it recovers
    /// from a crash.
    ///
    /// # Panics
    /// Where `psql` cannot be started.
    #[must_use]
    pub fn try_query(&self, sql: &str) -> Option<String> {
        let asked = cluster().expect("a cluster").command(&self.name, &["-c", sql]).output().expect("psql");
        asked.status.success().then(|| String::from_utf8_lossy(&asked.stdout).trim().to_owned())
    }

    /// Runs a file of statements.
    ///
    /// # Panics
    /// Where one fails.
    pub fn load(&self, file: &Path) {
        cluster().expect("a cluster").psql(&self.name, &["-f", &file.display().to_string()]);
    }
}

impl Cluster {
    fn start(programs: PathBuf) -> Self {
        // Short, because the name of a socket is; the operating system's own folder for such things may be long.
        let dir = PathBuf::from(format!("/tmp/engram-pg-{}-{:08x}", std::process::id(), rand::random::<u32>()));
        let is_root = rustix::process::getuid().is_root();
        let mut command = Command::new(if is_root { "runuser" } else { "sh" });
        if is_root {
            // Postgres does not run as root.
            command.args(["-u", "postgres", "--", "sh"]);
        }
        command.args(["-c", GUARD, "guard"]).arg(&programs).arg(&dir).current_dir("/");
        let mut guard = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut said = String::new();
        let read = BufReader::new(guard.stdout.take().expect("a pipe")).read_line(&mut said);
        assert!(read.is_ok() && said.trim() == "up", "Postgres does not start; see {}", dir.display());
        Self { programs, dir, _guard: guard }
    }

    fn command(&self, database: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command.arg("-h").arg(&self.dir).args(["-U", "engram", "-d", database, "-XqAt", "-v", "ON_ERROR_STOP=1"]);
        command.args(args);
        command
    }

    fn psql(&self, database: &str, args: &[&str]) -> String {
        let done = self.command(database, args).output().expect("psql");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let made = CLUSTER.get_or_init(|| {
        let programs = programs();
        assert!(programs.is_some() || std::env::var_os("CI").is_none(), "Postgres is not installed");
        programs.map(Cluster::start)
    });
    if made.is_none() {
        // For who reads the output of a test that did nothing.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), MISSING.as_bytes());
    }
    made.as_ref()
}

const MISSING: &str = "SKIPPED: Postgres is not installed, so nothing here was tested on it; install it (make test \
                       does so on Debian as root) or put initdb on the PATH\n";

/// Finds the programs of the newest Postgres here.
fn programs() -> Option<PathBuf> {
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let version = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let packaged = packaged.map(|entry| entry.path().join("bin")).max_by_key(version);
    let path = std::env::var_os("PATH").unwrap_or_default();
    packaged.into_iter().chain(std::env::split_paths(&path)).find(|dir| dir.join("initdb").is_file())
}
