//! What two replicas must agree on: the canonical dump (merging.md), and the books of the journal (ACK-2).

use super::apply::sessions;
use super::error::StoreError;
use super::{Store, journal, versions};
use engram_proto::canonical::{Object, canonical_object};
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::Entity;
use engram_proto::stand_in::session_id_of;
use engram_proto::time::{RowTime, row_text};
use rusqlite::Connection;
use std::collections::BTreeSet;

/// How many rows of a project's journal are in which state; each is in exactly one (ACK-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack2 {
    /// All rows.
    pub written: u64,
    /// Waiting to be sent.
    pub pending: u64,
    /// Acknowledged by a reply or a pull.
    pub acked: u64,
    /// Refused by the server.
    pub held: u64,
    /// Superseded, taken back or dropped.
    pub void: u64,
}

/// Where keys of each entity stand, by project.
const KEYS: [(Entity, &str); 5] = [
    (Entity::Session, "SELECT id FROM sessions WHERE project = ?1"),
    (Entity::Observation, "SELECT sync_id FROM observations WHERE project = ?1 AND sync_id <> ''"),
    (Entity::Prompt, "SELECT sync_id FROM user_prompts WHERE project = ?1 AND sync_id <> ''"),
    (Entity::Prompt, "SELECT sync_id FROM prompt_tombstones WHERE project = ?1"),
    (
        Entity::Relation,
        "SELECT r.sync_id FROM observations AS o JOIN memory_relations AS r ON r.source_id = o.sync_id
         WHERE o.project = ?1",
    ),
];

impl Store {
    /// Counts a project's journal by state, row by row, without marks: for tests and the simulator, which compare the sum.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn ack2(&self, project: &ProjectName) -> Result<Ack2, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT m.acked_at IS NOT NULL, j.void IS NOT NULL, h.id IS NOT NULL
             FROM sync_mutations AS m LEFT JOIN engramd_journal AS j ON j.seq = m.seq
                 LEFT JOIN engramd_held AS h ON h.journal_seq = m.seq
             WHERE m.project = ?1 AND j.void IS NOT 'mark'",
        )?;
        let mut rows = statement.query([project.as_str()])?;
        let mut books = Ack2::default();
        while let Some(row) = rows.next()? {
            books.written += 1;
            match (row.get(0)?, row.get(1)?, row.get(2)?) {
                (false, false, false) => books.pending += 1,
                (false, false, true) => books.held += 1,
                (true, false, false) => books.acked += 1,
                (true, true, false) => books.void += 1,
                // In two sets or in none: it is counted in none, and the sum tells.
                _ => {}
            }
        }
        Ok(books)
    }

    /// Writes everything that is known of a project, one line for each entity, the same on every replica (CONV-1).
    ///
    /// # Errors
    /// What SQLite says.
    pub fn canonical_dump(&self, project: &ProjectName) -> Result<String, StoreError> {
        self.read(|conn| {
            let mut dump = String::new();
            for (entity, key) in keys(conn, project)? {
                if let Some(version) = versions::local(conn, project, entity, &key)?
                    && has_its_say(conn, project, &key, &version)?
                    && let Some(line) = line(conn, project, &key, &version)?
                {
                    dump.push_str(&canonical_object(&line));
                    dump.push('\n');
                }
            }
            Ok(dump)
        })
    }
}

fn keys(conn: &Connection, project: &ProjectName) -> Result<BTreeSet<(Entity, String)>, StoreError> {
    let mut keys = BTreeSet::new();
    for (entity, sql) in KEYS {
        let mut statement = conn.prepare_cached(sql)?;
        let found = statement.query_map([project.as_str()], |row| row.get(0))?;
        for key in found {
            keys.insert((entity, key?));
        }
    }
    for sql in [
        "SELECT entity, entity_key FROM engramd_version WHERE project = ?1",
        "SELECT entity, entity_key FROM sync_mutations INDEXED BY engramd_mutations_pending
         WHERE project = ?1 AND acked_at IS NULL",
        "SELECT entity, entity_key FROM engramd_held WHERE project = ?1",
    ] {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query([project.as_str()])?;
        while let Some(row) = rows.next()? {
            let entity: String = row.get(0)?;
            if let Some(entity) = Entity::parse(&entity) {
                keys.insert((entity, row.get(1)?));
            }
        }
    }
    Ok(keys)
}

/// Tells whether a row says anything of its entity: a session is no other's stand-in, and a session or a deletion of which
/// nothing was ever told in this project is not another project's (a Go process moved it).
fn has_its_say(conn: &Connection, project: &ProjectName, key: &str, version: &Version) -> Result<bool, StoreError> {
    let entity = version.entity();
    if entity == Entity::Session && session_id_of(project, key) != key {
        return Ok(false);
    }
    let may_have_moved = entity == Entity::Session || version.is_delete();
    if !may_have_moved
        || versions::known(conn, project, entity, key)?.is_some()
        || journal::tells_of(conn, project, entity, key)?
    {
        return Ok(true);
    }
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM engramd_version WHERE entity = ?1 AND entity_key = ?2)";
    Ok(conn.prepare_cached(sql)?.query_row([entity.as_str(), key], |row| row.get(0))?)
}

/// Writes one entity; stand-ins and relations that nobody judged are left out.
fn line(conn: &Connection, project: &ProjectName, key: &str, version: &Version) -> Result<Option<Object>, StoreError> {
    let deleted = match version {
        Version::Session(session) if session.is_stand_in() => return Ok(None),
        Version::Session(session) => sessions::is_deleted(conn, project, key, session)?.then_some(session.deleted_at),
        Version::Prompt(prompt) if !prompt.key.deleted => {
            let at = sessions::deleted_at(conn, project, &prompt.session_id)?;
            (at.is_some() && prompt.key.time <= at).then_some(at)
        }
        Version::Relation(relation) if !relation.key.judged => return Ok(None),
        _ => version.is_delete().then(|| version.time()),
    };
    let mut line = match deleted {
        Some(at) => deletion(version, at),
        None => match version.write(project, key) {
            Some((_, payload)) => payload,
            None => missing_text(version),
        },
    };
    line.insert("entity".to_owned(), version.entity().as_str().into());
    line.insert("key".to_owned(), key.into());
    Ok(Some(line))
}

fn deletion(version: &Version, at: Option<RowTime>) -> Object {
    let hard = matches!(version, Version::Observation(observation)
        if observation.key.kind == engram_proto::merge::Kind::Hard);
    let mut line = Object::new();
    line.insert("deleted".to_owned(), if hard { "hard" } else { "yes" }.into());
    line.insert("deleted_at".to_owned(), row_text(at).into());
    line
}

fn missing_text(version: &Version) -> Object {
    let mut line = Object::new();
    line.insert("text_missing".to_owned(), version.hash().to_string().into());
    line
}
