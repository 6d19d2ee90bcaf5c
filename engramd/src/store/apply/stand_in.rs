//! Sessions that nobody told us of, made once a project is drained and a child still misses its own.

use super::super::error::StoreError;
use super::super::rows::session;
use super::super::{Store, held, lease, mark};
use super::{Applying, WAITS_FOR_SESSION, waits_for_session};
use engram_proto::id::ProjectName;
use engram_proto::merge::RECOVERED_DIRECTORY;
use engram_proto::mutation::{Entity, payload_text, text_of};
use engram_proto::time::{RowTime, row_text};
use engramd_core::rows::{Applied, Fence};
use rusqlite::{Connection, params};

impl Store {
    /// Applies what still waits for a session under a stand-in, and what is left of parents that came, and queues what the
    /// cloud does not know of; for when a project is drained to the head.
    ///
    /// One transaction, which looks at a bounded number of children (OWN-3): `unfinished` tells whether to ask again.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`], and what SQLite says.
    pub fn stand_ins(&mut self, fence: &Fence, project: &ProjectName, now: RowTime) -> Result<Applied, StoreError> {
        self.make_stand_ins(project, now, |conn| lease::check(conn, fence), true)
    }

    /// Does the same once an import has read every chunk; no state of sync is written, so no lease is asked for.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn stand_ins_of_import(&mut self, project: &ProjectName, now: RowTime) -> Result<Applied, StoreError> {
        self.make_stand_ins(project, now, |_| Ok(()), false)
    }

    fn make_stand_ins(
        &mut self,
        project: &ProjectName,
        now: RowTime,
        check: impl Fn(&Connection) -> Result<(), StoreError>,
        is_drained: bool,
    ) -> Result<Applied, StoreError> {
        let (unfinished, applied) = self.applying(false, now, |applying| {
            check(applying.conn)?;
            Ok(applying.settle_doubts()?
                || applying.replay_left()?
                || applying.stand_in_all(project)?
                || (is_drained && applying.offer_missing(project)?))
        })?;
        let mut all = Applied::default();
        applied.into_values().for_each(|part| all.add(part));
        Ok(Applied { unfinished, ..all })
    }
}

impl Applying<'_> {
    /// Makes one missing session after another, while there is room for children; tells whether any are left.
    fn stand_in_all(&mut self, project: &ProjectName) -> Result<bool, StoreError> {
        let mut after = WAITS_FOR_SESSION.to_owned();
        while self.children_left > 0 {
            let Some((waits_for, payload)) = held::next_parent(self.conn, project, &after)? else { return Ok(false) };
            let Some(id) = waits_for.strip_prefix(WAITS_FOR_SESSION) else { return Ok(false) };
            self.stand_in(project, id, &payload)?;
            after = waits_for;
        }
        // Where nothing found its place, nothing will the next time either.
        Ok(self.unparked)
    }

    /// Makes a session out of a child that names it, unless it came meanwhile, and places its children.
    fn stand_in(&mut self, project: &ProjectName, id: &str, payload: &str) -> Result<(), StoreError> {
        if !session::exists(self.conn, id)? {
            insert(self.conn, project, id, time_of(payload))?;
            mark::ensure(self.conn, (project, id), Entity::Session, self.now)?;
        }
        self.replay(&waits_for_session(id))
    }
}

/// Reads the child's own time.
fn time_of(payload: &str) -> Option<RowTime> {
    let payload = payload_text(payload).ok()?;
    ["created_at", "updated_at"].iter().find_map(|field| text_of(&payload, field).and_then(RowTime::parse))
}

fn insert(conn: &Connection, project: &ProjectName, id: &str, at: Option<RowTime>) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO sessions (id, project, directory, started_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, project.as_str(), RECOVERED_DIRECTORY, row_text(at)])?;
    conn.prepare_cached("INSERT INTO engramd_standin (id, project) VALUES (?1, ?2)")?
        .execute([id, project.as_str()])?;
    Ok(())
}
