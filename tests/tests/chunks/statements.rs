//! COST-1 inside of the daemon: how much the statements of an import and an export do, whatever has gathered at a place.
//! Counted are the instructions of SQLite's machine: one row that is looked at takes several.

use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::ipc::chunks::{ChunkName, ChunkPart, ChunkRow, ChunkRows, ChunkTaken};
use engram_proto::ipc::request::{RelateRequest, SaveRequest};
use engram_proto::time::RowTime;
use engramd::chunks;
use engramd::memory::{self, Now};
use engramd::store::Store;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PLACE: &str = "/clone/.engram";
/// Rows of one chunk.
const ROWS: usize = 10;

/// A store whose statements are counted, and the names of the files at its place.
struct Counted {
    store: Store,
    files: Vec<String>,
    instructions: Arc<AtomicU64>,
    clock: i64,
}

/// What one course of commands took.
#[derive(Debug)]
struct Took {
    import: u64,
    meet: u64,
    export: u64,
    nothing: u64,
}

fn at(s: i64) -> RowTime {
    RowTime::parse("2026-11-22 14:00:00").expect("a time").plus_s(s)
}

fn alpha() -> ProjectName {
    ProjectName::parse("alpha").expect("a name")
}

/// The rows of a colleague's chunk.
fn rows(nth: usize) -> Vec<ChunkRow> {
    let when = "2026-11-22 10:00:00";
    let session = json!({"id": "s", "project": "alpha", "directory": "/d", "started_at": when});
    let memory = |row: usize| {
        let id = format!("obs-{nth:05}-{row}");
        json!({"sync_id": id, "session_id": "s", "type": "note", "title": id, "content": id, "scope": "project",
            "project": "alpha", "created_at": when, "updated_at": when})
    };
    let mut rows = vec![ChunkRow { part: ChunkPart::Session, json: session.to_string() }];
    rows.extend((0..ROWS).map(|row| ChunkRow { part: ChunkPart::Observation, json: memory(row).to_string() }));
    rows
}

impl Counted {
    fn new() -> Self {
        let mut conn = rusqlite::Connection::open_in_memory().expect("a connection");
        let instructions = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&instructions);
        let count = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            false
        };
        conn.progress_handler(1, Some(count)).expect("a handler");
        let store = Store::over(conn, at(0)).expect("a store");
        Self { store, files: Vec::new(), instructions, clock: 0 }
    }

    fn counted<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> (R, u64) {
        let before = self.instructions.load(Ordering::Relaxed);
        let result = f(self);
        (result, self.instructions.load(Ordering::Relaxed) - before)
    }

    fn give(&mut self, rows: Vec<ChunkRow>) -> ChunkTaken {
        let text: String = rows.iter().map(|row| row.json.as_str()).collect();
        let hash = Hash::of_bytes(text.as_bytes());
        let of = ChunkName { id: hash.short(12), hash: hash.to_string() };
        self.files.push(of.id.clone());
        self.files.sort();
        let mut parts = chunks::read_rows(PLACE, &[ChunkRows { of, rows, last: true }]).expect("they are read");
        chunks::leave_unwanted(&mut self.store, (PLACE, true), &mut parts, at(self.clock)).expect("it is asked");
        chunks::take(&mut self.store, (PLACE, true), &parts, at(self.clock)).expect("it is taken")
    }

    fn import(&mut self, nth: usize) {
        assert_eq!(self.give(rows(nth)).changed, ROWS as u64 + u64::from(self.files.len() == 1));
        let _ = self.store.stand_ins_of_import(&alpha(), at(self.clock)).expect("none are needed");
        let _ = chunks::held(&self.store, PLACE).expect("none are held");
    }

    /// Exports what is new, as daemon and client do; returns how many rows there were.
    fn export(&mut self) -> usize {
        self.clock += 1;
        let now = at(self.clock);
        while self.store.take_up(200, now).expect("nothing is taken up") {}
        if self.store.read(|conn| chunks::finds_nothing(conn, PLACE, &alpha(), now)).expect("an answer") {
            return 0;
        }
        self.store.export_begins(&[alpha()]).expect("it begins");
        let mut rows = Vec::new();
        let put = |row| {
            rows.push(row);
            Ok(())
        };
        let marks = self.store.read(|conn| chunks::export(conn, PLACE, &[alpha()], now, put)).expect("rows");
        let count = rows.len();
        if count > 0 {
            let _ = self.give(rows);
        }
        if !marks.is_empty() {
            self.store.exported(PLACE, &marks, now).expect("it is kept");
        }
        count
    }

    fn save(&mut self, n: usize) -> String {
        self.clock += 1;
        let request = SaveRequest {
            title: format!("title {n}"),
            content: format!("content {n}"),
            project: "alpha".to_owned(),
            directory: "/d".to_owned(),
            ..SaveRequest::default()
        };
        let random = (n as u64).to_be_bytes();
        memory::save(&mut self.store, &request, &Now { at: at(self.clock), random }).expect("it is saved").sync_id
    }

    /// Writes a relation whose target is deleted before anybody was told of it; returns the target.
    fn delete_untold(&mut self, n: usize) -> String {
        let (source, target) = (self.save(3 * n), self.save(3 * n + 1));
        let random = (3 * n as u64 + 2).to_be_bytes();
        let request =
            RelateRequest { source, verb: "refines".to_owned(), target: target.clone(), ..RelateRequest::default() };
        let now = Now { at: at(self.clock), random };
        let _ = memory::relate(&mut self.store, &request, &now).expect("they are related");
        let _ = memory::delete(&mut self.store, &target, false, &now).expect("it is deleted");
        target
    }

    /// What an export takes of one more relation that waits, and of the one that a colleague's chunk lets go, once so many
    /// wait at the place.
    fn waited(history: usize) -> (u64, u64) {
        let mut counted = Self::new();
        for n in 0..history {
            let _ = counted.delete_untold(n);
            let _ = counted.export();
            // What was judged within a day is looked at again in any case.
            counted.clock += 100_000;
        }
        let _ = counted.export();
        counted.clock += 100_000;
        let target = counted.delete_untold(history);
        let (rows, waits) = counted.counted(Self::export);
        assert_eq!(rows, 2, "its source, and the delete");
        // It was written before the delete, and adds nothing to that.
        let [created, updated] = [0, -2].map(|s| at(counted.clock + s).to_string());
        let told = json!({"sync_id": target, "session_id": "s", "type": "note", "title": "t", "content": "c",
            "scope": "project", "project": "alpha", "created_at": created, "updated_at": updated});
        let (rows, goes) = counted.counted(|counted| {
            counted.give(vec![ChunkRow { part: ChunkPart::Observation, json: told.to_string() }]);
            counted.export()
        });
        assert_eq!(rows, 1, "the relation");
        (waits, goes)
    }

    /// What it takes once so many chunks have gathered.
    fn took(history: usize) -> Took {
        let mut counted = Self::new();
        (0..history).for_each(|nth| counted.import(nth));
        let _ = counted.export();
        let ((), import) = counted.counted(|counted| counted.import(history));
        let files = counted.files.clone();
        let (met, meet) = counted.counted(|counted| counted.store.chunks_meet(PLACE, &files).expect("an answer"));
        assert_eq!((met.unknown.len(), met.unread.len()), (0, 0));
        let _ = counted.export();
        (0..ROWS).for_each(|n| drop(counted.save(n)));
        let (rows, export) = counted.counted(Self::export);
        assert!(rows >= ROWS, "{rows}");
        let (none, nothing) = counted.counted(Self::export);
        assert_eq!(none, 0);
        Took { import, meet, export, nothing }
    }
}

#[test]
fn cost_1_statements_do_as_much_whatever_has_gathered() {
    let (few, many) = (Counted::took(20), Counted::took(400));
    for (what, few, many) in [
        ("import", few.import, many.import),
        ("export", few.export, many.export),
        ("nothing", few.nothing, many.nothing),
    ] {
        assert!(many <= few + few / 20, "{what}: {few} instructions with 20 chunks, {many} with 400");
    }
    assert!(few.nothing < few.export / 10, "{few:?}");
    // Only which files are news is looked through, and that a file takes few instructions.
    let each = (many.meet - few.meet) / (400 - 20);
    assert!(each < 10, "{each} instructions for a file");
}

#[test]
fn cost_1_statements_do_as_much_however_many_relations_wait() {
    let ((waits, goes), many) = (Counted::waited(10), Counted::waited(200));
    for (what, few, many) in [("one that waits", waits, many.0), ("one that goes", goes, many.1)] {
        assert!(many <= few + few / 20, "{what}: {few} instructions where 10 wait, {many} where 200 do");
    }
}

#[test]
fn idem_1_a_chunk_that_is_given_without_asking_is_taken_once() {
    let mut counted = Counted::new();
    counted.import(0);
    assert_eq!(counted.give(rows(0)), ChunkTaken::default());
    assert_eq!(counted.give(rows(1)).rows, 1 + ROWS as u64);
}
