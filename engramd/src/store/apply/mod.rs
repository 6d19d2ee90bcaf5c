//! Applying versions that came in: one transaction, its index, and what it tells afterwards.

mod again;
mod bring;
mod merge_in;
mod nameless;
mod page;
mod place;
mod replay;
pub(super) mod sessions;
mod stand_in;

pub use page::AppliedSlice;

use super::error::StoreError;
use super::fts::Index;
use super::held::{self, SetAside};
use super::room::Room;
use super::turn::Turns;
use super::{Store, digest, journal, versions, witness};
use engram_proto::http::pull::PulledMutation;
use engram_proto::id::ProjectName;
use engram_proto::ipc::reply::HeldKind;
use engram_proto::merge::{Digest, Version};
use engram_proto::mutation::{Entity, Op, payload_object};
use engram_proto::reason::ReasonCode;
use engram_proto::time::RowTime;
use engramd_core::rows::Applied;
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeMap;

/// One transaction that applies rows: what it has to finish before it commits, and what it tells afterwards.
pub(super) struct Applying<'c> {
    conn: &'c Connection,
    /// How many rows it may still take.
    room: Room,
    now: RowTime,
    /// The cloud's time for now, where versions of this device are about to meet others'.
    cloud_now: Option<RowTime>,
    index: Index,
    /// Whether anything is held, in any project; asked once, for most stores hold nothing.
    any_held: bool,
    /// Whether a project has open journal rows; asked once per project.
    any_open: BTreeMap<ProjectName, bool>,
    /// The last journal row of each project that its state does not tell of yet; it does before the transaction ends.
    enqueued: BTreeMap<ProjectName, i64>,
    /// By how much the digest of each project moves.
    digests: BTreeMap<ProjectName, Digest>,
    /// The session whose row was seen last.
    seen_session: Option<String>,
    /// The cloud that a row comes from, where it keeps no conflicts and the row stands behind the head that was read first.
    judged_of: Option<String>,
    /// Whether the row comes from the cloud for the first time.
    is_first_time: bool,
    /// Where the rows come from.
    pub(super) source: Source,
    /// Whether a row was found to be dead.
    refused: bool,
    /// So many children of parents that came may still be looked at.
    children_left: usize,
    /// Whether a row that waited has its place now.
    unparked: bool,
    outcome: Outcome,
}

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The cloud served them: they are known from then on.
    Cloud,
    /// A chunk of this number holds them.
    Chunk(i64),
    /// A chunk held them once, and they were set aside as the held row of this number.
    Aside(i64),
}

/// What a transaction did.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    applied: BTreeMap<ProjectName, Applied>,
    left: Vec<(ProjectName, i64)>,
    /// Whether children of parents that came are left for another transaction.
    unfinished: bool,
}

/// Switches the syncing of a connection to what a pull needs, until it is dropped.
struct Quiet<'c> {
    conn: &'c Connection,
    durable: bool,
}

impl<'c> Quiet<'c> {
    fn new(conn: &'c Connection, durable: bool) -> Result<Self, StoreError> {
        let quiet = Self { conn, durable };
        if !durable {
            conn.pragma_update(None, "synchronous", "NORMAL")?;
        }
        Ok(quiet)
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        if !self.durable
            && let Err(error) = self.conn.pragma_update(None, "synchronous", "FULL")
        {
            tracing::error!(%error, "the store's connection kept the settings of a pull");
        }
    }
}

impl<'c> Applying<'c> {
    /// Runs one transaction, and writes the index before it commits.
    fn run<R>(
        turns: &mut Turns,
        &Quiet { conn, .. }: &Quiet<'c>,
        now: RowTime,
        f: impl FnOnce(&mut Self) -> Result<R, StoreError>,
    ) -> Result<(R, Outcome), StoreError> {
        let room = turns.room();
        turns.run(conn, |_| Self::inside(conn, room, now, f))
    }

    fn inside<R>(
        conn: &'c Connection,
        room: Room,
        now: RowTime,
        f: impl FnOnce(&mut Self) -> Result<R, StoreError>,
    ) -> Result<(R, Outcome), StoreError> {
        let any_held =
            conn.prepare_cached("SELECT EXISTS (SELECT 1 FROM engramd_held)")?.query_row([], |row| row.get(0))?;
        let mut applying = Self {
            conn,
            room,
            now,
            cloud_now: None,
            index: Index::default(),
            any_held,
            any_open: BTreeMap::new(),
            enqueued: BTreeMap::new(),
            digests: BTreeMap::new(),
            seen_session: None,
            judged_of: None,
            is_first_time: false,
            source: Source::Cloud,
            refused: false,
            children_left: replay::CHILDREN_MAX,
            unparked: false,
            outcome: Outcome::default(),
        };
        let result = f(&mut applying)?;
        applying.tell_enqueued()?;
        applying.index.write(conn)?;
        applying.digests.iter().try_for_each(|(project, &moved)| digest::add(conn, project, moved))?;
        Ok((result, applying.outcome))
    }

    /// Says in the state of the projects what was journaled since this was said last.
    fn tell_enqueued(&mut self) -> Result<(), StoreError> {
        let enqueued = std::mem::take(&mut self.enqueued);
        enqueued.iter().try_for_each(|(project, &seq)| journal::enqueued(self.conn, project, seq, self.now))
    }

    fn count(&mut self, project: &ProjectName) -> &mut Applied {
        self.outcome.applied.entry(project.clone()).or_default()
    }

    /// Takes one row, and its version where that was read before, as those of chunks are; carefully, one whose values SQLite
    /// refuses is kept as dead, and its neighbours go on (ISO-3).
    fn row(
        &mut self,
        project: &ProjectName,
        row: &PulledMutation,
        version: Option<&Version>,
        careful: bool,
    ) -> Result<(), StoreError> {
        self.count(project).received += 1;
        if !careful {
            return self.read_and_take(project, row, version);
        }
        let mark = self.index.mark();
        let (left, applied) = (self.outcome.left.len(), self.outcome.applied.clone());
        let (digests, enqueued) = (self.digests.clone(), self.enqueued.clone());
        self.conn.prepare_cached("SAVEPOINT engramd_row")?.execute([])?;
        let taken = self.read_and_take(project, row, version);
        if let Err(error) = taken {
            if !error.is_the_rows_fault() {
                return Err(error);
            }
            self.conn.prepare_cached("ROLLBACK TO engramd_row")?.execute([])?;
            self.index.rewind(mark);
            self.outcome.left.truncate(left);
            self.outcome.applied = applied;
            (self.digests, self.enqueued) = (digests, enqueued);
            self.seen_session = None;
            self.dead(project, row, &error.to_string())?;
        }
        self.conn.prepare_cached("RELEASE engramd_row")?.execute([])?;
        Ok(())
    }

    fn read_and_take(
        &mut self,
        project: &ProjectName,
        row: &PulledMutation,
        version: Option<&Version>,
    ) -> Result<(), StoreError> {
        if let Some(brought) = version {
            return self.bring(project, (brought.entity(), &row.entity_key), brought, row);
        }
        let Some(entity) = Entity::parse(&row.entity) else {
            return self.dead(project, row, &format!("the entity {:?} is not known to this engramd", row.entity));
        };
        let Some(op) = Op::parse(&row.op) else {
            return self.dead(project, row, &format!("the operation {:?} is not known to this engramd", row.op));
        };
        let decoded;
        let payload = match &row.payload {
            Value::Object(object) => object,
            text => match payload_object(text.clone()) {
                Ok(object) => {
                    decoded = object;
                    &decoded
                }
                Err(error) => return self.dead(project, row, &error.to_string()),
            },
        };
        match Version::read(entity, &row.entity_key, op, payload) {
            Ok(remote) if self.source == Source::Cloud => {
                self.take(project, entity, &row.entity_key, remote, Some(row))
            }
            Ok(brought) => self.bring(project, (entity, &row.entity_key), &brought, row),
            Err(error) => self.dead(project, row, &error.to_string()),
        }
    }

    /// Keeps a row that can never apply, once.
    fn dead(&mut self, project: &ProjectName, row: &PulledMutation, evidence: &str) -> Result<(), StoreError> {
        self.refused = true;
        let payload = row.payload.to_string();
        let kept = self.any_held && held::has_dead(self.conn, project, &row.entity, &row.entity_key, &payload)?;
        if kept {
            return Ok(());
        }
        let aside = SetAside {
            kind: HeldKind::Dead,
            reason: ReasonCode::RowUndeliverable,
            project: project.as_str(),
            entity: &row.entity,
            key: &row.entity_key,
            op: &row.op,
            journal_seq: None,
            cloud_seq: (self.source == Source::Cloud).then_some(row.seq),
            payload: &payload,
            evidence,
            waits_for: None,
            now: self.now,
        };
        held::set_aside(self.conn, &aside)?;
        self.any_held = true;
        self.count(project).dead += 1;
        Ok(())
    }

    /// Tries a dead row once more; tells whether it applied, or waits for its parent now.
    pub(super) fn retry_dead(
        &mut self,
        project: &ProjectName,
        id: i64,
        row: &PulledMutation,
        source: Source,
    ) -> Result<bool, StoreError> {
        self.source = source;
        self.refused = false;
        self.row_of_chunk(project, row, None, true)?;
        if !self.refused {
            held::release(self.conn, id)?;
        }
        Ok(!self.refused)
    }

    /// Says what time it is at the cloud: what is more than a day ahead of it is stamped again before it is used. A clock
    /// that is behind what a cloud wrote on its rows was set back, or is another cloud's; by it a row would be stamped below
    /// what it was written over, or below itself as a cloud has it already (CONV-3).
    pub(super) fn set_cloud_now(&mut self, cloud_now: Option<RowTime>) -> Result<(), StoreError> {
        let latest = witness::latest(self.conn)?;
        self.cloud_now = cloud_now.map(|now| latest.map_or(now, |latest| latest.max(now)));
        Ok(())
    }

    /// Returns the cloud's time for now, where it is known and counts.
    pub(super) fn cloud_now(&self) -> Option<RowTime> {
        self.cloud_now
    }

    /// Takes room for one row; without any left the transaction ends (OWN-3).
    pub(super) fn takes(&self) -> bool {
        self.room.take(self.conn)
    }

    /// Returns what time it is here.
    pub(super) fn now(&self) -> RowTime {
        self.now
    }

    /// Hears that a row of a project was queued.
    pub(super) fn has_news(&mut self, project: &ProjectName) {
        self.any_open.insert(project.clone(), true);
    }

    /// Returns the connection, for statements of the same transaction.
    pub(super) fn conn(&self) -> &'c Connection {
        self.conn
    }

    fn local(&self, project: &ProjectName, entity: Entity, key: &str) -> Result<Option<Version>, StoreError> {
        versions::local(self.conn, project, entity, key)
    }
}

impl Store {
    /// Runs one transaction of a command or of the loop the way pulled rows are applied.
    pub(super) fn applying<R>(
        &mut self,
        durable: bool,
        now: RowTime,
        f: impl FnOnce(&mut Applying<'_>) -> Result<R, StoreError>,
    ) -> Result<(R, BTreeMap<ProjectName, Applied>), StoreError> {
        let quiet = Quiet::new(&self.conn, durable)?;
        let (result, outcome) = Applying::run(&mut self.turns, &quiet, now, f)?;
        drop(quiet);
        Ok((result, outcome.tell(&mut self.counts)))
    }
}

impl Outcome {
    /// Tells the counts what left.
    fn tell(mut self, counts: &mut super::counts::Cache) -> BTreeMap<ProjectName, Applied> {
        counts.left(&self.left);
        if self.unfinished {
            self.applied.values_mut().for_each(|applied| applied.unfinished = true);
        }
        self.applied
    }
}

/// What the name of a session that is waited for begins with.
const WAITS_FOR_SESSION: &str = "session:";

/// Names what a deferred row waits for.
fn waits_for_session(id: &str) -> String {
    format!("{WAITS_FOR_SESSION}{id}")
}

/// Names what a deferred relation waits for.
fn waits_for_observation(sync_id: &str) -> String {
    format!("observation:{sync_id}")
}
