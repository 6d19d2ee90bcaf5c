//! Showing again what this device has of an entity, where a Go process changed the row behind the journal (peers.md,
//! "Rows changed without a journal row"): such a change has no say.

use super::super::error::StoreError;
use super::super::foreign::SHOWN;
use super::super::rows::{self, Found, prompt};
use super::super::{Store, meta, moved, recheck};
use super::Applying;
use engram_proto::canonical::Object;
use engram_proto::id::ProjectName;
use engram_proto::merge::{ObservationVersion, Version};
use engram_proto::mutation::{Entity, Op};
use engram_proto::time::RowTime;
use rusqlite::{Connection, params};

/// A pending row's place in the journal, and its entity.
type Pending = (i64, String, String, String);

impl Applying<'_> {
    /// Settles moves to other projects that could not be told from what another program pulled, before that was read
    /// again; tells whether more are left, where the transaction has no room for them.
    pub(super) fn settle_doubts(&mut self) -> Result<bool, StoreError> {
        let mut after = recheck::Place::default();
        loop {
            let rows = recheck::different(self.conn, &after)?;
            let Some(last) = rows.last().cloned() else { return Ok(false) };
            for (project, entity, key) in rows {
                let (Ok(project), Some(entity)) = (ProjectName::parse(&project), Entity::parse(&entity)) else {
                    continue;
                };
                if !moved::settle_late(self.conn, &project, entity, &key, self.now)? {
                    continue;
                }
                self.any_open.insert(project.clone(), true);
                match self.local(&project, entity, &key)? {
                    Some(_) => self.place_again(&project, entity, &key)?,
                    None => self.take_off(&project, entity, &key)?,
                }
                if !self.takes() {
                    return Ok(true);
                }
            }
            after = last;
        }
    }

    /// Takes off a row that says nothing any more: what it said was taken back.
    fn take_off(&mut self, project: &ProjectName, entity: Entity, key: &str) -> Result<(), StoreError> {
        match rows::find(self.conn, project, entity, key)? {
            Some(Found::Observation(found)) => {
                let session_id = found.version.session_id.clone();
                let gone = Version::Observation(ObservationVersion::delete(session_id, true, Some(self.now)));
                self.place((project, key), &gone, Some(&Found::Observation(found)), None)
            }
            Some(Found::Prompt(found)) => prompt::remove(self.conn, &mut self.index, &found.ids),
            _ => Ok(()),
        }
    }

    /// Writes the version with the greatest key over a row that is there and shows something else, if all of its text is
    /// at hand: a pending row that lacks a field is filled from the row first.
    pub(in super::super) fn show_again(
        &mut self,
        project: &ProjectName,
        entity: Entity,
        key: &str,
    ) -> Result<(), StoreError> {
        let Some(found) = rows::find(self.conn, project, entity, key)? else { return Ok(()) };
        let Some(version) = self.local(project, entity, key)? else { return Ok(()) };
        let whole = |(op, payload): (Op, Object)| op == Op::Delete || entity.missing_field(&payload).is_none();
        if !version.write(project, key).is_some_and(whole) {
            return Ok(());
        }
        self.place((project, key), &version, Some(&found), None)
    }
}

impl Store {
    /// Shows again what at most `rows_max` pending rows say, of every project, after a Go process synced the store; tells
    /// whether more are left.
    pub(in super::super) fn show_pending_again(&mut self, rows_max: u32, now: RowTime) -> Result<bool, StoreError> {
        if self.read(|conn| meta::get(conn, SHOWN))?.is_none() {
            return Ok(false);
        }
        let (more, _) = self.applying(true, now, |applying| {
            let conn = applying.conn;
            let rows = pending(conn, meta::get_number(conn, SHOWN)?, rows_max)?;
            let mut last = None;
            for row @ (_, project, entity, key) in &rows {
                if !applying.takes() {
                    break;
                }
                last = Some(row);
                if let (Ok(project), Some(entity)) = (ProjectName::parse(project), Entity::parse(entity)) {
                    applying.show_again(&project, entity, key)?;
                }
            }
            let is_end = rows.len() < rows_max as usize && last == rows.last();
            let last = last.filter(|_| !is_end);
            meta::set(conn, SHOWN, last.map(|(seq, ..)| seq.to_string()).as_deref())?;
            Ok(last.is_some())
        })?;
        Ok(more)
    }
}

fn pending(conn: &Connection, after: i64, rows_max: u32) -> Result<Vec<Pending>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, project, entity, entity_key FROM sync_mutations INDEXED BY idx_sync_mutations_pending
         WHERE target_key = 'cloud' AND acked_at IS NULL AND seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let rows = statement
        .query_map(params![after, rows_max], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
