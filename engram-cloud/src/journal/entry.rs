//! One entry of a push, read and checked before it comes near the store.
//!
//! What is read here is the same for every store: the project is the authorised one (SCOPE-2), the payload an object,
//! an upsert's required fields not blank. A bad entry travels on as its [`Fault`], so that the store can answer for it
//! in its place.

use super::storable;
use engram_proto::canonical::{Hash, Object, canonical_object};
use engram_proto::http::push::PushEntry;
use engram_proto::http::witness::Witness;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op, PayloadError, payload_object, text_of};
use serde_json::Value;
use std::collections::BTreeSet;

/// A push as the store takes it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether one bad entry refuses all of them; so it is where an entry has no mutation id.
    pub is_atomic: bool,
    /// Who pushes, as it is kept beside the rows.
    pub principal: String,
    /// What the sender was told and the store must still hold, or else takes nothing (CUR-3).
    pub witness: Option<Witness>,
}

impl Batch {
    /// Gathers entries of one request.
    #[must_use]
    pub fn new(principal: &str, entries: Vec<Entry>) -> Self {
        let is_atomic = entries.iter().any(|entry| entry.mutation_id.is_none());
        Self { entries, is_atomic, principal: principal.to_owned(), witness: None }
    }

    /// Adds what the sender was told.
    #[must_use]
    pub fn with_witness(self, witness: Option<Witness>) -> Self {
        Self { witness, ..self }
    }

    /// Returns the projects it touches.
    #[must_use]
    pub fn projects(&self) -> BTreeSet<&ProjectName> {
        self.entries.iter().map(|entry| &entry.project).collect()
    }
}

/// One mutation as the store takes it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The project it was authorised for.
    pub project: ProjectName,
    /// The entity's name, known or not.
    pub entity: String,
    /// Session id or sync id.
    pub key: String,
    /// The row's name for ever.
    pub mutation_id: Option<String>,
    /// The hash of the version that was edited.
    pub base: Option<String>,
    /// What it says, or what is wrong with it.
    pub content: Result<Content, Fault>,
}

/// What an entry says.
#[derive(Clone, Debug)]
pub enum Content {
    /// A version that merges.
    Known(Box<KnownContent>),
    /// Something of a newer program: stored and served as it came.
    Foreign(ForeignContent),
    /// What its sender had only from us: answered with the entity's number, stored nowhere.
    Nothing,
}

/// A version, with the form in which it is stored.
#[derive(Clone, Debug)]
pub struct KnownContent {
    /// The version.
    pub version: Version,
    /// What its row does.
    pub op: Op,
    /// Its payload as JSON text.
    pub payload: String,
}

/// Something of a newer program.
#[derive(Clone, Debug)]
pub struct ForeignContent {
    /// What it does, in its own word.
    pub op: String,
    /// Its payload as JSON text.
    pub payload: String,
    /// The digest of both.
    pub hash: Hash,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field.
    pub field: String,
    /// In words, without content.
    pub message: String,
}

impl Fault {
    pub(super) fn new(field: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into() }
    }
}

impl From<PayloadError> for Fault {
    fn from(error: PayloadError) -> Self {
        let field = match &error {
            PayloadError::NotAnObject => "payload",
            PayloadError::Field(field) => field,
            PayloadError::KeyMismatch { .. } => "entity_key",
            PayloadError::RelationDelete => "op",
        };
        Self::new(field, error.to_string())
    }
}

impl Entry {
    /// Reads one entry of a request for the project it was authorised for.
    #[must_use]
    pub fn read(project: ProjectName, entry: PushEntry) -> Self {
        let named = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let (entity, mut key) = (entry.entity.trim().to_owned(), entry.entity_key.trim().to_owned());
        let op = entry.op.trim();
        let content = storable::payload(&entry.payload)
            .and_then(|()| read_content(&project, &entity, &mut key, op, entry.payload));
        let mut entry =
            Self { project, entity, key, mutation_id: named(entry.mutation_id), base: named(entry.base), content };
        entry.content = storable::names(&entry, op).and(entry.content);
        entry
    }
}

fn read_content(
    project: &ProjectName,
    entity: &str,
    key: &mut String,
    op: &str,
    payload: Value,
) -> Result<Content, Fault> {
    for (field, text) in [("entity", entity), ("op", op)] {
        if text.is_empty() {
            return Err(Fault::new(field, format!("{field} is blank")));
        }
    }
    let payload = payload_object(payload)?;
    let Some(known) = Entity::parse(entity) else {
        return Ok(Content::Foreign(read_foreign(project, op, payload)));
    };
    let op = Op::parse(op).ok_or_else(|| Fault::new("op", "op is neither upsert nor delete"))?;
    if key.is_empty() {
        let id = if known == Entity::Session { "id" } else { "sync_id" };
        text_of(&payload, id).unwrap_or_default().trim().clone_into(key);
    }
    read_known(project, known, key, op, &payload)
}

fn read_known(project: &ProjectName, entity: Entity, key: &str, op: Op, payload: &Object) -> Result<Content, Fault> {
    if op == Op::Upsert
        && let Some(field) = entity.missing_field(payload)
    {
        return Err(Fault::new(field, format!("{field} is missing or blank, and a {entity} must have it")));
    }
    let version = Version::read(entity, key, op, payload)?;
    let written = version.write(project, key).ok_or_else(|| Fault::new("payload", "the payload has no text"))?;
    let (op, payload) = (written.0, Value::Object(written.1).to_string());
    Ok(Content::Known(Box::new(KnownContent { version, op, payload })))
}

fn read_foreign(project: &ProjectName, op: &str, mut payload: Object) -> ForeignContent {
    // SCOPE-2: what is stored never names another project.
    payload.insert("project".to_owned(), project.as_str().into());
    let hash = Hash::of_bytes(format!("{op}\n{}", canonical_object(&payload)).as_bytes());
    ForeignContent { op: op.to_owned(), payload: Value::Object(payload).to_string(), hash }
}

/// Returns the digest by which something of a newer program is known again.
#[must_use]
pub fn foreign_hash(project: &ProjectName, op: &str, payload: Object) -> Hash {
    read_foreign(project, op, payload).hash
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(entity: &str, key: &str, op: &str, payload: Value) -> Entry {
        let project = ProjectName::parse("Mine").unwrap();
        let (entity, entity_key, op) = (entity.to_owned(), key.to_owned(), op.to_owned());
        let raw = PushEntry { project: "x".into(), entity, entity_key, op, payload, mutation_id: None, base: None };
        Entry::read(project, raw)
    }

    fn field(entry: Entry) -> String {
        entry.content.unwrap_err().field
    }

    #[test]
    fn faults_name_their_field() {
        assert_eq!(field(read("relation", "r", "upsert", json!({"sync_id":"r"}))), "source_id");
        assert_eq!(field(read("session", "s", "upsert", json!({"id":"s","directory":" "}))), "directory");
        assert_eq!(field(read("session", "s", "upsert", json!({"id":"t","directory":"/d"}))), "entity_key");
        assert_eq!(field(read("session", "s", "merge", json!({"id":"s"}))), "op");
        assert_eq!(field(read("relation", "r", "delete", json!({"sync_id":"r"}))), "op");
        assert_eq!(field(read("prompt", "p", "upsert", json!("no"))), "payload");
        assert_eq!(field(read("", "p", "upsert", json!({}))), "entity");
        assert_eq!(field(read("session", "", "delete", json!({}))), "entity_key");
    }

    /// SCOPE-2: a payload's own project is overwritten, of known and unknown entities.
    #[test]
    fn scope_2_the_authorised_project_is_what_is_stored() {
        let session = read("session", " ", "upsert", json!(r#"{"id":" s ","directory":"/d","project":"theirs"}"#));
        assert_eq!(session.key, "s");
        let Content::Known(known) = session.content.unwrap() else { panic!("known") };
        assert!(known.payload.contains(r#""project":"mine""#), "{}", known.payload);
        let Content::Foreign(foreign) = read("mood", "m", "upsert", json!({"project":"theirs"})).content.unwrap()
        else {
            panic!("foreign")
        };
        assert_eq!(foreign.payload, r#"{"project":"mine"}"#);
    }
}
