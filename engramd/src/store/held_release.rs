//! The commands that release held rows: try again, or give up.

use super::apply::{Applying, Source};
use super::error::StoreError;
use super::{Store, chunks, held, journal, naming};
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::mutation::Entity;
use engram_proto::time::RowTime;
use rusqlite::{Connection, OptionalExtension as _, params};

/// A held row as the commands need it.
struct Row {
    id: i64,
    kind: HeldKind,
    /// Blank where nothing told it.
    project: String,
    entity: String,
    key: String,
    op: String,
    journal_seq: Option<i64>,
    cloud_seq: Option<u64>,
    payload: String,
}

impl Store {
    /// Tries one held row, or all of them, again: a refused one is pending once more, a received one is applied if it
    /// can be. Returns how many left the list.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a number that is not in the list, [`StoreError::Invalid`] for one whose project nothing
    /// tells yet, and what SQLite says.
    pub fn held_retry(&mut self, id: Option<i64>, now: RowTime) -> Result<u64, StoreError> {
        let ids = match id {
            Some(id) => vec![id],
            None => self.read(ids)?,
        };
        let (mut released, mut rest) = (0, ids.as_slice());
        while !rest.is_empty() {
            let (left, done) = self.retry_some(rest, id.is_some(), now)?;
            released += left;
            rest = rest.get(done..).unwrap_or_default();
        }
        while self.applying(true, now, go_on)?.0 {}
        Ok(released)
    }

    /// Tries the first of these rows in one transaction; returns how many left the list, and how many were tried.
    fn retry_some(&mut self, ids: &[i64], is_named: bool, now: RowTime) -> Result<(u64, usize), StoreError> {
        let (tried, _) = self.applying(true, now, |applying| {
            let (mut released, mut done) = (0, 0);
            for &one in ids {
                if !applying.takes() {
                    break;
                }
                done += 1;
                match find(applying.conn(), one)? {
                    Some(row) => {
                        let left = retry(applying, &row)?;
                        if !left && is_named && row.project.is_empty() {
                            let message =
                                format!("held row {one} still names no project, and neither does its session");
                            return Err(StoreError::Invalid(message));
                        }
                        released += u64::from(left);
                    }
                    None if is_named => return Err(StoreError::NotFound(format!("held row {one}"))),
                    // It was applied together with its parent.
                    None => released += 1,
                }
            }
            Ok((released, done))
        })?;
        Ok(tried)
    }

    /// Gives one held row up: of ours it is void from now on, of others the row is forgotten (what is known of the
    /// entity stays). Tells whether there was one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn held_drop(&mut self, id: i64, now: RowTime) -> Result<bool, StoreError> {
        let left = self.write(|tx| {
            let Some(row) = find(tx, id)? else { return Ok(None) };
            held::release(tx, id)?;
            if row.entity == chunks::of_server::ENTITY {
                chunks::of_server::give_up(tx, &row.project, &row.key, &row.payload)?;
            }
            if let Some(seq) = row.journal_seq {
                journal::void(tx, seq, journal::DROPPED, Some(now))?;
            }
            Ok(Some(ProjectName::parse(&row.project).ok().zip(row.journal_seq)))
        })?;
        if let Some(Some(left)) = &left {
            self.counts.left(std::slice::from_ref(left));
        }
        Ok(left.is_some())
    }
}

/// Goes on with what had no room beside a row that applied; tells whether any is left.
fn go_on(applying: &mut Applying<'_>) -> Result<bool, StoreError> {
    applying.replay_left()
}

fn ids(conn: &Connection) -> Result<Vec<i64>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT id FROM engramd_held ORDER BY id")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn find(conn: &Connection, id: i64) -> Result<Option<Row>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT kind, project, entity, entity_key, op, journal_seq, cloud_seq, payload FROM engramd_held WHERE id = ?1",
    )?;
    let row = statement
        .query_row(params![id], |row| {
            let kind: String = row.get(0)?;
            let Some(kind) = HeldKind::parse(&kind) else { return Ok(None) };
            Ok(Some(Row {
                id,
                kind,
                project: row.get(1)?,
                entity: row.get(2)?,
                key: row.get(3)?,
                op: row.get(4)?,
                journal_seq: row.get(5)?,
                cloud_seq: row.get::<_, Option<i64>>(6)?.and_then(|seq| u64::try_from(seq).ok()),
                payload: row.get(7)?,
            }))
        })
        .optional()?;
    Ok(row.flatten())
}

/// Tries one row; tells whether it left the list.
fn retry(applying: &mut Applying<'_>, row: &Row) -> Result<bool, StoreError> {
    let Ok(project) = ProjectName::parse(&row.project) else {
        return match row.journal_seq {
            Some(seq) if naming::name_later(applying.conn(), seq)? => held::release(applying.conn(), row.id),
            Some(_) => Ok(false),
            None => applying.name_held(row.id),
        };
    };
    match row.kind {
        // It is asked for again with the next page, which whoever tries again brings on.
        _ if row.entity == chunks::of_server::ENTITY => Ok(true),
        HeldKind::Quarantined => held::release(applying.conn(), row.id),
        HeldKind::Deferred => {
            if let Some(entity) = Entity::parse(&row.entity) {
                applying.place_again(&project, entity, &row.key)?;
            }
            Ok(find(applying.conn(), row.id)?.is_none())
        }
        HeldKind::Dead => {
            let pulled = PulledMutation {
                seq: row.cloud_seq.unwrap_or(0),
                project: row.project.to_string(),
                entity: row.entity.clone(),
                entity_key: row.key.clone(),
                op: row.op.clone(),
                payload: serde_json::from_str(&row.payload).unwrap_or_default(),
                occurred_at: String::new(),
            };
            let source = if row.cloud_seq.is_some() { Source::Cloud } else { Source::Aside(row.id) };
            applying.retry_dead(&project, row.id, &pulled, source)
        }
    }
}
