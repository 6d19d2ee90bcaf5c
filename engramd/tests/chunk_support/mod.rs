//! Chunks without files: what lies at a place is a map, and a device exports to it and imports from it as a client would.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test file uses a part")]
#![expect(clippy::unwrap_used, reason = "tests")]

use super::store_support::{at, project};
use engram_proto::canonical::Hash;
use engram_proto::id::ProjectName;
use engram_proto::ipc::chunks::{ChunkName, ChunkPart, ChunkRow, ChunkRows, ChunkTaken};
use engramd::chunks;
use engramd::store::Store;
use serde_json::Value;
use std::collections::BTreeMap;

/// A directory of chunks.
#[derive(Clone, Default)]
pub struct Shelf {
    pub path: String,
    pub chunks: BTreeMap<String, Vec<ChunkRow>>,
}

impl Shelf {
    pub fn at(path: &str) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// Lays a chunk; files are read in the order of their names.
    pub fn lay(&mut self, nth: u8, rows: &[(ChunkPart, Value)]) -> String {
        let rows: Vec<_> = rows.iter().map(|(part, row)| ChunkRow { part: *part, json: row.to_string() }).collect();
        let id = format!("{nth}{}", hash(&rows).short(15));
        self.chunks.insert(id.clone(), rows);
        id
    }

    /// Exports one project; returns the rows that were in no chunk.
    pub fn export(&mut self, store: &mut Store, name: &str) -> Vec<ChunkRow> {
        self.export_all(store, &[project(name)])
    }

    pub fn export_all(&mut self, store: &mut Store, projects: &[ProjectName]) -> Vec<ChunkRow> {
        let ids: Vec<String> = self.chunks.keys().cloned().collect();
        for id in store.chunks_meet(&self.path, &ids).unwrap().unknown {
            self.give(store, &id, false);
        }
        let finds_nothing =
            |project| store.read(|conn| chunks::finds_nothing(conn, &self.path, project, at(5_000))).unwrap();
        let none = projects.iter().all(finds_nothing);
        store.export_begins(projects).unwrap();
        let mut rows = Vec::new();
        let put = |row| {
            rows.push(row);
            Ok(())
        };
        let marks = store.read(|conn| chunks::export(conn, &self.path, projects, at(5_000), put)).unwrap();
        assert!(!none || (rows.is_empty() && marks.is_empty()), "what was to be nothing: {rows:?} {marks:?}");
        if !rows.is_empty() {
            let id = hash(&rows).to_string();
            self.chunks.insert(id.clone(), rows.clone());
            self.give(store, &id, true);
        }
        store.exported(&self.path, &marks, at(5_000)).unwrap();
        rows
    }

    /// Imports what is news; returns what became of it.
    pub fn import(&self, store: &mut Store) -> ChunkTaken {
        let ids: Vec<String> = self.chunks.keys().cloned().collect();
        let met = store.chunks_meet(&self.path, &ids).unwrap();
        let mut all = ChunkTaken::default();
        for id in met.unknown.iter().chain(&met.unread) {
            let taken = self.give(store, id, true);
            all.rows += taken.rows;
            all.changed += taken.changed;
            all.queued += taken.queued;
            all.projects.extend(taken.projects);
            all.is_any_held |= taken.is_any_held;
        }
        let projects: Vec<ProjectName> = all.projects.iter().map(|name| project(name)).collect();
        for project in &projects {
            while store.stand_ins_of_import(project, at(5_001)).unwrap().unfinished {}
        }
        chunks::held(store, &self.path).unwrap();
        all
    }

    /// Gives one chunk, in parts of three rows.
    pub fn give(&self, store: &mut Store, id: &str, apply: bool) -> ChunkTaken {
        let rows = &self.chunks[id];
        let of = ChunkName { id: id.to_owned(), hash: hash(rows).to_string() };
        let mut all = ChunkTaken::default();
        if store.chunks_wanted(&self.path, &[(id.to_owned(), hash(rows))], apply, at(5_000)).unwrap() == [false] {
            return all;
        }
        let parts: Vec<&[ChunkRow]> = rows.chunks(3).collect();
        for (n, part) in parts.iter().enumerate() {
            let part = ChunkRows { of: of.clone(), rows: part.to_vec(), last: n + 1 == parts.len() };
            let read = chunks::read_rows(&self.path, &[part]).unwrap();
            let taken = chunks::take(store, (&self.path, apply), &read, at(5_000)).unwrap();
            all.rows += taken.rows;
            all.changed += taken.changed;
            all.queued += taken.queued;
            all.projects.extend(taken.projects);
            all.is_any_held |= taken.is_any_held;
        }
        all
    }
}

pub fn hash(rows: &[ChunkRow]) -> Hash {
    let text: String = rows.iter().map(|row| format!("{}{}", row.part.as_str(), row.json)).collect();
    Hash::of_bytes(text.as_bytes())
}

/// What a row says.
pub fn json_of(row: &ChunkRow) -> Value {
    serde_json::from_str(&row.json).unwrap()
}

/// The rows of one list, by key.
pub fn keys(rows: &[ChunkRow], part: ChunkPart) -> Vec<String> {
    let key = |row: &ChunkRow| {
        let row = json_of(row);
        ["entity_key", "sync_id", "id"].iter().find_map(|field| row[*field].as_str()).unwrap().to_owned()
    };
    rows.iter().filter(|row| row.part == part).map(key).collect()
}
