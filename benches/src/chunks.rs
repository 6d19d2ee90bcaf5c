//! C1 to C3: what an import and an export cost, by how many chunks a directory has (chunks.md, "Cost").

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

/// Measures directories with so many chunks.
pub(crate) fn bench(report: &mut Report, sizes: &[usize]) {
    for &chunks in sizes {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut shelf = Shelf::new(dir.path().join("shelf"));
        (0..chunks).for_each(|at| shelf.add(at));
        shelf.list();
        let home = dir.path().join("engram");
        std::fs::create_dir(&home).expect("a directory");
        let device = Device::start(&home);
        let place = shelf.dir.clone();
        let run = |args: &[&str]| timed(&device, &place, args);
        let first = run(&["import"]);
        let rate = per_second((chunks * ROWS) as u64, first);
        let (mut imports, mut exports, mut nothings) = (Vec::new(), Vec::new(), Vec::new());
        for again in 0..RUNS {
            shelf.add(chunks + again);
            shelf.list();
            imports.push(run(&["import"]));
            for row in 0..ROWS {
                let _ = device.save("alpha", &format!("{again} {row}"), "made here");
            }
            exports.push(run(&["export", "--project", "alpha"]));
            nothings.push(run(&["export", "--project", "alpha"]));
            shelf.read();
        }
        let middle = |times: &mut Vec<Duration>| percentile(times, 0.5);
        let what = format!("10 new rows, {chunks} chunks");
        let measured = format!(
            "import {:.1?}, export {:.1?}, nothing to export {:.1?}",
            middle(&mut imports),
            middle(&mut exports),
            middle(&mut nothings)
        );
        report.add(Line::new("C1 C2", what, measured, "15 ms at 10,000; 10 / 2 ms"));
        report.add(Line::new("C3", format!("first import of {chunks} chunks"), format!("{rate:.0} rows/s"), "–"));
    }
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

    /// Writes a chunk of ten memories.
    fn add(&mut self, at: usize) {
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
            observations: (0..ROWS).map(memory).collect(),
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
            memories: ROWS as u64,
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
