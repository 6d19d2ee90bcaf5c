//! What a server that merges nothing served (peers.md, "Our devices on a Go server").
//!
//! Its clients show the last row they see, whatever it is worth, and it keeps no list of what was lost. So every version
//! that it serves is written down, once and without text: for the conflicts (`store/conflict.rs`), and for what a client
//! shows that applied them in their order ([`shows`]). An entity of which that may be other than what is known here is
//! put down to be looked at ([`repair`]).

mod repair;
mod shows;

use super::error::StoreError;
use super::room::Room;
use super::{Store, versions};
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::merge::Version;
use engram_proto::mutation::{Entity, Op, payload_object};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

/// A row that was pushed, as the server numbered it.
#[derive(Clone, Debug)]
pub struct AcceptedRow {
    /// The number it got.
    pub seq: u64,
    /// What it is about.
    pub entity: Entity,
    /// Session id or sync id.
    pub key: String,
    /// Whether it says when its session was deleted.
    pub ends_session: bool,
}

/// A row as it is written down.
struct Row<'a> {
    cloud_id: &'a str,
    project: ProjectName,
    entity: Entity,
    key: &'a str,
    op: Op,
    /// `None` for what cannot be read.
    version: Option<Version>,
    seq: i64,
    occurred_at: &'a str,
}

/// A session, by cloud, project and id.
type Session<'a> = (&'a str, &'a ProjectName, &'a str);

impl Row<'_> {
    /// Names the session that the row ends.
    fn ends_session(&self) -> Option<Session<'_>> {
        match &self.version {
            Some(Version::Session(session)) if self.op == Op::Delete || session.deleted_at.is_some() => {
                Some((self.cloud_id, &self.project, self.key))
            }
            _ => None,
        }
    }
}

/// A version that was served.
pub(super) struct Served {
    pub(super) version: Version,
    /// When it came first, as the server told.
    pub(super) first_at: String,
}

impl Store {
    /// Writes down rows as they were served. The same page again changes nothing.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn served(&mut self, cloud_id: &str, rows: &[PulledMutation]) -> Result<(), StoreError> {
        let mut news = Vec::new();
        for row in rows.iter().filter_map(|row| read(cloud_id, row)) {
            if !self.read(|conn| is_recorded(conn, &row))? {
                news.push(row);
            }
        }
        self.write_down(&news, Row::ends_session, record)
    }

    /// Writes down that the server numbered rows of ours: they are expected in a page.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn accepted(&mut self, cloud_id: &str, project: &ProjectName, rows: &[AcceptedRow]) -> Result<(), StoreError> {
        self.write_down(
            rows,
            |row| row.ends_session.then_some((cloud_id, project, row.key.as_str())),
            |conn, row| {
                conn.prepare_cached(
                "INSERT INTO engramd_look (cloud_id, project, entity, entity_key, accepted) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET accepted = max(coalesce(accepted, 0), ?5)",
            )?
            .execute(params![
                cloud_id,
                project.as_str(),
                row.entity.as_str(),
                row.key,
                i64::try_from(row.seq).ok()
            ])?;
                Ok(())
            },
        )
    }

    /// Writes rows down in transactions that each take a bounded number, the prompts of a session before the row that ends
    /// it: whoever is stopped in between finds that row not written down, and begins with its prompts again (OWN-3).
    fn write_down<'a, R>(
        &mut self,
        rows: &'a [R],
        ends_session: impl Fn(&'a R) -> Option<Session<'a>>,
        write: impl Fn(&Connection, &'a R) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // Behind which prompt of the first row's session to go on.
        let (mut rest, mut after) = (rows, String::new());
        while !rest.is_empty() {
            let room = self.turns.room();
            let (done, last) = self.write(|tx| {
                let (mut done, mut last) = (0, after);
                for row in rest {
                    if let Some(session) = ends_session(row)
                        && !look_at_prompts(tx, session, &mut last, &room)?
                    {
                        break;
                    }
                    if !room.take(tx) {
                        break;
                    }
                    write(tx, row)?;
                    (done, last) = (done + 1, String::new());
                }
                Ok((done, last))
            })?;
            (rest, after) = (rest.get(done..).unwrap_or_default(), last);
        }
        Ok(())
    }

    /// Tells whether the last row of a session that was served is its `delete`: a client that took it has none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn was_session_taken(&self, cloud_id: &str, project: &ProjectName, id: &str) -> Result<bool, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT op FROM engramd_served WHERE cloud_id = ?1 AND project = ?2 AND entity = 'session' AND entity_key = ?3
             ORDER BY last_seq DESC LIMIT 1",
        )?;
        let last: Option<String> =
            statement.query_row([cloud_id, project.as_str(), id], |row| row.get(0)).optional()?;
        Ok(last.as_deref() == Some(Op::Delete.as_str()))
    }

    /// Keeps how far these projects were when they were first read to the head; later heads change nothing.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn drained_first(&mut self, cloud_id: &str, heads: &BTreeMap<ProjectName, u64>) -> Result<(), StoreError> {
        let news = self.read(|conn| {
            let is_news =
                |(project, _): &(&ProjectName, &u64)| first_head(conn, project, cloud_id).map(|head| head.is_none());
            let mut news = Vec::new();
            for head in heads {
                if is_news(&head)? {
                    news.push(head);
                }
            }
            Ok(news)
        })?;
        if news.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            for (project, &head) in news {
                tx.prepare_cached(
                    "INSERT INTO engramd_cursor (project, cloud_id, seq, first_head) VALUES (?1, ?2, 0, ?3)
                     ON CONFLICT (project, cloud_id) DO UPDATE SET first_head = coalesce(first_head, ?3)",
                )?
                .execute(params![project.as_str(), cloud_id, i64::try_from(head).ok()])?;
            }
            Ok(())
        })
    }
}

/// Returns how far a project was when it was first read to the head of a server that keeps no conflicts.
pub(super) fn first_head(conn: &Connection, project: &ProjectName, cloud_id: &str) -> Result<Option<u64>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT first_head FROM engramd_cursor WHERE project = ?1 AND cloud_id = ?2")?;
    let head: Option<Option<i64>> = statement.query_row([project.as_str(), cloud_id], |row| row.get(0)).optional()?;
    Ok(head.flatten().and_then(|head| u64::try_from(head).ok()))
}

/// Reads the versions of an entity that were served before a number.
pub(super) fn before(
    conn: &Connection,
    cloud_id: &str,
    (project, key): (&ProjectName, &str),
    entity: Entity,
    seq: u64,
) -> Result<Vec<Served>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT version, first_at FROM engramd_served
         WHERE cloud_id = ?1 AND project = ?2 AND entity = ?3 AND entity_key = ?4 AND first_seq < ?5 AND version <> ''
         ORDER BY first_seq",
    )?;
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![cloud_id, project.as_str(), entity.as_str(), key, seq])?;
    let mut served = Vec::new();
    while let Some(row) = rows.next()? {
        let (version, first_at): (String, String) = (row.get(0)?, row.get(1)?);
        served.push(Served { version: parse(&version, entity, key)?, first_at });
    }
    Ok(served)
}

/// Tells whether a version, which this row says, is judged for the first time: young rows are served again, and a version
/// may come twice.
pub(super) fn is_unjudged(
    conn: &Connection,
    cloud_id: &str,
    project: &ProjectName,
    row: &PulledMutation,
    version: &Version,
) -> Result<bool, StoreError> {
    let Some(op) = Op::parse(&row.op) else { return Ok(false) };
    let entity = version.entity().as_str();
    let judged = conn
        .prepare_cached(
            "UPDATE engramd_served SET judged = 1
             WHERE cloud_id = ?1 AND project = ?2 AND entity = ?3 AND entity_key = ?4 AND op = ?5 AND version = ?6
                 AND judged = 0",
        )?
        .execute(params![cloud_id, project.as_str(), entity, row.entity_key, op.as_str(), text(Some(version))?])?;
    Ok(judged == 1)
}

fn parse(text: &str, entity: Entity, key: &str) -> Result<Version, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt(format!("a served version of {entity} {key}: {error}")))
}

/// Reads a row; one of an entity or a project that is not known is none.
fn read<'a>(cloud_id: &'a str, row: &'a PulledMutation) -> Option<Row<'a>> {
    let (entity, project) = (Entity::parse(&row.entity)?, ProjectName::parse(&row.project).ok()?);
    let op = Op::parse(&row.op);
    let payload = payload_object(row.payload.clone()).ok();
    let version = op.zip(payload).and_then(|(op, payload)| Version::read(entity, &row.entity_key, op, &payload).ok());
    Some(Row {
        cloud_id,
        project,
        entity,
        key: &row.entity_key,
        op: op.unwrap_or(Op::Upsert),
        version,
        seq: i64::try_from(row.seq).ok()?,
        occurred_at: &row.occurred_at,
    })
}

fn text(version: Option<&Version>) -> Result<String, StoreError> {
    let text = version.map(serde_json::to_string).transpose();
    Ok(text.map_err(|error| StoreError::Invalid(error.to_string()))?.unwrap_or_default())
}

fn is_recorded(conn: &Connection, row: &Row<'_>) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM engramd_served WHERE cloud_id = ?1 AND project = ?2 AND entity = ?3 AND entity_key = ?4
             AND op = ?5 AND version = ?6 AND first_seq <= ?7 AND last_seq >= ?7)",
    )?;
    let values = params![
        row.cloud_id,
        row.project.as_str(),
        row.entity.as_str(),
        row.key,
        row.op.as_str(),
        text(row.version.as_ref())?,
        row.seq
    ];
    Ok(statement.query_row(values, |row| row.get(0))?)
}

fn record(conn: &Connection, row: &Row<'_>) -> Result<(), StoreError> {
    let names = params![row.cloud_id, row.project.as_str(), row.entity.as_str(), row.key];
    let came_before = "SELECT EXISTS (SELECT 1 FROM engramd_served
         WHERE cloud_id = ?1 AND project = ?2 AND entity = ?3 AND entity_key = ?4)";
    let is_first = !conn.prepare_cached(came_before)?.query_row(names, |row| row.get::<_, bool>(0))?
        && versions::known(conn, &row.project, row.entity, row.key)?.is_none();
    let session_id = row.version.as_ref().filter(|_| row.entity == Entity::Prompt).and_then(Version::session_id);
    conn.prepare_cached(
        "INSERT INTO engramd_served (cloud_id, project, entity, entity_key, op, version, session_id, first_seq, first_at,
             last_seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?8)
         ON CONFLICT DO UPDATE SET first_at = iif(?8 < first_seq, ?9, first_at), first_seq = min(first_seq, ?8),
             last_seq = max(last_seq, ?8)",
    )?
    .execute(params![
        row.cloud_id,
        row.project.as_str(),
        row.entity.as_str(),
        row.key,
        row.op.as_str(),
        text(row.version.as_ref())?,
        session_id,
        row.seq,
        row.occurred_at
    ])?;
    // A memory or a relation that comes for the first time shows what it is.
    if is_first && matches!(row.entity, Entity::Observation | Entity::Relation) {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT INTO engramd_look (cloud_id, project, entity, entity_key) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET accepted = iif(accepted = ?5, NULL, accepted)",
    )?
    .execute(params![row.cloud_id, row.project.as_str(), row.entity.as_str(), row.key, row.seq])?;
    Ok(())
}

/// Puts a session's prompts behind one down, as far as there is room, and moves that on; tells whether these were all. A
/// session that is deleted takes them along.
fn look_at_prompts(
    conn: &Connection,
    (cloud_id, project, session_id): Session<'_>,
    after: &mut String,
    room: &Room,
) -> Result<bool, StoreError> {
    let mut next = conn.prepare_cached(
        "SELECT min(entity_key) FROM engramd_served INDEXED BY engramd_served_session
         WHERE cloud_id = ?1 AND project = ?2 AND session_id = ?3 AND entity = 'prompt' AND entity_key > ?4",
    )?;
    loop {
        let names = [cloud_id, project.as_str(), session_id, after.as_str()];
        let Some(key) = next.query_row(names, |row| row.get::<_, Option<String>>(0))? else { return Ok(true) };
        if !room.take(conn) {
            return Ok(false);
        }
        conn.prepare_cached(
            "INSERT OR IGNORE INTO engramd_look (cloud_id, project, entity, entity_key) VALUES (?1, ?2, 'prompt', ?3)",
        )?
        .execute([cloud_id, project.as_str(), &key])?;
        *after = key;
    }
}
