//! A store with a clock of its own, and short ways to save and change memories, for the tests of the write rules.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test file uses a part")]
#![expect(clippy::unwrap_used, reason = "tests")]

use super::store_support::{Lab, at};
use engram_proto::canonical::Object;
use engram_proto::ipc::reply::{Changed, Found, Observation, PromptSaved, Related, Saved, SessionRow};
use engram_proto::ipc::request::{
    ListRequest, PromptRequest, RelateRequest, SaveRequest, SearchRequest, SessionStart, UpdateRequest,
};
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op, payload_text};
use engramd::memory::{self, MemoryError, Now};

/// One device's memory.
pub struct Desk {
    pub lab: Lab,
    /// Seconds after the test's beginning.
    pub clock: i64,
    drawn: u64,
}

/// One journal row.
pub struct Written {
    pub entity: String,
    pub key: String,
    pub op: String,
    pub project: String,
    pub payload: Object,
    pub base: Option<String>,
}

impl Written {
    pub fn version(&self) -> Version {
        let (entity, op) = (Entity::parse(&self.entity).unwrap(), Op::parse(&self.op).unwrap());
        Version::read(entity, &self.key, op, &self.payload).unwrap()
    }

    pub fn text(&self, field: &str) -> &str {
        self.payload.get(field).and_then(|value| value.as_str()).unwrap_or_default()
    }
}

pub fn a_save(title: &str, content: &str) -> SaveRequest {
    SaveRequest {
        title: title.to_owned(),
        content: content.to_owned(),
        project: "alpha".to_owned(),
        directory: "/home/dev/alpha".to_owned(),
        ..SaveRequest::default()
    }
}

impl Desk {
    pub fn new() -> Self {
        Self { lab: Lab::new(), clock: 0, drawn: 0 }
    }

    /// Makes ids that no other desk makes.
    pub fn drawn_from(&mut self, drawn: u64) {
        self.drawn = drawn;
    }

    pub fn now(&mut self) -> Now {
        self.drawn += 1;
        Now { at: at(self.clock), random: self.drawn.to_be_bytes() }
    }

    pub fn save(&mut self, request: &SaveRequest) -> Saved {
        self.try_save(request).unwrap()
    }

    pub fn try_save(&mut self, request: &SaveRequest) -> Result<Saved, MemoryError> {
        let now = self.now();
        memory::save(&mut self.lab.store, request, &now)
    }

    pub fn prompt(&mut self, content: &str, session: Option<&str>) -> PromptSaved {
        let now = self.now();
        let request = PromptRequest {
            project: "alpha".to_owned(),
            session: session.map(str::to_owned),
            content: content.to_owned(),
            directory: "/home/dev/alpha".to_owned(),
        };
        memory::prompt(&mut self.lab.store, &request, &now).unwrap()
    }

    pub fn update(&mut self, request: &UpdateRequest) -> Result<Changed, MemoryError> {
        let now = self.now();
        memory::update(&mut self.lab.store, request, &now)
    }

    pub fn retitle(&mut self, id: &str, title: &str) -> Changed {
        let title = Some(title.to_owned());
        self.update(&UpdateRequest { id: id.to_owned(), title, ..UpdateRequest::default() }).unwrap()
    }

    pub fn delete(&mut self, id: &str, hard: bool) -> Result<Changed, MemoryError> {
        let now = self.now();
        memory::delete(&mut self.lab.store, id, hard, &now)
    }

    pub fn relate(&mut self, source: &str, verb: &str, target: &str) -> Result<Related, MemoryError> {
        self.relate_as(&RelateRequest {
            source: source.to_owned(),
            verb: verb.to_owned(),
            target: target.to_owned(),
            ..RelateRequest::default()
        })
    }

    pub fn relate_as(&mut self, request: &RelateRequest) -> Result<Related, MemoryError> {
        let now = self.now();
        memory::relate(&mut self.lab.store, request, &now)
    }

    pub fn start(&mut self, id: &str, project: &str) -> Result<SessionRow, MemoryError> {
        let now = self.now();
        let (project, directory) = (project.to_owned(), format!("/home/dev/{project}"));
        let id = Some(id.to_owned()).filter(|id| !id.is_empty());
        memory::session_start(&mut self.lab.store, &SessionStart { id, project, directory }, &now)
    }

    pub fn end(&mut self, id: &str, summary: Option<&str>) -> Result<SessionRow, MemoryError> {
        let now = self.now();
        memory::session_end(&mut self.lab.store, id, summary, &now)
    }

    pub fn get(&self, id: &str) -> Result<Observation, MemoryError> {
        self.lab.store.read(|conn| Ok(memory::get(conn, id))).unwrap()
    }

    pub fn list(&self, request: &ListRequest) -> Vec<Observation> {
        self.lab.store.read(|conn| Ok(memory::list(conn, request))).unwrap().unwrap()
    }

    pub fn find(&self, request: &SearchRequest) -> Vec<Found> {
        self.lab.store.read(|conn| Ok(memory::search(conn, request))).unwrap().unwrap()
    }

    /// Titles of what is found by words.
    pub fn search(&self, query: &str) -> Vec<String> {
        let found = self.find(&SearchRequest { query: query.to_owned(), limit: 50, ..SearchRequest::default() });
        found.into_iter().map(|found| found.observation.title).collect()
    }

    pub fn journal(&self) -> Vec<Written> {
        self.lab
            .store
            .read(|conn| {
                let mut statement = conn.prepare(
                    "SELECT entity, entity_key, op, project, payload, base FROM sync_mutations AS m
                     LEFT JOIN engramd_journal AS j USING (seq) WHERE j.void IS NULL ORDER BY seq",
                )?;
                let rows = statement.query_map([], |row| {
                    Ok(Written {
                        entity: row.get(0)?,
                        key: row.get(1)?,
                        op: row.get(2)?,
                        project: row.get(3)?,
                        payload: payload_text(&row.get::<_, String>(4)?).unwrap(),
                        base: row.get(5)?,
                    })
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .unwrap()
    }

    pub fn last(&self) -> Written {
        self.journal().pop().unwrap()
    }

    /// Everything a write may leave behind, to see that it left nothing.
    pub fn everything(&self) -> String {
        let tables = [
            "sessions",
            "observations",
            "user_prompts",
            "memory_relations",
            "sync_mutations",
            "engramd_journal",
            "engramd_session",
            "sync_state",
        ];
        let mut all = String::new();
        for table in tables {
            let rows = self.lab.store.read(|conn| {
                let mut statement = conn.prepare(&format!("SELECT * FROM {table}"))?;
                let columns = statement.column_count();
                let rows = statement.query_map([], |row| {
                    (0..columns).map(|at| Ok(format!("{:?}", row.get_ref(at)?))).collect::<Result<Vec<_>, _>>()
                })?;
                Ok(rows.collect::<Result<Vec<_>, _>>()?)
            });
            all.push_str(&format!("{table}: {:?}\n", rows.unwrap()));
        }
        all
    }
}
