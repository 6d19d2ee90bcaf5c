//! C1 to C4: what an import and an export cost, by how many chunks a directory has, and how much memory one large chunk
//! takes (chunks.md, "Cost").

use crate::memory::resident_peak_kb;
use crate::report::{Line, Report};
use crate::stopwatch::{Stopwatch, per_second, percentile};
use engram_proto::canonical::Object;
use engram_proto::chunk::{Chunk, Manifest, ManifestEntry};
use engram_tests::processes::Device;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Rows of one chunk.
const ROWS: usize = 10;
/// How often each thing is measured; the middle one counts.
const RUNS: usize = 5;

/// Longer than the clock of any file system is coarse: from then on a directory is known to be what it was.
const REST: Duration = Duration::from_millis(2_600);
/// Rows of the one chunk of C4.
const LARGE_ROWS: usize = 100_000;

/// What was measured with one number of chunks.
struct Cost {
    chunks: usize,
    import: Duration,
    export: Duration,
    nothing: Duration,
    rested: Duration,
}

/// Measures directories with so many chunks, and one chunk with many rows.
pub(crate) fn bench(report: &mut Report, sizes: &[usize]) {
    let costs: Vec<Cost> = sizes.iter().map(|&chunks| grown(report, chunks)).collect();
    if let [first, .., last] = &costs[..] {
        let times = |of: fn(&Cost) -> Duration| of(last).as_secs_f64() / of(first).as_secs_f64();
        let measured = format!(
            "import {:.1}x, export {:.1}x, nothing {:.1}x, nothing after a rest {:.1}x",
            times(|cost| cost.import),
            times(|cost| cost.export),
            times(|cost| cost.nothing),
            times(|cost| cost.rested)
        );
        let what = format!("growth from {} to {} chunks", first.chunks, last.chunks);
        report.add(Line::new("C1 C2", what, measured, "flat"));
    }
    large(report);
}

fn grown(report: &mut Report, chunks: usize) -> Cost {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut shelf = Shelf::new(dir.path().join("shelf"));
    (0..chunks).for_each(|at| shelf.add(at, ROWS));
    shelf.list();
    let home = dir.path().join("engram");
    std::fs::create_dir(&home).expect("a directory");
    let device = Device::start(&home);
    let place = shelf.dir.clone();
    let run = |args: &[&str]| timed(&device, &place, args);
    let rate = per_second((chunks * ROWS) as u64, run(&["import"]));
    let (mut imports, mut exports, mut nothings) = (Vec::new(), Vec::new(), Vec::new());
    for again in 0..RUNS {
        shelf.add(chunks + again, ROWS);
        shelf.list();
        imports.push(run(&["import"]));
        for row in 0..ROWS {
            let _ = device.save("alpha", &format!("{again} {row}"), "made here");
        }
        exports.push(run(&["export", "--project", "alpha"]));
        nothings.push(run(&["export", "--project", "alpha"]));
        shelf.read();
    }
    std::thread::sleep(REST);
    let _ = run(&["export", "--project", "alpha"]);
    let mut rested: Vec<_> = (0..RUNS).map(|_| run(&["export", "--project", "alpha"])).collect();
    let middle = |times: &mut Vec<Duration>| percentile(times, 0.5);
    let cost = Cost {
        chunks,
        import: middle(&mut imports),
        export: middle(&mut exports),
        nothing: middle(&mut nothings),
        rested: middle(&mut rested),
    };
    let measured = format!(
        "import {:.1?}, export {:.1?}, nothing to export {:.1?}, the same after a rest {:.1?}",
        cost.import, cost.export, cost.nothing, cost.rested
    );
    report.add(Line::new("C1 C2", format!("10 new rows, {chunks} chunks"), measured, "15 ms at 10,000; 10 / 2 ms"));
    report.add(Line::new(
        "C3",
        format!("first import of {chunks} chunks"),
        format!("{rate:.0} rows/s"),
        "9,000 rows/s",
    ));
    cost
}

/// C4: one chunk with very many rows, in and out again.
fn large(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut shelf = Shelf::new(dir.path().join("shelf"));
    shelf.add(0, LARGE_ROWS);
    shelf.list();
    let home = dir.path().join("engram");
    std::fs::create_dir(&home).expect("a directory");
    let mut device = Device::start(&home);
    let (client_mb, took) = measured(&device, &shelf.dir, &["import"]);
    let daemon_mb = resident_peak_kb(device.daemon.pid()) / 1024;
    let rate = per_second(LARGE_ROWS as u64, took);
    let what = format!("{LARGE_ROWS} rows in one chunk");
    let seen = format!("import: client {client_mb} MB, daemon {daemon_mb} MB; {rate:.0} rows/s");
    report.add(Line::new("C3 C4", what.clone(), seen, "40 MB each; 9,000 rows/s"));
    device.daemon.kill();
    device.boot();
    let (client_mb, took) = measured(&device, &dir.path().join("again"), &["export", "--project", "alpha"]);
    let daemon_mb = resident_peak_kb(device.daemon.pid()) / 1024;
    let seen = format!("export: client {client_mb} MB, daemon {daemon_mb} MB; {:.1} s", took.as_secs_f64());
    report.add(Line::new("C4", what, seen, "40 MB each"));
}

/// Runs a command, and returns the most memory it had and how long it took.
fn measured(device: &Device, dir: &Path, args: &[&str]) -> (u64, Duration) {
    let mut command = std::process::Command::new(engram_tests::processes::program("engramctl"));
    command.env_clear().env("ENGRAM_DATA_DIR", &device.dir).arg("chunks").args(args);
    command.arg("--dir").arg(dir).args(["--timeout", "600"]).stdout(std::process::Stdio::null());
    let watch = Stopwatch::start();
    let mut child = command.spawn().expect("it starts");
    let mut most = 0;
    let status = loop {
        most = most.max(resident_peak_kb(child.id()) / 1024);
        match child.try_wait().expect("a status") {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(status.success(), "{args:?}: {status}");
    (most, watch.elapsed())
}

fn timed(device: &Device, dir: &Path, args: &[&str]) -> Duration {
    let mut all = vec!["chunks"];
    all.extend_from_slice(args);
    all.extend(["--dir", dir.to_str().expect("a path"), "--timeout", "600"]);
    let watch = Stopwatch::start();
    let answer = device.ctl(&all);
    assert_eq!(answer.code, 0, "{answer:?}");
    watch.elapsed()
}

/// A directory of chunks that somebody else wrote.
struct Shelf {
    dir: PathBuf,
    entries: Vec<ManifestEntry>,
}

impl Shelf {
    fn new(dir: PathBuf) -> Self {
        std::fs::create_dir_all(dir.join("chunks")).expect("a directory");
        Self { dir, entries: Vec::new() }
    }

    /// Writes a chunk of so many memories.
    fn add(&mut self, at: usize, rows: usize) {
        let session = json!({"id": "s", "project": "alpha", "directory": "/d", "started_at": "2026-11-22 14:00:00"});
        let memory = |row: usize| {
            let id = format!("obs-{at}-{row}");
            object(
                json!({"id": 1, "sync_id": id, "session_id": "s", "type": "decision", "title": format!("title {id}"),
                "content": format!("{id}: the local file stays the source of truth. ").repeat(4), "project": "alpha",
                "scope": "project", "revision_count": 1, "duplicate_count": 1, "created_at": "2026-11-22 14:00:00",
                "updated_at": "2026-11-22 14:00:00"}),
            )
        };
        let chunk = Chunk {
            sessions: vec![object(session)],
            observations: (0..rows).map(memory).collect(),
            ..Chunk::default()
        };
        let bytes = serde_json::to_vec(&chunk).expect("JSON");
        let id: String = Sha256::digest(&bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let file = std::fs::File::create(self.dir.join(format!("chunks/{id}.jsonl.gz"))).expect("a file");
        let mut packed = GzEncoder::new(file, Compression::fast());
        packed.write_all(&bytes).expect("written");
        packed.finish().expect("written");
        self.entries.push(ManifestEntry {
            id,
            created_by: "bench".to_owned(),
            created_at: "2026-11-22T14:00:00Z".to_owned(),
            sessions: 1,
            memories: rows as u64,
            prompts: 0,
        });
    }

    fn manifest(&self) -> PathBuf {
        self.dir.join("manifest.json")
    }

    /// Writes the list.
    fn list(&self) {
        let manifest = Manifest { version: Manifest::VERSION, chunks: self.entries.clone() };
        std::fs::write(self.manifest(), serde_json::to_string_pretty(&manifest).expect("JSON")).expect("a file");
    }

    /// Reads the list as an export left it.
    fn read(&mut self) {
        let text = std::fs::read_to_string(self.manifest()).expect("a file");
        let manifest: Manifest = serde_json::from_str(&text).expect("a manifest");
        self.entries = manifest.chunks;
    }
}

fn object(value: Value) -> Object {
    let Value::Object(object) = value else { panic!("an object") };
    object
}
