//! People with a device and a directory to work in.

use engram_proto::id::ProjectName;
use engram_proto::time::RowTime;
use engram_tests::processes::{Answer, Device, ctl_in, program};
use engramd::store::Store;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A person: a device, and a directory that is worked in.
pub(crate) struct Person {
    pub(crate) device: Device,
    pub(crate) work: PathBuf,
}

impl Person {
    /// Starts a device with an empty directory beside it.
    pub(crate) fn new(temp: &Path, name: &str) -> Self {
        let work = temp.join(format!("{name}-work"));
        std::fs::create_dir_all(&work).expect("a directory");
        Self { device: Device::start(&temp.join(name)), work }
    }

    /// Runs a command about chunks in the working directory.
    pub(crate) fn chunks(&self, args: &[&str]) -> Answer {
        let args: Vec<&str> = ["chunks"].iter().chain(args).copied().collect();
        ctl_in(&self.device.dir, &self.work, &args)
    }

    /// Runs one that must end well, and reads its JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().chain(&["--json"]).copied().collect();
        let answer = self.chunks(&args);
        assert_eq!(answer.code, 0, "{args:?}: {answer:?}");
        answer.json()
    }

    /// Runs git in the working directory; returns whether it ended well, and what it said.
    pub(crate) fn git(&self, args: &[&str]) -> (bool, String) {
        let mut git = Command::new("git");
        git.current_dir(&self.work).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_EDITOR", "true");
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "someone").env(format!("GIT_{role}_EMAIL"), "someone@example.org");
        }
        let output = git.args(args).output().expect("git runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Runs git, which must end well.
    pub(crate) fn must(&self, args: &[&str]) -> String {
        let (done, said) = self.git(args);
        assert!(done, "git {args:?}: {said}");
        said
    }

    /// The directory with the chunks.
    pub(crate) fn place(&self) -> PathBuf {
        self.work.join(".engram")
    }

    /// The canonical dump of a project on this device.
    pub(crate) fn dump(&self, project: &str) -> String {
        let store = Store::open(&self.device.dir.join("engram.db"), now()).expect("the store");
        store.canonical_dump(&ProjectName::parse(project).expect("a name")).expect("a dump")
    }

    /// One value out of the store's file.
    pub(crate) fn one<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        let store = rusqlite::Connection::open(self.device.dir.join("engram.db")).expect("the store");
        store.query_row(sql, [], |row| row.get(0)).expect("a value")
    }
}

fn now() -> RowTime {
    RowTime::parse("2026-11-22 15:00:00").expect("a time")
}

/// The lines of a dump.
fn lines(dump: &str) -> Vec<Value> {
    dump.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
}

/// A dump without the relations that do not travel: those with an end that was deleted for good, or that nothing in the
/// directory tells as more than deleted, as [somebody](read_by_others) read it.
pub(crate) fn shared(dump: &str, read: &Value) -> BTreeSet<String> {
    travelling(&lines(dump), read)
}

/// The same of what the reader itself makes of a project.
pub(crate) fn merged_by_others(read: &Value, project: &str) -> BTreeSet<String> {
    travelling(read["dump"][project].as_array().map_or(&[], Vec::as_slice), read)
}

fn travelling(lines: &[Value], read: &Value) -> BTreeSet<String> {
    let told: BTreeSet<&str> = read["told"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let kept: BTreeSet<&str> = lines
        .iter()
        .filter(|line| line["entity"] == "observation" && line["deleted"] != "hard")
        .filter_map(|line| line["key"].as_str())
        .filter(|key| told.contains(key))
        .collect();
    let end = |line: &Value, field: &str| line[field].as_str().is_some_and(|end| kept.contains(end));
    let travels = |line: &&Value| line["entity"] != "relation" || (end(line, "source_id") && end(line, "target_id"));
    lines.iter().filter(travels).map(ToString::to_string).collect()
}

/// Copies the fixture of the Go program to where a person works.
pub(crate) fn lay_fixture(work: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chunks/two-people");
    let place = work.join(".engram");
    std::fs::create_dir_all(place.join("chunks")).expect("a directory");
    for name in ["manifest.json", "chunks/259f6ed7.jsonl.gz", "chunks/765fd67e.jsonl.gz", "chunks/a77f18a4.jsonl.gz"] {
        std::fs::copy(from.join(name), place.join(name)).expect("a copy");
    }
}

/// Every file below a directory, with its bytes.
pub(crate) fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

/// Packs a text as a chunk's file, and returns its id.
pub(crate) fn lay_chunk(place: &Path, text: &[u8]) -> String {
    lay_packed(place, text, flate2::Compression::default())
}

/// Does the same, packed as tightly as this.
pub(crate) fn lay_packed(place: &Path, text: &[u8], tightly: flate2::Compression) -> String {
    use std::io::Write as _;
    let id = engram_proto::chunk::ChunkId::of_bytes(text).to_string();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), tightly);
    gz.write_all(text).expect("packed");
    std::fs::create_dir_all(place.join("chunks")).expect("a directory");
    std::fs::write(place.join(format!("chunks/{id}.jsonl.gz")), gz.finish().expect("packed")).expect("written");
    id
}

/// Puts empty files with these names into the directory of chunks.
pub(crate) fn lay_names(place: &Path, names: impl Iterator<Item = String>) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let chunks = place.join("chunks");
    std::fs::create_dir_all(&chunks).expect("a directory");
    for name in names {
        mknodat(CWD, chunks.join(name), FileType::RegularFile, Mode::RUSR, 0).expect("a file");
    }
}

/// Runs the reader that was written from the description of the format alone, on a directory of chunks.
pub(crate) fn read_by_others(place: &Path) -> Value {
    read_with(place, &[])
}

/// Does so where git may have taken chunks away, and with one of them what told the end of a relation.
pub(crate) fn read_where_git_took_back(place: &Path) -> Value {
    read_with(place, &["--taken-back"])
}

fn read_with(place: &Path, options: &[&str]) -> Value {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chunks/reader.py");
    let output = Command::new("python3").arg(reader).arg(place).args(options).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("an object")
}

/// Makes the command that runs the client, to be ended in the middle.
pub(crate) fn client(person: &Person, args: &[&str]) -> Command {
    let mut command = Command::new(program("engramctl"));
    command.env_clear().env("ENGRAM_DATA_DIR", &person.device.dir).current_dir(&person.work).arg("chunks").args(args);
    command
}
