//! A pushed chunk: checked, in canonical form, and as entries for the journal.

use crate::api::peers;
use crate::journal::admit::Name;
use crate::journal::rail::{ChunkPush, NewChunk, Telling};
use crate::journal::{Batch, Content, Entry, storable};
use engram_proto::canonical::Object;
use engram_proto::chunk::{Chunk, ChunkError, MutationError, Statement, canonical_bytes};
use engram_proto::http::error::InvalidEntry;
use engram_proto::http::push::PushEntry;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op, payload_text, text_of};
use engram_proto::stand_in::session_id_of;
use serde_json::{Number, Value};
use std::collections::BTreeSet;

/// Characters of a maker's name that are kept.
const CREATED_BY_CHARS_MAX: usize = 200;

/// What a chunk is refused for: in words, and the rows at fault.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) words: Vec<String>,
    pub(super) invalid: Vec<InvalidEntry>,
}

impl Faults {
    pub(super) fn add(&mut self, list: &str, index: usize, field: &str, entity: &str, words: &str) {
        self.words.push(format!("{list}[{index}].{field} {words}"));
        self.invalid.push(InvalidEntry { index, field: field.to_owned(), entity: entity.to_owned() });
    }
}

/// A chunk that was read: what goes to the store, and where each reference to a session stands.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) push: ChunkPush,
    /// List, place and session of every row whose session is not in the chunk.
    pub(super) references: Vec<(&'static str, usize, String)>,
}

/// Names what a list of rows holds; the mutations say it themselves.
fn entity_of(list: &str) -> &'static str {
    let lists = Chunk::default();
    lists.lists().into_iter().find(|(name, ..)| *name == list).map_or("", |(_, entity, _)| entity.as_str())
}

/// Reads a chunk for the project that it was authorised for.
pub(super) fn read(
    project: &ProjectName,
    principal: &str,
    created_by: &str,
    client_created_at_us: Option<i64>,
    mut data: Object,
) -> Result<Read, Faults> {
    data.iter_mut().for_each(|(_, value)| plain_zero(value));
    refuse_nul(&data)?;
    let bytes = canonical_bytes(data, project.as_str()).map_err(named)?;
    // Canonical bytes are UTF-8 and JSON; what they hold may still be no chunk, such as a seq that is text.
    let text = String::from_utf8(bytes).unwrap_or_default();
    let chunk: Chunk = serde_json::from_str(&text).map_err(|error| Faults {
        words: vec![format!("a field is of another type than a chunk has there ({error})")],
        invalid: Vec::new(),
    })?;
    let said = Said::of(project, &chunk)?;
    let counts = [&chunk.sessions, &chunk.observations, &chunk.prompts];
    let counts = counts.map(|rows| u64::try_from(rows.len()).unwrap_or(u64::MAX));
    let made_by: String = created_by.chars().filter(|c| !c.is_control()).take(CREATED_BY_CHARS_MAX).collect();
    let references = said.references(project, &chunk);
    let kept = NewChunk {
        project: project.clone(),
        text,
        created_by: if made_by.trim().is_empty() { "unknown".to_owned() } else { made_by },
        client_created_at_us,
        counts,
        sessions: said.sessions,
    };
    let telling = telling(&said.entries, &said.raw);
    let unknown = references.iter().map(|(_, _, id)| id.clone()).collect();
    let batch = Batch { is_atomic: true, ..Batch::new(principal, said.entries) };
    Ok(Read { push: ChunkPush { chunk: kept, batch, telling, references: unknown }, references })
}

/// What a chunk says, in the order in which it is admitted.
struct Said {
    entries: Vec<Entry>,
    /// The key and session that each entry came with.
    raw: Vec<(String, String)>,
    /// The sessions in it.
    sessions: BTreeSet<String>,
}

impl Said {
    fn of(project: &ProjectName, chunk: &Chunk) -> Result<Self, Faults> {
        let mut said = Self { entries: Vec::new(), raw: Vec::new(), sessions: BTreeSet::new() };
        let mut faults = Faults::default();
        for (list, entity, rows) in chunk.lists() {
            for (at, row) in rows.iter().enumerate() {
                if let Some(field) = entity.missing_field(row) {
                    faults.add(list, at, field, entity.as_str(), "is required");
                }
            }
        }
        if !faults.words.is_empty() {
            return Err(faults);
        }
        for row in chunk.sessions.iter().filter(|row| text_of(row, "project") == Some(project.as_str())) {
            said.sessions.extend(text_of(row, "id").map(|id| id.trim().to_owned()));
        }
        let upserts = chunk.mutations.iter().filter(|one| one.op == Op::Upsert.as_str());
        let sessions = upserts.filter(|one| one.entity == Entity::Session.as_str());
        said.sessions.extend(sessions.map(|one| one.entity_key.clone()));
        for statement in chunk.statements(project.as_str()) {
            said.add(project, statement, &mut faults);
        }
        if faults.words.is_empty() { Ok(said) } else { Err(faults) }
    }

    fn add(&mut self, project: &ProjectName, statement: Statement, faults: &mut Faults) {
        let Statement { list, index, entity, key, op, payload } = statement;
        let payload = match payload {
            Ok(payload) => payload,
            Err(error) => return faults.add(list, index, field_of(&error), &entity, &error.to_string()),
        };
        let session = payload_text(&payload).ok();
        let session = session.and_then(|payload| text_of(&payload, "session_id").map(str::to_owned));
        self.raw.push((key.clone(), session.unwrap_or_default()));
        let entry = PushEntry {
            project: project.to_string(),
            entity: entity.clone(),
            entity_key: key,
            op,
            payload: payload.into(),
            mutation_id: None,
            base: None,
        };
        let entry = peers::door::read(project.clone(), entry);
        if let Err(fault) = &entry.content {
            faults.add(list, index, &fault.field, &entity, &fault.message);
        }
        self.entries.push(entry);
    }

    /// Lists the rows and upserts whose session is not in the chunk. A stand-in of this project came from us.
    fn references(&self, project: &ProjectName, chunk: &Chunk) -> Vec<(&'static str, usize, String)> {
        let mut references = Vec::new();
        let mut look = |list, at, id: Option<&str>| {
            let id = id.unwrap_or_default().trim();
            if !id.is_empty() && !self.sessions.contains(id) && session_id_of(project, id) == id {
                references.push((list, at, id.to_owned()));
            }
        };
        for (list, rows) in [("observations", &chunk.observations), ("prompts", &chunk.prompts)] {
            rows.iter().enumerate().for_each(|(at, row)| look(list, at, text_of(row, "session_id")));
        }
        for (at, one) in chunk.mutations.iter().enumerate() {
            let is_child = matches!(Entity::parse(&one.entity), Some(Entity::Observation | Entity::Prompt));
            if is_child && one.op == Op::Upsert.as_str() {
                let payload = payload_text(&one.payload).unwrap_or_default();
                look("mutations", at, text_of(&payload, "session_id"));
            }
        }
        references
    }
}

/// Works out what a client ends with that imports the chunk; `None` where it might end otherwise than the journal, or
/// not import it at all.
fn telling(entries: &[Entry], raw: &[(String, String)]) -> Option<Telling> {
    let mut telling = Telling::default();
    for (entry, (key, session)) in entries.iter().zip(raw) {
        let Ok(Content::Known(known)) = &entry.content else { return None };
        // A stand-in says another thing here than where it is imported.
        let is_stand_in = *key != entry.key || known.version.session_id().is_some_and(|id| id != session);
        let is_session_delete = known.version.entity() == Entity::Session && known.version.is_delete();
        let name = Name { project: entry.project.clone(), entity: entry.entity.clone(), key: entry.key.clone() };
        // A client applies deletes last: what was made again after its delete would be gone there.
        let is_made_again = telling.statements.get(&name).is_some_and(Version::is_delete) && !known.version.is_delete();
        if is_stand_in || is_session_delete || is_made_again {
            return None;
        }
        if let Version::Relation(_) = &known.version {
            let payload = payload_text(&known.payload).unwrap_or_default();
            let ends = ["source_id", "target_id"].into_iter().filter_map(|end| text_of(&payload, end));
            telling.ends.extend(ends.map(str::to_owned));
        }
        telling.statements.insert(name, known.version.clone());
    }
    Some(telling)
}

/// Postgres knows no negative zero, and nobody means one.
fn plain_zero(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_f64() == Some(0.0) => *value = Value::Number(Number::from(0)),
        Value::Array(values) => values.iter_mut().for_each(plain_zero),
        Value::Object(object) => object.iter_mut().for_each(|(_, value)| plain_zero(value)),
        _ => {}
    }
}

/// No store keeps a NUL; named is the row that holds one.
fn refuse_nul(data: &Object) -> Result<(), Faults> {
    let mut faults = Faults::default();
    for (list, rows) in data {
        let list: String = list.chars().filter(|c| *c != '\0').collect();
        let whole = std::slice::from_ref(rows);
        for (at, row) in rows.as_array().map_or(whole, Vec::as_slice).iter().enumerate() {
            if let Err(fault) = storable::payload(row) {
                faults.add(&list, at, &fault.field, entity_of(&list), "holds a NUL character, which no text may");
            }
        }
    }
    if faults.words.is_empty() { Ok(()) } else { Err(faults) }
}

fn field_of(error: &MutationError) -> &'static str {
    match error {
        MutationError::Unsupported { .. } => "entity",
        MutationError::NotAnObject => "payload",
        MutationError::Type { field, .. } | MutationError::Missing { field } => field,
        MutationError::KeyMismatch { .. } => "entity_key",
    }
}

fn named(error: ChunkError) -> Faults {
    let words = vec![error.to_string()];
    let invalid = match error {
        ChunkError::NotAList { .. } => Vec::new(),
        ChunkError::NotAnObject { list, index } => {
            vec![InvalidEntry { index, field: String::new(), entity: entity_of(list).to_owned() }]
        }
        ChunkError::Mutation { index, source } => {
            vec![InvalidEntry { index, field: field_of(&source).to_owned(), entity: String::new() }]
        }
    };
    Faults { words, invalid }
}
