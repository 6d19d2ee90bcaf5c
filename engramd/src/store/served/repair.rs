//! Read repair: pushing what is known once more where a Go client that took the last row shows something else.
//!
//! A row of ours that the server numbered and never served is the same case: its last row shows something else. Both end,
//! because no new version comes into being: after the row, such a client shows what is known. What cannot be read here
//! is nobody's to repair.

use super::super::apply::sessions;
use super::super::error::StoreError;
use super::super::journal::{self, LocalWrite};
use super::super::{Store, cursor, lease, versions};
use super::{parse, shows::Shows};
use engram_proto::id::ProjectName;
use engram_proto::merge::{PromptVersion, Version};
use engram_proto::mutation::{Entity, Op};
use engram_proto::time::RowTime;
use engramd_core::rows::{Fence, Repaired};
use rusqlite::{Connection, params};

/// Entities of one transaction at most (OWN-3).
const SLICE_MAX: usize = 200;

/// Rows that one round pushes once more at most; the others wait for the next.
const ROWS_MAX: u64 = 100;

/// An entity that is to be looked at.
struct Due {
    entity: Entity,
    key: String,
    accepted: Option<u64>,
    suspect: bool,
}

/// What a look found.
enum Found {
    /// Rows of it are under way: it is looked at again.
    Moving,
    /// A client shows what is known.
    Agrees,
    /// It shows something else than this.
    Differs(Box<Version>),
}

impl Store {
    /// Looks at what was put down of a project that is read to the head. Where `confirmed`, what was suspect before and
    /// still is gets queued once more.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn repair(
        &mut self,
        fence: &Fence,
        (cloud_id, project): (&str, &ProjectName),
        confirmed: bool,
        now: RowTime,
    ) -> Result<Repaired, StoreError> {
        let mut all = Repaired::default();
        let mut after = (String::new(), String::new());
        loop {
            let due = self.read(|conn| due(conn, cloud_id, project, &after))?;
            if due.is_empty() {
                return Ok(all);
            }
            let room = self.turns.room();
            let (looked, part) = self.write(|tx| {
                lease::check(tx, fence)?;
                let place = Place { conn: tx, cloud_id, project, cursor: cursor::get(tx, project, cloud_id)? };
                let (mut looked, mut part) = (0, all);
                for due in due.iter().take_while(|_| room.take(tx)) {
                    looked += 1;
                    place.look(due, confirmed, now, &mut part)?;
                }
                Ok((looked, part))
            })?;
            all = part;
            let Some(last) = due[..looked].last() else { return Ok(all) };
            after = (last.entity.as_str().to_owned(), last.key.clone());
        }
    }
}

fn due(
    conn: &Connection,
    cloud_id: &str,
    project: &ProjectName,
    after: &(String, String),
) -> Result<Vec<Due>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT entity, entity_key, accepted, suspect FROM engramd_look
         WHERE cloud_id = ?1 AND project = ?2 AND (entity, entity_key) > (?3, ?4) ORDER BY entity, entity_key LIMIT ?5",
    )?;
    let limit = i64::try_from(SLICE_MAX).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![cloud_id, project.as_str(), after.0, after.1, limit])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let entity: String = row.get(0)?;
        let entity = Entity::parse(&entity).ok_or_else(|| StoreError::Corrupt(format!("a look at {entity:?}")))?;
        let accepted = row.get::<_, Option<i64>>(2)?.and_then(|seq| u64::try_from(seq).ok());
        due.push(Due { entity, key: row.get(1)?, accepted, suspect: row.get(3)? });
    }
    Ok(due)
}

/// A row that was served.
struct Row {
    op: Op,
    /// `None` for what cannot be read.
    version: Option<Version>,
    /// Whether it is the `delete` of the session that the entity belongs to.
    is_of_session: bool,
}

/// Where is looked.
struct Place<'a> {
    conn: &'a Connection,
    cloud_id: &'a str,
    project: &'a ProjectName,
    cursor: u64,
}

impl Place<'_> {
    fn look(&self, due: &Due, confirmed: bool, now: RowTime, all: &mut Repaired) -> Result<(), StoreError> {
        let names = params![self.cloud_id, self.project.as_str(), due.entity.as_str(), due.key];
        let known = match self.find(due)? {
            Found::Moving => return Ok(()),
            Found::Agrees => {
                let done = "DELETE FROM engramd_look
                    WHERE cloud_id = ?1 AND project = ?2 AND entity = ?3 AND entity_key = ?4";
                self.conn.prepare_cached(done)?.execute(names)?;
                return Ok(());
            }
            Found::Differs(known) => known,
        };
        let mut sql = "UPDATE engramd_look SET suspect = 1
                       WHERE cloud_id = ?1 AND project = ?2 AND entity = ?3 AND entity_key = ?4";
        if confirmed && due.suspect && all.queued < ROWS_MAX {
            let Some((op, payload)) = known.write(self.project, &due.key) else { return Ok(()) };
            // Its own hash as base says that it is no edit.
            let base = Some(known.hash());
            let write = LocalWrite {
                project: self.project,
                entity: due.entity,
                key: &due.key,
                op,
                payload: &payload,
                base,
                at: now,
            };
            journal::append_on(self.conn, &write)?;
            sql = "UPDATE engramd_look SET suspect = 0, accepted = NULL
               WHERE cloud_id = ?1 AND project = ?2 AND entity = ?3 AND entity_key = ?4";
            all.queued += 1;
        } else {
            all.suspects += 1;
        }
        self.conn.prepare_cached(sql)?.execute(names)?;
        Ok(())
    }

    fn find(&self, due: &Due) -> Result<Found, StoreError> {
        // A number that the cursor has not passed may still be served.
        if due.accepted.is_some_and(|accepted| accepted > self.cursor) || self.is_open(due)? {
            return Ok(Found::Moving);
        }
        let Some(local) = versions::local(self.conn, self.project, due.entity, &due.key)? else {
            return Ok(Found::Agrees);
        };
        let rows = self.rows(due, local.session_id())?;
        let joined = rows.iter().filter_map(|row| row.version.clone()).fold(None, versions::join);
        if due.accepted.is_some() && joined.as_ref() != Some(&local) && versions::has_text(&local) {
            return Ok(Found::Differs(Box::new(local)));
        }
        let Some((op, known)) = self.meant(due, local)? else { return Ok(Found::Agrees) };
        // What came before anything was written down is nobody's guess, and neither is what cannot be read here.
        if rows.iter().rfind(|row| !row.is_of_session).is_none_or(|last| last.version.is_none()) {
            return Ok(Found::Agrees);
        }
        let shows = rows.into_iter().fold(Shows::Nothing, |shows, row| match row.version {
            _ if row.is_of_session => shows.after_session(),
            Some(version) => shows.after(row.op, &version),
            None => shows,
        });
        let is_gone = op == Op::Delete && matches!(shows, Shows::Nothing | Shows::Buried(_));
        let agrees = is_gone || shows.clone().after(op, &known) == shows;
        // Without its text nothing of an entity is sent.
        Ok(if agrees || !versions::has_text(&known) { Found::Agrees } else { Found::Differs(Box::new(known)) })
    }

    /// Tells whether something of an entity is pending or held.
    fn is_open(&self, due: &Due) -> Result<bool, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM sync_mutations INDEXED BY engramd_mutations_entity
             WHERE project = ?1 AND entity = ?2 AND entity_key = ?3 AND acked_at IS NULL)
         OR EXISTS (SELECT 1 FROM engramd_held WHERE project = ?1 AND entity = ?2 AND entity_key = ?3)",
        )?;
        Ok(statement.query_row(params![self.project.as_str(), due.entity.as_str(), due.key], |row| row.get(0))?)
    }

    /// Returns what every client should show, as the row that says so; `None` where there is nothing to be said.
    fn meant(&self, due: &Due, local: Version) -> Result<Option<(Op, Version)>, StoreError> {
        let meant = match local {
            // A deleted one has no row where it is deleted, and no row can take it from the others.
            Version::Session(session)
                if session.is_stand_in() || sessions::is_deleted(self.conn, self.project, &due.key, &session)? =>
            {
                return Ok(None);
            }
            Version::Session(session) => return Ok(Some((Op::Upsert, Version::Session(session)))),
            Version::Relation(relation) if !relation.key.judged => return Ok(None),
            Version::Prompt(prompt) if !prompt.key.deleted => {
                let gone_at = sessions::deleted_at(self.conn, self.project, &prompt.session_id)?;
                let is_gone = gone_at.is_some() && prompt.key.time <= gone_at;
                Version::Prompt(if is_gone { PromptVersion::delete(prompt.session_id, gone_at) } else { prompt })
            }
            version => version,
        };
        let op = if meant.is_delete() { Op::Delete } else { Op::Upsert };
        Ok(Some((op, meant)))
    }

    /// Reads the rows of an entity in their order; of a prompt, the deletes of its session as well.
    fn rows(&self, due: &Due, session_id: Option<&str>) -> Result<Vec<Row>, StoreError> {
        let session_id = session_id.filter(|_| due.entity == Entity::Prompt);
        let mut statement = self.conn.prepare_cached(
            "SELECT op, version, last_seq, 0 FROM engramd_served
             WHERE cloud_id = ?1 AND project = ?2 AND entity = ?3 AND entity_key = ?4
         UNION ALL SELECT op, '', last_seq, 1 FROM engramd_served
             WHERE cloud_id = ?1 AND project = ?2 AND entity = 'session' AND entity_key = ?5 AND op = 'delete'
         ORDER BY 3",
        )?;
        let mut rows =
            statement.query(params![self.cloud_id, self.project.as_str(), due.entity.as_str(), due.key, session_id])?;
        let mut served = Vec::new();
        while let Some(row) = rows.next()? {
            let (op, text): (String, String) = (row.get(0)?, row.get(1)?);
            let version = if text.is_empty() { None } else { Some(parse(&text, due.entity, &due.key)?) };
            let op = Op::parse(&op).unwrap_or(Op::Upsert);
            served.push(Row { op, version, is_of_session: row.get(3)? });
        }
        Ok(served)
    }
}
