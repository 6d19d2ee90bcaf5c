//! One course of exports and imports of chunks, ended at every durable step of the store: what the store says of chunks is
//! never ahead of the files, and the same commands then end it as if nothing had happened (chunks.md 5).

use crate::script::alpha;
use crate::{Dice, books, one_step, rounds};
use engram_proto::canonical::Hash;
use engram_proto::ipc::chunks::{ChunkName, ChunkPart, ChunkRow, ChunkRows};
use engram_proto::ipc::request::{RelateRequest, SaveRequest, SessionStart, UpdateRequest};
use engram_proto::time::RowTime;
use engram_tests::disk::{Disk, Fate, Plan};
use engramd::chunks;
use engramd::memory::{self, Now};
use engramd::store::Store;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::Path;

const PLACE: &str = "/clone/.engram";

/// What is done, in order; after a crash from the one on that was not answered.
const OPS: &[&str] = &[
    "open",
    "session",
    "save one",
    "save two",
    "relate",
    "export",
    "import",
    "update",
    "delete hard",
    "export",
    "import late",
];

/// A repository: what the client wrote is on the disk, for it is flushed before the daemon hears of it.
type Repository = BTreeMap<String, Vec<ChunkRow>>;

fn failed(error: impl Display) -> String {
    error.to_string()
}

fn hash(rows: &[ChunkRow]) -> Hash {
    let text: String = rows.iter().map(|row| format!("{}{}", row.part.as_str(), row.json)).collect();
    Hash::of_bytes(text.as_bytes())
}

fn of(part: ChunkPart, value: &Value) -> ChunkRow {
    ChunkRow { part, json: value.to_string() }
}

fn memory(id: &str, session: &str) -> ChunkRow {
    let at = "2026-11-22 10:00:00";
    of(
        ChunkPart::Observation,
        &json!({"sync_id": id, "session_id": session, "type": "note", "title": id, "content": "theirs", "scope": "project",
            "project": "alpha", "created_at": at, "updated_at": at}),
    )
}

fn session(id: &str) -> ChunkRow {
    of(
        ChunkPart::Session,
        &json!({"id": id, "project": "alpha", "directory": "/theirs", "started_at": "2026-11-22 10:00:00"}),
    )
}

/// What a colleague exported: with a child that comes before its session, a deletion and a relation.
fn of_a_colleague() -> [Vec<ChunkRow>; 2] {
    let mutation = |entity: &str, key: &str, op: &str, payload: Value| {
        let payload = payload.to_string();
        of(
            ChunkPart::Mutation,
            &json!({"entity": entity, "entity_key": key, "op": op, "project": "alpha", "payload": payload}),
        )
    };
    let relation = json!({"sync_id": "rel-1", "source_id": "obs-1", "target_id": "obs-2", "relation": "related",
        "judgment_status": "judged", "marked_by_actor": "a", "marked_by_kind": "agent"});
    let gone = json!({"sync_id": "obs-3", "session_id": "s", "deleted": true, "deleted_at": "2026-11-22 10:00:05"});
    let first = vec![
        session("s"),
        memory("obs-1", "s"),
        memory("obs-2", "s"),
        memory("obs-late", "s-late"),
        mutation("relation", "rel-1", "upsert", relation),
        mutation("observation", "obs-3", "delete", gone),
    ];
    [first, vec![session("s-late")]]
}

struct Clone {
    store: Option<Store>,
    repository: Repository,
    step: u8,
}

impl Clone {
    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("it is open")
    }

    fn at(&self) -> RowTime {
        RowTime::parse("2026-11-22 14:00:00").expect("a time").plus_s(self.step.into())
    }

    fn run(&mut self, path: &Path, op: usize) -> Result<(), String> {
        self.step = u8::try_from(op).expect("few");
        let now = Now { at: self.at(), random: [self.step; 8] };
        let id_of = |store: &Store, title: &str| {
            let sql = "SELECT sync_id FROM observations WHERE title = ?1";
            store.read(|conn| Ok(conn.query_row(sql, [title], |row| row.get::<_, String>(0))?)).map_err(failed)
        };
        match OPS[op] {
            "open" => {
                self.store = None;
                self.store = Some(Store::open(path, now.at).map_err(failed)?);
            }
            "session" => {
                let start =
                    SessionStart { id: Some("mine".into()), project: "alpha".into(), directory: "/mine".into() };
                memory::session_start(self.store(), &start, &now).map_err(failed)?;
            }
            "save one" | "save two" => {
                let title = OPS[op][5..].to_owned();
                let request = SaveRequest {
                    title,
                    content: "mine".to_owned(),
                    project: "alpha".to_owned(),
                    directory: "/mine".to_owned(),
                    session: Some("mine".to_owned()),
                    ..SaveRequest::default()
                };
                memory::save(self.store(), &request, &now).map_err(failed)?;
            }
            "relate" => {
                let (source, target) = (id_of(self.store(), "one")?, id_of(self.store(), "two")?);
                let request = RelateRequest { source, verb: "related".into(), target, ..RelateRequest::default() };
                memory::relate(self.store(), &request, &now).map_err(failed)?;
            }
            "update" => {
                let (id, title) = (id_of(self.store(), "one")?, Some("one, better".to_owned()));
                memory::update(self.store(), &UpdateRequest { id, title, ..UpdateRequest::default() }, &now)
                    .map_err(failed)?;
            }
            "delete hard" => {
                let id = id_of(self.store(), "two")?;
                memory::delete(self.store(), &id, true, &now).map_err(failed)?;
            }
            "export" => drop(self.export()?),
            "import" => self.import(0)?,
            "import late" => self.import(1)?,
            other => unreachable!("{other}"),
        }
        Ok(())
    }

    fn export(&mut self) -> Result<usize, String> {
        let (ids, at) = (self.repository.keys().cloned().collect::<Vec<_>>(), self.at());
        let unknown = self.store().chunks_meet(PLACE, &ids).map_err(failed)?.unknown;
        unknown.iter().try_for_each(|id| self.give(id, false))?;
        self.store().export_begins(&[alpha()]).map_err(failed)?;
        let mut rows = Vec::new();
        let put = |row| {
            rows.push(row);
            Ok(())
        };
        let marks = self.store().read(|conn| chunks::export(conn, PLACE, &[alpha()], at, put)).map_err(failed)?;
        let count = rows.len();
        if count > 0 {
            let id = hash(&rows).to_string();
            self.repository.insert(id.clone(), rows);
            self.give(&id, true)?;
        }
        self.store().exported(PLACE, &marks, at).map_err(failed)?;
        Ok(count)
    }

    /// A colleague's chunk is pulled, and all that is new is imported.
    fn import(&mut self, which: usize) -> Result<(), String> {
        let theirs = of_a_colleague()[which].clone();
        self.repository.insert(hash(&theirs).to_string(), theirs);
        self.import_all()
    }

    fn import_all(&mut self) -> Result<(), String> {
        let (ids, at) = (self.repository.keys().cloned().collect::<Vec<_>>(), self.at());
        let met = self.store().chunks_meet(PLACE, &ids).map_err(failed)?;
        met.unknown.iter().chain(&met.unread).try_for_each(|id| self.give(id, true))?;
        chunks::held(self.store(), PLACE).map_err(failed)?;
        self.store().place_settle(PLACE, &ids.join(" "), at).map_err(failed)
    }

    /// Gives a chunk in parts of two rows.
    fn give(&mut self, id: &str, apply: bool) -> Result<(), String> {
        let (rows, at) = (self.repository[id].clone(), self.at());
        let named = [(id.to_owned(), hash(&rows))];
        if self.store().chunks_wanted(PLACE, &named, apply, at).map_err(failed)? == [false] {
            return Ok(());
        }
        let of = ChunkName { id: id.to_owned(), hash: hash(&rows).to_string() };
        let parts: Vec<_> = rows.chunks(2).collect();
        for (n, part) in parts.iter().enumerate() {
            let part = ChunkRows { of: of.clone(), rows: part.to_vec(), last: n + 1 == parts.len() };
            chunks::take(self.store(), (PLACE, apply), &chunks::read_rows(PLACE, &[part]).map_err(failed)?, at)
                .map_err(failed)?;
        }
        Ok(())
    }

    /// What the store says of chunks is in a file that is there.
    fn check(&mut self, context: &str) {
        let texts = |store: &Store, sql: &str| -> BTreeSet<String> {
            let read = store.read(|conn| {
                let mut statement = conn.prepare(sql)?;
                Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
            });
            read.expect("a read")
        };
        let ids: BTreeSet<String> = self.repository.keys().cloned().collect();
        let lies = texts(self.store(), "SELECT id FROM engramd_place_chunk");
        assert!(lies.is_subset(&ids), "{context}: {lies:?} of {ids:?}");
        let holds = texts(self.store(), "SELECT hash FROM engramd_chunk JOIN engramd_exported USING (chunk)");
        assert!(holds.is_subset(&ids), "{context}: {holds:?} of {ids:?}");
        let settled = texts(self.store(), "SELECT stamp FROM engramd_place WHERE stamp IS NOT NULL");
        for id in settled.iter().flat_map(|stamp| stamp.split(' ')) {
            let read = texts(
                self.store(),
                "SELECT id FROM engramd_place_chunk JOIN engramd_chunk USING (chunk) WHERE state = 2",
            );
            assert!(read.contains(id), "{context}: settled without {id}");
        }
        books::check(self.store(), &alpha(), context);
    }

    fn canonical(&mut self) -> String {
        let id = self.store().device_id().to_owned();
        self.store().canonical_dump(&alpha()).expect("a dump").replace(&id[..8], "DEV")
    }

    /// Tells whether an operation that was under way did happen.
    fn is_done(&mut self, op: usize) -> bool {
        let one = |store: &Store, sql: &str| {
            store.read(|conn| Ok(conn.query_row(sql, [], |row| row.get::<_, bool>(0))?)).expect("a read")
        };
        let title = |title: &str| format!("SELECT EXISTS (SELECT 1 FROM observations WHERE title = '{title}')");
        match OPS[op] {
            "session" => one(self.store(), "SELECT EXISTS (SELECT 1 FROM sessions WHERE id = 'mine')"),
            "save one" => one(self.store(), &title("one")),
            "save two" => one(self.store(), &title("two")),
            "relate" => one(self.store(), "SELECT EXISTS (SELECT 1 FROM memory_relations WHERE sync_id <> 'rel-1')"),
            "update" => one(self.store(), &title("one, better")),
            "delete hard" => !one(self.store(), &title("two")),
            // These can be done again.
            _ => false,
        }
    }
}

fn clone() -> Clone {
    Clone { store: None, repository: Repository::new(), step: 0 }
}

/// DUR-1, chunks.md 5: a power cut or the end of the process at any durable step of exports and imports.
#[test]
fn dur_1_no_step_of_an_export_or_import_is_ahead_of_its_files() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("device");
    std::fs::create_dir(&dir).expect("made");
    let path = dir.join("engram.db");
    let mut whole = clone();
    for (op, name) in OPS.iter().enumerate() {
        whole.run(&path, op).expect(name);
        whole.check(name);
    }
    let canonical = whole.canonical();
    assert_eq!(whole.export(), Ok(0));
    drop(whole);
    let stride = (41 / rounds()).max(1);
    let (mut nth, mut met) = (1 + Dice::new(5).below(stride), 0);
    nth = one_step().unwrap_or(nth);
    loop {
        books::clear(&dir);
        let (disk, mut device) = (Disk::watch(&dir), clone());
        disk.plan(Plan::nth(nth, Fate::Stops));
        let mut done = 0;
        while done < OPS.len() && !disk.met() && device.run(&path, done).is_ok() {
            done += 1;
        }
        if !disk.met() {
            break;
        }
        device.store = None;
        let mut dice = Dice::new(nth);
        if dice.below(3) > 0 {
            disk.lose_power(&mut || dice.draw());
        }
        drop(disk);
        let context = format!("step {nth}, in {}", OPS[done.min(OPS.len() - 1)]);
        device.run(&path, 0).unwrap_or_else(|error| panic!("{context}: {error}"));
        device.check(&context);
        // A checkpoint may have met the step, in an operation that was answered.
        let from = if done < OPS.len() && done > 0 && device.is_done(done) { done + 1 } else { done };
        for (op, name) in OPS.iter().enumerate().skip(from.max(1)) {
            device.run(&path, op).unwrap_or_else(|error| panic!("{context}, then {name}: {error}"));
            device.check(&format!("{context}, then {name}"));
        }
        device.import_all().unwrap_or_else(|error| panic!("{context}: {error}"));
        // What a power cut took of the marks is looked at again, and was in a chunk all the same.
        let again = device.export().unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(device.export(), Ok(0), "{context}: {again} rows before");
        assert_eq!(device.canonical(), canonical, "{context}");
        let mut last = clone();
        last.store = Some(Store::open_in_memory(last.at()).expect("a store"));
        last.repository = device.repository.clone();
        last.import_all().unwrap_or_else(|error| panic!("{context}: {error}"));
        let id = device.store().device_id().to_owned();
        let mine = |line: &&str| !line.contains(r#""entity":"relation""#);
        let dump = |text: String| text.lines().filter(mine).map(str::to_owned).collect::<Vec<_>>();
        let imported = last.canonical().replace(&id[..8], "DEV");
        assert_eq!(dump(imported), dump(device.canonical()), "{context}");
        met += 1;
        nth += stride;
        if one_step().is_some() {
            return;
        }
    }
    println!("{met} steps, one in {stride}");
    assert!(met > 3, "{met} steps");
}
