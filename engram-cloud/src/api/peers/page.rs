//! A page as a Go client may see it: every child behind its session, nothing that such a client halts at.
//!
//! Each page stands for itself: a session is put in before its first child of the page unless its current row stands
//! there already, whatever earlier pages held. So a project that is granted late, or a session row of another project
//! that a client met since, makes nobody halt.

use crate::journal::{SessionKey, SessionNow};
use engram_proto::canonical::Object;
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::merge::{EndRegister, SessionVersion, StartRegister, Version};
use engram_proto::mutation::{Entity, Op, payload_object};
use engram_proto::stand_in::stand_in_id;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How the sessions of a page stand now.
pub(crate) type Sessions = BTreeMap<SessionKey, SessionNow>;

/// A page being put together.
pub(crate) struct Page {
    rows: Vec<PulledMutation>,
    rows_max: usize,
    last_seq: u64,
    standing: BTreeSet<SessionKey>,
}

/// A journal row, read.
pub(crate) struct Read {
    row: PulledMutation,
    project: ProjectName,
    version: Version,
}

/// Reads rows; what nobody could apply is left out.
pub(crate) fn read(rows: Vec<PulledMutation>) -> Vec<Read> {
    rows.into_iter().filter_map(Read::of).collect()
}

/// Names the sessions that rows are about, or belong to.
pub(crate) fn named(rows: &[Read]) -> BTreeSet<SessionKey> {
    rows.iter().filter_map(Read::session_key).collect()
}

impl Page {
    /// Begins a page for a client whose cursor is at `since_seq`.
    pub(crate) fn new(since_seq: u64, rows_max: usize) -> Self {
        Self { rows: Vec::new(), rows_max, last_seq: since_seq, standing: BTreeSet::new() }
    }

    /// Tells whether it holds nothing yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Gives the rows away.
    pub(crate) fn into_rows(self) -> Vec<PulledMutation> {
        self.rows
    }

    /// Takes the next row of the journal; `false` says that it begins the next page.
    ///
    /// A row that no client needs to see is passed over.
    pub(crate) fn take(&mut self, read: Read, sessions: &Sessions) -> bool {
        let key = read.session_key();
        let now = key.as_ref().and_then(|key| sessions.get(key)).and_then(Standing::of);
        match (&read.version, key) {
            (Version::Session(version), Some(key)) => {
                let Some(served) = now.as_ref().and_then(|now| session_row(&read, version, now)) else { return true };
                let is_current = now.is_some_and(|now| now.seq == read.row.seq);
                self.add(served, None, is_current.then_some(key))
            }
            (_, Some(key)) if !read.version.is_delete() => {
                // Older than what deleted it and all its like: a later row of this entity follows.
                if now.as_ref().is_some_and(|now| now.is_deleted) {
                    return true;
                }
                let before = (!self.standing.contains(&key)).then(|| put_in(&read, &key, now.as_ref()));
                let child = child_row(read, &key, now.as_ref());
                self.add(child, before, Some(key))
            }
            _ => self.add(read.written(), None, None),
        }
    }

    fn add(&mut self, row: PulledMutation, before: Option<PulledMutation>, stands: Option<SessionKey>) -> bool {
        // Between rows that a peer numbered there is no room; their sessions came before them.
        let before = before.filter(|_| self.last_seq + 1 < row.seq);
        let added = 1 + usize::from(before.is_some());
        if !self.rows.is_empty() && self.rows.len() + added > self.rows_max {
            return false;
        }
        if let Some(before) = before {
            self.rows.push(PulledMutation { seq: self.last_seq + 1, ..before });
        }
        self.last_seq = row.seq;
        self.rows.push(row);
        self.standing.extend(stands);
        true
    }
}

/// A session of a project as it stands now.
struct Standing {
    seq: u64,
    version: SessionVersion,
    is_deleted: bool,
    occurred_at: String,
}

impl Standing {
    fn of(now: &SessionNow) -> Option<Self> {
        let read = Read::of(now.row.clone())?;
        let is_deleted = read.version.is_delete() && !now.has_children;
        let Version::Session(version) = read.version else { return None };
        Some(Self { seq: now.row.seq, version, is_deleted, occurred_at: now.row.occurred_at.clone() })
    }
}

impl Read {
    fn of(mut row: PulledMutation) -> Option<Self> {
        let project = ProjectName::parse(&row.project).ok()?;
        let (entity, op) = (Entity::parse(&row.entity)?, Op::parse(&row.op)?);
        let payload = payload_object(std::mem::take(&mut row.payload)).ok()?;
        let version = Version::read(entity, &row.entity_key, op, &payload).ok()?;
        Some(Self { row, project, version })
    }

    fn session_key(&self) -> Option<SessionKey> {
        let id = match &self.version {
            Version::Session(_) => Some(self.row.entity_key.as_str()),
            child => child.session_id(),
        };
        id.map(|id| (self.project.to_string(), id.to_owned()))
    }

    /// Writes the row in our form: known times, the project it was authorised for (SCOPE-2), a delete as a delete.
    fn written(self) -> PulledMutation {
        let written = self.version.write(&self.project, &self.row.entity_key);
        let (op, payload) = written.unwrap_or_else(|| unreachable!("a version without its text"));
        PulledMutation { op: op.as_str().to_owned(), payload: Value::Object(payload), ..self.row }
    }
}

/// Returns a session's own row, if a client is to see it.
///
/// One that knows no directory is served as the stand-in it is, so that an end that came later arrives; where another
/// row knows the directory it says nothing that this one does not.
fn session_row(read: &Read, version: &SessionVersion, now: &Standing) -> Option<PulledMutation> {
    if now.is_deleted || (now.version.start.known && !version.start.known) {
        return None;
    }
    let key = (read.project.to_string(), read.row.entity_key.clone());
    Some(PulledMutation { seq: read.row.seq, ..shown(read, &key, version, &read.row.occurred_at) })
}

/// Returns the row that is put in before a child.
fn put_in(child: &Read, key: &SessionKey, now: Option<&Standing>) -> PulledMutation {
    match now {
        Some(now) => shown(child, key, &now.version, &now.occurred_at),
        None => {
            let start = StartRegister::new(None, None, String::new());
            let unknown = SessionVersion::new(start, EndRegister::new(None, None));
            shown(child, key, &unknown, &child.row.occurred_at)
        }
    }
}

/// Writes a session for a Go client: under its stand-in's id where no directory is known, without `deleted_at`, and
/// with a summary always, because such a client keeps the one it has where none is said.
fn shown(read: &Read, key: &SessionKey, version: &SessionVersion, occurred_at: &str) -> PulledMutation {
    let mut version = SessionVersion { deleted_at: None, ..version.clone() };
    let id = if version.start.known { key.1.clone() } else { stand_in_id(&read.project, &key.1) };
    if !version.start.known {
        version.start = StartRegister::new(None, None, String::new());
    }
    let written = Version::Session(version).write(&read.project, &id);
    let mut payload = written.map_or_else(Object::new, |(_, payload)| payload);
    payload.entry("summary").or_insert_with(|| "".into());
    PulledMutation {
        seq: 0,
        project: read.row.project.clone(),
        entity: Entity::Session.as_str().to_owned(),
        entity_key: id,
        op: Op::Upsert.as_str().to_owned(),
        payload: Value::Object(payload),
        occurred_at: occurred_at.to_owned(),
    }
}

/// Writes a child, under the stand-in's id where its project knows no directory of the session.
fn child_row(read: Read, key: &SessionKey, now: Option<&Standing>) -> PulledMutation {
    let stand_in = stand_in_id(&read.project, &key.1);
    let mut row = read.written();
    if !now.is_some_and(|now| now.version.start.known)
        && let Value::Object(payload) = &mut row.payload
    {
        payload.insert("session_id".to_owned(), stand_in.into());
    }
    row
}
